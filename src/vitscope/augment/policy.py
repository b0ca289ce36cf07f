"""Augmentation as one callable: in go uint8 images, labels and a generator, out come normalised images and targets.

Settings are resolved into a list of steps when it is built; a call walks the list.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Float32, Int64, UInt8
from torch import Generator, Tensor

from vitscope.augment import geometry
from vitscope.augment.draws import Draws
from vitscope.augment.spec import AugmentSpec

PixelStep = Callable[[Tensor, Draws], Tensor]
"""uint8 B×C×H×W in, the same out."""


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
        """
        draws = Draws(generator, images.device)
        for step in self._pixel_steps:
            images = step(images, draws)
        return self._normalise(images), labels

    def describe(self) -> str:
        """The steps in their order, in one line."""
        return self.spec.describe()


def _pixel_steps(spec: AugmentSpec) -> list[PixelStep]:
    """The steps on uint8 pixels that are switched on, in the order of the spec's fields."""
    steps: list[PixelStep] = []
    if spec.crop or spec.flip:
        steps.append(_crop_and_flip(spec.crop, spec.flip))
    return steps


def _crop_and_flip(padding: int, flip: float) -> PixelStep:
    def step(images: Tensor, draws: Draws) -> Tensor:
        B = len(images)
        return geometry.crop_and_flip(
            images,
            padding=padding,
            top=draws.below(2 * padding + 1, B),
            left=draws.below(2 * padding + 1, B),
            mirrored=draws.uniform(B) < flip,
        )

    return step


__all__ = ["Augmentation"]
