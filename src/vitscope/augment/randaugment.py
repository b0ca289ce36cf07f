"""RandAugment (Cubuk et al. 2020): in go uint8 images, out come uint8 images with a few random operations each.

Two tables say what the strength M (0 to 30) means for each of the sixteen operations: `PUBLISHED` is that of the published
CIFAR-10 run, reproduced with its slips; `FITTED` is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitscope._core.constants import constant
from vitscope.augment import colour, geometry
from vitscope.augment.draws import Draws

STRONGEST = 30
GREY = (125, 123, 114)
"""What Cutout paints with: the mean of ImageNet's pixels."""


@dataclass(frozen=True)
class Operation:
    """One line of a table.

    Attributes:
        name: as in the paper.
        apply: (images, value, places) to images; `places` are two uniform numbers from [0, 1) an image, for Cutout.
        low: value at strength 0.
        high: value at strength 30.
        mirrored: whether the value's sign is drawn per image.
    """

    name: str
    apply: Callable[[Tensor, float, Tensor], Tensor]
    low: float = 0.0
    high: float = 0.0
    mirrored: bool = False

    def value(self, strength: float) -> float:
        """The operation's own number at a strength from 0 to 30."""
        return self.low + strength / STRONGEST * (self.high - self.low)


def cutout(images: UInt8[Tensor, "B C H W"], side: float, places: Float[Tensor, "B 2"]) -> UInt8[Tensor, "B C H W"]:
    """Paints a grey square of `side` pixels about a uniform centre, clipped at the borders (DeVries & Taylor 2017).

    As the published run computes it: the square starts at int(centre - side / 2), at least 0, and ends at start + side, that
    pixel included, so it is a pixel wider than its side, and it keeps its full width at the left and upper border.
    """
    size = constant(tuple(images.shape[-2:]), torch.int64, images.device)
    start = (places * size - side / 2).clamp_(min=0).to(torch.int64)
    end = (start + side).minimum(size).to(torch.int64)
    paint = constant(GREY, torch.uint8, images.device)[None]
    if images.shape[1] == 1:
        paint = colour.grey(paint[:, :, None, None])[:, :, 0, 0]
    return geometry.cover(images, torch.cat([start, end - start + 1], dim=1), paint)


def _fitted_cutout(images: Tensor, part: float, places: Tensor) -> Tensor:
    side = round(part * min(images.shape[-2:]))
    return cutout(images, float(side - 1), places) if side else images


_UNGRADED = (
    Operation("AutoContrast", lambda x, v, _: colour.autocontrast(x)),
    Operation("Equalize", lambda x, v, _: colour.equalize(x)),
    Operation("Invert", lambda x, v, _: colour.invert(x)),
)

PUBLISHED: tuple[Operation, ...] = (
    *_UNGRADED,
    Operation("Rotate", lambda x, v, _: geometry.rotate(x, v), 0.0, 30.0),
    Operation("Posterize", lambda x, v, _: colour.posterize(x, max(1, int(v))), 0.0, 4.0),
    Operation("Solarize", lambda x, v, _: colour.solarize(x, v), 0.0, 256.0),
    Operation("SolarizeAdd", lambda x, v, _: colour.solarize(colour.add(x, v), 128.0), 0.0, 110.0),
    Operation("Color", lambda x, v, _: colour.color(x, v), 0.1, 1.9),
    Operation("Contrast", lambda x, v, _: colour.contrast(x, v), 0.1, 1.9),
    Operation("Brightness", lambda x, v, _: colour.brightness(x, v), 0.1, 1.9),
    Operation("Sharpness", lambda x, v, _: colour.sharpness(x, v), 0.1, 1.9),
    Operation("ShearX", lambda x, v, _: geometry.shear_x(x, v), 0.0, 0.3, mirrored=True),
    Operation("ShearY", lambda x, v, _: geometry.shear_y(x, v), 0.0, 0.3, mirrored=True),
    Operation("Cutout", cutout, 0.0, 40.0),
    Operation("TranslateX", lambda x, v, _: geometry.translate(x, x=v), 0.0, 100.0, mirrored=True),
    Operation("TranslateY", lambda x, v, _: geometry.translate(x, y=v), 0.0, 100.0, mirrored=True),
)
"""kentaroy47/vision-transformers-cifar10. Translations and Cutout are pixels of a 224-pixel image: from M = 10 on, a
translation leaves nothing of a 32-pixel image. Strength is not monotone: posterize and solarize get weaker as M grows, and the
four factors pass 1, no change, at M = 15."""

