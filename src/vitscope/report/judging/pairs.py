"""Two runs on the same images, image by image: predictions in, the difference of their accuracies with its interval out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitscope.recipes.measure import Prediction
from vitscope.train.evaluation import Z95


@dataclass(frozen=True)
class Difference:
    """Accuracy of one run minus that of another on the very same images, in points, with its 95 % interval."""

    one: str
    other: str
    only_one: int
    """Images that only the first gets right."""
    only_other: int
    images: int
    points: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "clear": self.is_clear}


def difference(
    one: str, other: str, predictions: Sequence[Prediction], others: Sequence[Prediction]
) -> Difference | None:
    """The paired difference, from the images that only one of the two gets right, with the interval of Agresti and Min (2005, Statistics in
    Medicine 24): half an image is added to each of the four cells. None where the runs were not measured on the same images."""
    if not predictions or len(predictions) != len(others):
        return None
    pairs = list(zip(predictions, others, strict=True))
    if any((a.image, a.label) != (b.image, b.label) for a, b in pairs):
        return None
    b, c, n = sum(x.right > y.right for x, y in pairs), sum(x.right < y.right for x, y in pairs), len(pairs)
    more, fewer, all_ = b + 0.5, c + 0.5, n + 2
    middle = 100 * (more - fewer) / all_
    half = 100 * Z95 * math.sqrt(more + fewer - (more - fewer) ** 2 / all_) / all_
    return Difference(one, other, b, c, n, 100 * (b - c) / n, middle - half, middle + half)


def differences(runs: Sequence[tuple[str, Sequence[Prediction]]]) -> list[Difference]:
    """Of each two runs that were measured on the same images, by name and predictions."""
    pairs = [(one, other) for i, one in enumerate(runs) for other in runs[i + 1 :]]
    found = [difference(one, other, rows, others) for (one, rows), (other, others) in pairs]
    return [each for each in found if each is not None]
