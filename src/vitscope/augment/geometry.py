"""Where pixels go: in go uint8 images and their parameters, out come uint8 images of the same size.

Every function moves the whole batch by index arithmetic, without a loop over images. What comes from outside an image is
black.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from vitscope._core.constants import constant


def pick(
    images: UInt8[Tensor, "B C H W"], rows: Int64[Tensor, "B h"], columns: Int64[Tensor, "B w"]
) -> UInt8[Tensor, "B C h w"]:
    """Each image's own rows and columns, in the order given: crop, flip and repeat in one pass."""
    B, C, _, W = images.shape
    h, w = rows.shape[1], columns.shape[1]
    index = (rows[:, :, None] * W + columns[:, None, :]).view(B, 1, h * w).expand(B, C, h * w)
    return images.flatten(2).gather(2, index).view(B, C, h, w)


def crop_and_flip(
    images: UInt8[Tensor, "B C H W"],
    *,
    padding: int,
    top: Int64[Tensor, " B"],
    left: Int64[Tensor, " B"],
    mirrored: Bool[Tensor, " B"],
) -> UInt8[Tensor, "B C H W"]:
    """Pads with black, cuts out a part of the old size at `top`, `left` (0 to 2 × padding pixels), mirrors where told.

    One pass for both steps, because on a CPU each pass over the batch costs as much as the step itself.
    """
    _, _, H, W = images.shape
    across = torch.arange(W, device=images.device)
    columns = left[:, None] + torch.where(mirrored[:, None], W - 1 - across, across)
    rows = top[:, None] + torch.arange(H, device=images.device)
    padded = pad(images, (padding,) * 4) if padding else images
    return pick(padded, rows, columns)


def crop_resize_and_flip(
    images: UInt8[Tensor, "B C H W"], *, box: Int64[Tensor, "B 4"], mirrored: Bool[Tensor, " B"]
) -> UInt8[Tensor, "B C H W"]:
    """Cuts out each image's `box` (top, left, height, width in pixels) and scales it to the old size, bilinear.

    Pixels outside the box have no influence, as when Pillow crops and then resizes (equal to it within 1 grey level: it
    rounds once more, between the two directions). A box is never larger than the image, so no antialiasing is needed.
    """
    _, _, H, W = images.shape
    top, left, height, width = box.unbind(1)
    y, y_next, down = _between(H, top, height)
    x, x_next, right = _between(W, left, width)
    x, x_next, right = (torch.where(mirrored[:, None], t.flip(1), t) for t in (x, x_next, right))
    right, down = right[:, None, None, :], down[:, None, :, None]
    upper = pick(images, y, x).to(torch.float32).lerp_(pick(images, y, x_next).to(torch.float32), right)
    lower = pick(images, y_next, x).to(torch.float32).lerp_(pick(images, y_next, x_next).to(torch.float32), right)
    return upper.lerp_(lower, down).add_(0.5).to(torch.uint8)


def _between(
    count: int, start: Int64[Tensor, " B"], extent: Int64[Tensor, " B"]
) -> tuple[Int64[Tensor, "B n"], Int64[Tensor, "B n"], Float[Tensor, "B n"]]:
    """For `count` samples along `extent` pixels from `start`: the pixel before, the pixel after, how far between them."""
    centre = torch.arange(count, device=start.device) + 0.5
    place = (centre * (extent[:, None] / count) - 0.5).clamp_(min=0)
    before = place.floor().to(torch.int64).minimum(extent[:, None] - 1)
    after = (before + 1).minimum(extent[:, None] - 1)
    return before + start[:, None], after + start[:, None], place - before


def affine(
    images: UInt8[Tensor, "B C H W"], matrix: tuple[float, float, float, float, float, float]
) -> UInt8[Tensor, "B C H W"]:
    """Fills pixel (x, y) from (a x + b y + c, d x + e y + f), nearest: `Image.transform(size, AFFINE, matrix)`.

    One matrix for all images. Where each pixel comes from is kept for the next batch, since a table's strength is constant.
    """
    index, inside = _sources(matrix, images.shape[-2], images.shape[-1], images.device)
    return images.flatten(2).index_select(2, index).mul_(inside).view_as(images)


