"""What pixels are worth: in go uint8 images, out come uint8 images of the same size, as Pillow would compute them.

Each function does to every image of a batch what `PIL.ImageOps` or `PIL.ImageEnhance` does to one, so that a table of
operations written for Pillow gives the same training images here, and on a GPU. One channel is grey ("L"), three are RGB.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in grey, in 65,536ths (ITU-R BT.601, as Pillow rounds them)."""


def grey(images: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B 1 H W"]:
    """Brightness of every pixel, as `convert("L")`; an image of one channel is its own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, i : i + 1].to(torch.int32) * weight for i, weight in enumerate(LUMA))
    return red.add_(green).add_(blue).add_(0x8000).bitwise_right_shift_(16).to(torch.uint8)


def blend(
    base: UInt8[Tensor, ...], images: UInt8[Tensor, "B C H W"], factor: float | Float[Tensor, "B 1 1 1"]
) -> UInt8[Tensor, "B C H W"]:
    """`base` at factor 0, `images` at factor 1, further on in the same direction above 1; clipped, fractions cut off.

    As `Image.blend`: equal to it where both compute a product and a sum as two roundings, else within 1 grey level.
    """
    start = base.to(torch.float32)
    return images.to(torch.float32).sub_(start).mul_(factor).add_(start).clamp_(0, 255).to(torch.uint8)


def brightness(images: UInt8[Tensor, "B C H W"], factor: float | Float[Tensor, "B 1 1 1"]) -> UInt8[Tensor, "B C H W"]:
    """Black at factor 0, the image at 1, lighter above: `ImageEnhance.Brightness`."""
    return blend(images.new_zeros(()), images, factor)


def contrast(images: UInt8[Tensor, "B C H W"], factor: float | Float[Tensor, "B 1 1 1"]) -> UInt8[Tensor, "B C H W"]:
    """Each image's mean grey at factor 0, the image at 1, starker above: `ImageEnhance.Contrast`."""
    luma = grey(images)
    pixels = luma[0].numel()
    total = luma.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64)
    mean = (2 * total + pixels) // (2 * pixels)
    return blend(mean.to(torch.uint8), images, factor)


def color(images: UInt8[Tensor, "B C H W"], factor: float | Float[Tensor, "B 1 1 1"]) -> UInt8[Tensor, "B C H W"]:
    """Grey at factor 0, the image at 1, more vivid above: `ImageEnhance.Color`. One channel stays as it is."""
    return images if images.shape[1] == 1 else blend(grey(images), images, factor)


def sharpness(images: UInt8[Tensor, "B C H W"], factor: float | Float[Tensor, "B 1 1 1"]) -> UInt8[Tensor, "B C H W"]:
    """Smoothed at factor 0, the image at 1, sharper above: `ImageEnhance.Sharpness`. The outermost pixels stay."""
    wide = images.to(torch.int16)
    down = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    around = down[..., :-2] + down[..., 1:-1] + down[..., 2:]
    total = around.add_(wide[..., 1:-1, 1:-1], alpha=4)
    smooth = images.clone()
    # Weights 1, 5 in the middle, sum 13; a sum of whole numbers never lies on half of 13, so adding 6 rounds exactly.
    smooth[..., 1:-1, 1:-1] = total.add_(6).div_(13, rounding_mode="floor").to(torch.uint8)
    return blend(smooth, images, factor)


def invert(images: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Black becomes white: `ImageOps.invert`."""
    return 255 - images


def posterize(images: UInt8[Tensor, "B C H W"], bits: int) -> UInt8[Tensor, "B C H W"]:
    """Keeps the `bits` highest bits (1 to 8) of every pixel: `ImageOps.posterize`."""
    return images & (256 - 2 ** (8 - bits))


def solarize(images: UInt8[Tensor, "B C H W"], threshold: float) -> UInt8[Tensor, "B C H W"]:
    """Inverts what is as light as `threshold` (0 to 256) or lighter: `ImageOps.solarize`."""
    return torch.where(images < threshold, images, 255 - images)


def add(images: UInt8[Tensor, "B C H W"], amount: float) -> UInt8[Tensor, "B C H W"]:
    """Adds `amount` (0 or more) grey levels, fractions cut off, and clips at white."""
    return images.to(torch.int16).add_(int(amount)).clamp_(0, 255).to(torch.uint8)


def autocontrast(images: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Stretches each channel of each image to black and white: `ImageOps.autocontrast`. One flat colour stays."""
    # Pillow's table is in doubles; Apple's GPUs have none, and may differ by one grey level.
    precise = torch.float32 if images.device.type == "mps" else torch.float64
    low, high = images.flatten(2).aminmax(dim=2, keepdim=True)
    span = (high.to(precise) - low.to(precise)).clamp_(min=1)
    scale = torch.full_like(span, 255) / span  # 255 / span would be 255 times a rounded reciprocal
    level = torch.arange(256, device=images.device, dtype=precise)
    table = (level * scale + -low.to(precise) * scale).clamp_(0, 255)
    return look_up(torch.where(high > low, table, level).to(torch.uint8), images)


def equalize(images: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Spreads each channel's grey levels evenly: `ImageOps.equalize`. One flat colour stays."""
    counts = histogram(images)
    last = images.flatten(2).amax(dim=2, keepdim=True).to(torch.int64)
    step = (counts.sum(dim=2, keepdim=True) - counts.gather(2, last)) // 255
    below = counts.cumsum(dim=2) - counts
    size = step.clamp(min=1)
    table = (below + size // 2) // size
    level = torch.arange(256, device=images.device)
    return look_up(torch.where(step > 0, table, level).clamp_(0, 255).to(torch.uint8), images)


def histogram(images: UInt8[Tensor, "B C H W"]) -> Int64[Tensor, "B C 256"]:
    """How many pixels of each channel have each of the 256 grey levels."""
    level = images.flatten(2).to(torch.int64)
    # torch.bincount would make a GPU wait, to look for the largest level
    return level.new_zeros(*images.shape[:2], 256).scatter_add_(2, level, torch.ones_like(level))


def look_up(table: UInt8[Tensor, "B C 256"], images: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Replaces every grey level by its entry in the channel's own table."""
    return table.gather(2, images.flatten(2).to(torch.int64)).view_as(images)
