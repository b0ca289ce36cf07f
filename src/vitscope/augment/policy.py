"""Augmentation as one callable: in go uint8 images, labels and a generator, out come normalised images and targets.

Settings are resolved into a list of steps when it is built; a call walks the list.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Generator, Tensor

from vitscope._core.errors import DataError
from vitscope._core.text import Lang
from vitscope.augment import colour, geometry, mixing
from vitscope.augment.draws import Draws
from vitscope.augment.randaugment import TABLES, rand_augment
from vitscope.augment.spec import AugmentSpec, RandAugmentSpec

PixelStep = Callable[[Tensor, Draws], Tensor]
"""uint8 B×C×H×W in, the same out."""

MixStep = Callable[[Tensor, Tensor, Draws], tuple[Tensor, Tensor]]
"""Normalised images and labels in, images and targets out."""

CROP_RATIO = (3 / 4, 4 / 3)
ERASED_AREA = (0.02, 0.33)
ERASED_RATIO = (0.3, 3.3)
TRIES = 10
"""How often a rectangle is drawn until it fits into the image; with these ratios a square image needs about one."""


class Augmentation:
    """What a spec asks for, as a function of a batch.

    The same generator state gives the same result bit for bit on one device; no other random state is read or changed,
    and the batch that was given stays as it was.

    Args:
        spec: what to do.
        classes: how many classes there are; the width of soft targets.
        normalise: uint8 pixels to float32, as `Preprocessing.normalise`.
    """

    def __init__(self, spec: AugmentSpec, classes: int, *, normalise: Callable[[Tensor], Tensor]) -> None:
        self.spec = spec
        self.classes = classes
        self._normalise = normalise
        self._pixel_steps = _pixel_steps(spec)
        self._mix = _mix(spec, classes) if spec.mixes else _no_mix

    def __call__(
        self, images: UInt8[Tensor, "B C H W"], labels: Int64[Tensor, " B"], generator: Generator
    ) -> tuple[Float32[Tensor, "B C H W"], Int64[Tensor, " B"] | Float[Tensor, "B Y"]]:
        """Augments a batch.

        Args:
            images: pixels 0 to 255, one or three channels, on any device.
            labels: class indices, on the images' device.
            generator: the only source of chance; on the CPU it gives the same draws whatever the images' device.

        Returns:
            Normalised images, and class indices, or with mixup or cutmix on a weight for each class (rows sum to 1).

        Raises:
            DataError: the images are not uint8 with one or three channels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"augmentation was given {images.dtype} of shape {tuple(images.shape)}, expected uint8 pixels B×C×H×W with one "
                "or three channels; normalising is its own last step"
            )
        draws = Draws(generator, images.device)
        for step in self._pixel_steps:
            images = step(images, draws)
        return self._mix(self._normalise(images), labels, draws)

    def describe(self, lang: Lang = "en") -> str:
        """The steps in their order, in one line."""
        return self.spec.describe(lang)


def _pixel_steps(spec: AugmentSpec) -> list[PixelStep]:
    """The steps on uint8 pixels that are switched on, in the order of the spec's fields."""
    steps: list[PixelStep] = []
    if spec.rand_augment is not None:
        steps.append(_rand_augment(spec.rand_augment))
    if spec.random_resized_crop is not None:
        steps.append(_resized_crop_and_flip(spec.random_resized_crop, spec.flip))
    elif spec.crop or spec.flip:
        steps.append(_crop_and_flip(spec.crop, spec.flip))
    if spec.colour_jitter:
        steps.append(_colour_jitter(spec.colour_jitter))
    if spec.random_erasing:
        steps.append(_random_erasing(spec.random_erasing))
    return steps


def _rand_augment(spec: RandAugmentSpec) -> PixelStep:
    table = TABLES[spec.table]

    def step(images: Tensor, draws: Draws) -> Tensor:
        return rand_augment(images, table, draws, count=spec.n, strength=float(spec.m))

    return step


def _crop_and_flip(padding: int, flip: float) -> PixelStep:
    def step(images: Tensor, draws: Draws) -> Tensor:
        top, left = draws.below(2 * padding + 1, 2, len(images))
        mirrored = draws.uniform(len(images)) < flip
        return geometry.crop_and_flip(images, padding=padding, top=top, left=left, mirrored=mirrored)

    return step


def _resized_crop_and_flip(area: tuple[float, float], flip: float) -> PixelStep:
    def step(images: Tensor, draws: Draws) -> Tensor:
        mirrored = draws.uniform(len(images)) < flip
        return geometry.crop_resize_and_flip(images, box=_boxes(images, draws, area, CROP_RATIO), mirrored=mirrored)

    return step


def _colour_jitter(amount: float) -> PixelStep:
    def step(images: Tensor, draws: Draws) -> Tensor:
        factors = 1 + amount * (2 * draws.uniform(3, len(images), 1, 1, 1) - 1)
        for change, factor in zip((colour.brightness, colour.contrast, colour.color), factors, strict=True):
            images = change(images, factor)
        return images

    return step


def _random_erasing(probability: float) -> PixelStep:
    def step(images: Tensor, draws: Draws) -> Tensor:
        B, C, _, _ = images.shape
        chosen = draws.uniform(B, 1) < probability
        paint = draws.below(256, B, C).to(torch.uint8)
        # A box of no height and width leaves an image as it is.
        return geometry.cover(images, _boxes(images, draws, ERASED_AREA, ERASED_RATIO) * chosen, paint)

    return step


def _boxes(images: Tensor, draws: Draws, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    B, _, H, W = images.shape
    chance, corner = draws.uniform(B, TRIES, 2), draws.uniform(B, 2)
    return geometry.fitting_boxes(chance, corner, size=(H, W), area=area, ratio=ratio)


def _no_mix(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    return images, labels


def _mix(spec: AugmentSpec, classes: int) -> MixStep:
    """Mixup or cutmix by the batch; targets are soft also for a batch that is left unmixed."""
    cut_share = spec.switch_probability if spec.mixup and spec.cutmix else float(spec.cutmix > 0)

    def step(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        targets = mixing.soft_targets(labels, classes)
        if draws.chance() >= spec.mix_probability:
            return images, targets
        partner = draws.permutation(len(images))
        if draws.chance() < cut_share:
            weight, centre = draws.beta(spec.cutmix), (draws.chance(), draws.chance())
            return mixing.cutmix(images, targets, partner=partner, weight=weight, centre=centre)
        return mixing.mixup(images, targets, partner=partner, weight=draws.beta(spec.mixup))

    return step