FITTED: tuple[Operation, ...] = (
    *_UNGRADED,
    Operation("Rotate", lambda x, v, _: geometry.rotate(x, v), 0.0, 30.0, mirrored=True),
    Operation("Posterize", lambda x, v, _: colour.posterize(x, int(v)), 8.0, 4.0),
    Operation("Solarize", lambda x, v, _: colour.solarize(x, v), 256.0, 0.0),
    Operation("SolarizeAdd", lambda x, v, _: torch.where(x < 128, colour.add(x, v), x), 0.0, 110.0),
    Operation("Color", lambda x, v, _: colour.color(x, 1 + v), 0.0, 0.9, mirrored=True),
    Operation("Contrast", lambda x, v, _: colour.contrast(x, 1 + v), 0.0, 0.9, mirrored=True),
    Operation("Brightness", lambda x, v, _: colour.brightness(x, 1 + v), 0.0, 0.9, mirrored=True),
    Operation("Sharpness", lambda x, v, _: colour.sharpness(x, 1 + v), 0.0, 0.9, mirrored=True),
    Operation("ShearX", lambda x, v, _: geometry.shear_x(x, v), 0.0, 0.3, mirrored=True),
    Operation("ShearY", lambda x, v, _: geometry.shear_y(x, v), 0.0, 0.3, mirrored=True),
    Operation("Cutout", _fitted_cutout, 0.0, 0.5),
    Operation("TranslateX", lambda x, v, _: geometry.translate(x, x=v * x.shape[-1]), 0.0, 0.45, mirrored=True),
    Operation("TranslateY", lambda x, v, _: geometry.translate(x, y=v * x.shape[-2]), 0.0, 0.45, mirrored=True),
)
"""The same sixteen, for an image of any size: translations up to 0.45 of the side, Cutout up to half of the shorter side (the 16
of 32 pixels of DeVries & Taylor 2017), and each the stronger the larger M: at M = 0 all but the first three change nothing."""

TABLES: dict[Literal["published", "fitted"], tuple[Operation, ...]] = {"published": PUBLISHED, "fitted": FITTED}


def rand_augment(
    images: UInt8[Tensor, "B C H W"],
    table: tuple[Operation, ...],
    draws: Draws,
    *,
    count: int,
    strength: float,
) -> UInt8[Tensor, "B C H W"]:
    """Sends every image through `count` operations of its own, drawn uniformly with replacement, always applied.

    In each round the images are sorted by what they drew, so that an operation runs once on all images that drew it. The sorting is
    done where the generator lives: how large the groups are must be known there, and asking a GPU would make it wait.

    Args:
        images: pixels 0 to 255.
        table: the operations to draw from.
        draws: the source of chance.
        count: operations an image (N of the paper).
        strength: 0 to 30 (M of the paper).
    """
    B = len(images)
    mirrored = torch.tensor([operation.mirrored for operation in table], device=draws.home)
    for _ in range(count):
        drawn, negative, places = draws.below_at_home(len(table), B), draws.below_at_home(2, B), draws.uniform(B, 2)
        # What was drawn and its sign in one number, so that a group shares one value: 2 × operation + sign.
        kind = 2 * drawn + negative * mirrored[drawn]
        sorting = kind.argsort(stable=True)
        order, back = draws.send(sorting), draws.send(sorting.argsort())
        sizes = torch.bincount(kind, minlength=2 * len(table)).tolist()
        parts = []
        start = 0
        for group, size in enumerate(sizes):
            if size:
                here = order[start : start + size]
                operation, sign = table[group // 2], 1 - 2 * (group % 2)
                parts.append(operation.apply(images[here], sign * operation.value(strength), places[here]))
            start += size
        images = torch.cat(parts)[back]
    return images
