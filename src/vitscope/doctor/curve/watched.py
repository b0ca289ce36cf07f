"""What a learning curve is, to the checks: rows, classes, a reference, and what is known of how it was trained. Losses in nats, accuracies
in per cent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from vitscope._core.text import Text
from vitscope.curves import ReferenceCurve, Verdict, judge
from vitscope.doctor.finding import Skipped
from vitscope.runs import EpochMetrics

USUAL = (10, 100, 1000)
"""Classes to try where nobody told how many there are."""
_IMAGES = 3_000
"""A validation set of usual size: smaller ones are off by more, and are not told by their accuracy alone."""
Measure = Literal["train_loss", "train_acc", "val_loss", "val_acc", "lr"]


@dataclass(frozen=True)
class Settings:
    """What is known of a training beside its curve; None where nobody told."""

    mixes: bool | None = None
    """Whether images and their labels are mixed (mixup, cutmix): training accuracy and loss are of mixed images then."""
    augments: bool | None = None
    smoothing: float | None = None
    """Label smoothing, part of the training loss."""
    schedule: str | None = None
    """cosine, linear, constant or step."""
    warms_up: bool | None = None
    is_finished: bool | None = None
    """Whether the training came to its end."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A learning curve."""

    rows: tuple[EpochMetrics, ...]
    """Ordered by epoch."""
    classes: int | None = None
    reference: ReferenceCurve | None = None
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def verdict(self) -> Verdict:
        return judge(self.rows, self.reference)

    def need(self, *measures: Measure, epochs: int = 1) -> tuple[EpochMetrics, ...]:
        """The rows in which all of these are finite numbers.

        Raises:
            Skipped: there are fewer than `epochs`.
        """
        rows = tuple(row for row in self.rows if all(math.isfinite(getattr(row, name)) for name in measures))
        if len(rows) < epochs:
            names = "と".join(measures)
            of = "an epoch" if epochs == 1 else f"{epochs} epochs"
            there = f"there {'is' if len(rows) == 1 else 'are'} {len(rows) or 'none'}"
            raise Skipped(
                Text(
                    f"needs {' and '.join(measures)} for {of}; {there}",
                    f"{names}が{epochs}エポック分必要ですが、記録は{len(rows)}エポック分です",
                )
            )
        return rows

    def has(self, measure: Measure) -> bool:
        return any(math.isfinite(getattr(row, measure)) for row in self.rows)

    @cached_property
    def supposed_classes(self) -> int | None:
        """How many classes there are: told; or where the last validation accuracies are one in C to the second digit and the loss is ln C; or where
        the losses of five epochs are ln C of a usual C, and no accuracy speaks against it."""
        if self.classes is not None:
            return self.classes
        rows = [row for row in self.rows if math.isfinite(row.val_acc) and row.val_acc > 0]
        count = round(100 / rows[-1].val_acc) if rows else 0
        near = [row for row in rows[-3:] if count and abs(row.val_acc - 100 / count) < 0.02 * 100 / count]
        losses = [row.val_loss for row in rows[-3:] if math.isfinite(row.val_loss)]
        is_chance = count >= 2 and len(near) == len(rows[-3:]) and bool(losses)
        if is_chance and all(abs(loss - math.log(count)) < 0.02 for loss in losses):
            return count
        return next((usual for usual in USUAL if self._stands_at(usual)), None)

    def _stands_at(self, classes: int) -> bool:
        losses = self.losses()[-5:]
        accuracies = [row.val_acc for row in self.rows if math.isfinite(row.val_acc)][-5:]
        return (
            len(losses) == 5
            and all(abs(loss - math.log(classes)) < 0.01 for loss in losses)
            and all(abs(value - 100 / classes) <= tolerance(classes) for value in accuracies)
        )

    def losses(self) -> list[float]:
        """Of validation, or of training where those were not measured."""
        known = [row.val_loss for row in self.rows if math.isfinite(row.val_loss)]
        return known or [row.train_loss for row in self.rows if math.isfinite(row.train_loss)]

    def need_classes(self) -> int:
        """How many classes there are.

        Raises:
            Skipped: nobody told, and the curve does not.
        """
        if self.supposed_classes is None:
            raise Skipped(
                Text(
                    "the number of classes is not known; --classes Y tells it",
                    "クラス数が分かりません。--classes Yで指定できます",
                ),
                is_left_out=True,
            )
        return self.supposed_classes

    def is_at_chance(self, accuracy: float) -> bool:
        """Whether an accuracy is one in C, give or take what some thousand images are off by chance."""
        classes = self.need_classes()
        return abs(accuracy - 100 / classes) <= tolerance(classes)


def tolerance(classes: int) -> float:
    """Three standard deviations of the accuracy, in points, of guessing on so many images."""
    chance = 1 / classes
    return 300 * math.sqrt(chance * (1 - chance) / _IMAGES)


def last(rows: Sequence[EpochMetrics], part: float = 1 / 3, fewest: int = 3) -> Sequence[EpochMetrics]:
    """The last part of a curve."""
    return rows[-max(fewest, math.ceil(part * len(rows))) :]
