"""How good a classifier is, in numbers that say how sure they are. In go scores and labels, out comes an `Evaluation`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from sklearn.metrics import confusion_matrix, log_loss

Z95 = 1.959963984540054
BINS = 15


@dataclass(frozen=True)
class Share:
    """`right` of `images`, in per cent, with its 95 % interval (Wilson 1927)."""

    right: int
    images: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Predictions whose top probability lies between `low` and `high`: how sure they were and how often they were right (0 to 1)."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """Measured on one set of images.

    `loss` is the mean cross-entropy in nats; `calibration_error` the expected calibration error over 15 equal bins, in per cent
    (Guo et al. 2017, arXiv 1706.04599, section 2); `confusion[i][j]` counts images of class i that were called j.
    """

    total: Share
    loss: float
    top5: float | None
    calibration_error: float
    label_names: tuple[str, ...]
    per_class: tuple[Share, ...]
    confusion: tuple[tuple[int, ...], ...]
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `evaluation.json`."""
        value = asdict(self)
        value["per_class"] = [
            {"label": name, **asdict(share)} for name, share in zip(self.label_names, self.per_class, strict=True)
        ]
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Evaluation:
        """What `to_dict` gave, read again.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        classes = [{key: part for key, part in row.items() if key != "label"} for row in value["per_class"]]
        made = cls(
            total=Share(**value["total"]),
            loss=float(value["loss"]),
            top5=None if value["top5"] is None else float(value["top5"]),
            calibration_error=float(value["calibration_error"]),
            label_names=tuple(map(str, value["label_names"])),
            per_class=tuple(Share(**row) for row in classes),
            confusion=tuple(tuple(map(int, row)) for row in value["confusion"]),
            bins=tuple(Bin(**row) for row in value["bins"]),
        )
        count = len(made.label_names)
        if len(made.per_class) != count or [len(row) for row in made.confusion] != [count] * count:
            raise ValueError("classes and confusion do not fit")
        return made


def share(right: int, images: int) -> Share:
    """A share with its 95 % interval; of nothing, everything is possible."""
    if images == 0:
        return Share(0, 0, math.nan, 0.0, 100.0)
    p, z2 = right / images, Z95**2
    centre = (p + z2 / (2 * images)) / (1 + z2 / images)
    half = Z95 / (1 + z2 / images) * math.sqrt(p * (1 - p) / images + z2 / (4 * images**2))
    return Share(right, images, 100 * p, 100 * max(0.0, centre - half), 100 * min(1.0, centre + half))


def evaluation_of(
    probabilities: Float[np.ndarray, "N Y"], labels: Int64[np.ndarray, " N"], label_names: tuple[str, ...]
) -> Evaluation:
    """Everything that `vitscope eval` shows, from probabilities (rows sum to one) and true labels."""
    classes = len(label_names)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    confusion = confusion_matrix(labels, predicted, labels=range(classes))
    bins = _bins(confidence, right)
    top5 = None
    if classes > 5:
        best = np.argpartition(-probabilities, 5, axis=1)[:, :5]
        top5 = float(100 * (best == labels[:, None]).any(axis=1).mean())
    return Evaluation(
        total=share(int(right.sum()), len(labels)),
        loss=float(log_loss(labels, probabilities, labels=list(range(classes)))),
        top5=top5,
        calibration_error=100 * sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / len(labels),
        label_names=label_names,
        per_class=tuple(share(int(confusion[i, i]), int(confusion[i].sum())) for i in range(classes)),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        bins=bins,
    )


def _bins(confidence: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, BINS + 1)
    which = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    made = []
    for i in range(BINS):
        inside = which == i
        n = int(inside.sum())
        made.append(
            Bin(
                float(edges[i]),
                float(edges[i + 1]),
                n,
                float(confidence[inside].mean()) if n else 0.0,
                float(right[inside].mean()) if n else 0.0,
            )
        )
    return tuple(made)