@lru_cache(maxsize=64)
def _sources(
    matrix: tuple[float, float, float, float, float, float], H: int, W: int, device: torch.device
) -> tuple[Int64[Tensor, " HW"], Bool[Tensor, " HW"]]:
    """Which pixel each pixel is taken from, and whether that lies inside; in 16.16 fixed point, to choose as Pillow does."""
    a, b, c, d, e, f = matrix
    c, f = c + (a + b) / 2, f + (d + e) / 2
    fixed = [math.floor(value * 65536 + 0.5) for value in (a, b, c, d, e, f)]
    across = torch.arange(W, device=device)
    down = torch.arange(H, device=device)[:, None]
    x = (across * fixed[0] + down * fixed[1] + fixed[2]) >> 16
    y = (across * fixed[3] + down * fixed[4] + fixed[5]) >> 16
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    return torch.where(inside, y * W + x, 0).flatten(), inside.flatten()


def shear_x(images: UInt8[Tensor, "B C H W"], slope: float) -> UInt8[Tensor, "B C H W"]:
    """Moves each row to the left by `slope` times its distance from the top."""
    return affine(images, (1.0, slope, 0.0, 0.0, 1.0, 0.0))


def shear_y(images: UInt8[Tensor, "B C H W"], slope: float) -> UInt8[Tensor, "B C H W"]:
    """Moves each column upwards by `slope` times its distance from the left."""
    return affine(images, (1.0, 0.0, 0.0, slope, 1.0, 0.0))


def translate(images: UInt8[Tensor, "B C H W"], *, x: float = 0.0, y: float = 0.0) -> UInt8[Tensor, "B C H W"]:
    """Moves the images `x` pixels to the left and `y` upwards."""
    return affine(images, (1.0, 0.0, x, 0.0, 1.0, y))


def rotate(images: UInt8[Tensor, "B C H W"], degrees: float) -> UInt8[Tensor, "B C H W"]:
    """Turns the images about their centre, counter-clockwise, keeping their size: `Image.rotate(degrees)`."""
    _, _, H, W = images.shape
    angle = -math.radians(degrees)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = W / 2, H / 2
    return affine(images, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y))


def cover(
    images: UInt8[Tensor, "B C H W"], box: Int64[Tensor, "B 4"], colour: UInt8[Tensor, "#B C"]
) -> UInt8[Tensor, "B C H W"]:
    """Paints each image's `box` (top, left, height, width in pixels; clipped at the borders) in one colour."""
    _, _, H, W = images.shape
    top, left, height, width = box[:, :, None].unbind(1)
    rows = torch.arange(H, device=images.device)
    columns = torch.arange(W, device=images.device)
    covered = ((rows >= top) & (rows < top + height))[:, None, :, None]
    covered = covered & ((columns >= left) & (columns < left + width))[:, None, None, :]
    return torch.where(covered, colour[:, :, None, None], images)


def fitting_boxes(
    chance: Float[Tensor, "B tries 2"],
    corner: Float[Tensor, "B 2"],
    *,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Int64[Tensor, "B 4"]:
    """A rectangle an image: area uniform, side ratio log-uniform, place uniform among those that fit.

    Of each image's tries the first that fits is taken; where none fits, the first is cut to the image's size.

    Args:
        chance: uniform numbers from [0, 1) for area and ratio of each try.
        corner: uniform numbers from [0, 1) for the place.
        size: height and width of the image in pixels.
        area: smallest and largest part of the image's area.
        ratio: smallest and largest width over height.

    Returns:
        Top, left, height and width in pixels, at least one pixel each way.
    """
    H, W = size
    surface = H * W * (area[0] + (area[1] - area[0]) * chance[..., 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = (low + (high - low) * chance[..., 1]).exp()
    sides = torch.stack([(surface / shape).sqrt(), (surface * shape).sqrt()], dim=-1).round().to(torch.int64)
    limit = constant((H, W), torch.int64, chance.device)
    first = (sides <= limit).all(dim=-1).to(torch.uint8).argmax(dim=1)
    sides = sides[torch.arange(len(sides), device=chance.device), first].clamp(min=1).minimum(limit)
    return torch.cat([(corner * (limit - sides + 1)).to(torch.int64), sides], dim=1)
