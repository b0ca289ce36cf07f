"""The race: models in, their accuracies after the same training out, seed by seed, with the interval of the difference.

Same means: the same images in the same order, the same augmentation, the same steps, learning rate and seeds; what differs is the model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from vitscope._core.errors import NonFiniteLossError
from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import Augmentation, AugmentSpec
from vitscope.data import BatchLoader, DataSplits
from vitscope.train.duration import Duration
from vitscope.train.evaluate import score_batches
from vitscope.train.events import EpochEnded, Event
from vitscope.train.fit import fit
from vitscope.train.randomness import global_generator_restored, seed_of
from vitscope.train.spec import TrainSpec

T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % points of Student's t for 1 to 9 degrees of freedom."""
CLEAR_AFTER = 2
"""Seeds after which a race may stop, if the interval leaves out zero by far."""


@dataclass(frozen=True)
class Course:
    """What all arms are trained on, and how."""

    splits: DataSplits
    preprocessing: Preprocessing
    steps: int = 300
    batch_size: int = 64
    lr: float = 1e-3
    seeds: tuple[int, ...] = (0, 1, 2)
    measured: int = 2_000
    """Validation images that are measured on, at most."""

    def spec(self, seed: int) -> TrainSpec:
        """AdamW with a warm-up of a tenth and a cosine; every fourth part is measured."""
        return TrainSpec(
            duration=Duration(float(self.steps), "st"),
            batch_size=self.batch_size,
            lr=self.lr,
            warmup=Duration(10.0, "%"),
            gradient_clip=1.0,
            seed=seed,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "data": self.splits.train.name,
            "train_images": len(self.splits.train),
            "measured_images": min(self.measured, len(self.splits.val)),
            "steps": self.steps,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "seeds": list(self.seeds),
        }


@dataclass(frozen=True)
class Arm:
    """One that races: its name, and what makes it, untrained, from a seed."""

    name: str
    make: Callable[[int], nn.Module]


@dataclass(frozen=True, eq=False)
class Heat:
    """One arm after one seed's training."""

    arm: str
    seed: int
    accuracy: float
    """Per cent of the measured images."""
    loss: float
    """Of the last epoch's training images, in nats."""
    diverged: bool = False
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Which of the measured images."""

    def to_dict(self) -> dict[str, Any]:
        loss = self.loss if math.isfinite(self.loss) else None
        return {
            "arm": self.arm,
            "seed": self.seed,
            "accuracy": self.accuracy,
            "train_loss": loss,
            "diverged": self.diverged,
        }


@dataclass(frozen=True)
class Gap:
    """Accuracy of one arm minus another's over the seeds, in points, with its 95 % interval (Student's t over the seeds; over the images where
    there is one seed)."""

    one: str
    other: str
    points: float
    low: float
    high: float
    seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        values = {"points": self.points, "low": self.low, "high": self.high}
        return {"one": self.one, "other": self.other, **values, "seeds": self.seeds, "clear": self.is_clear}


@dataclass(frozen=True, eq=False)
class Race:
    """All heats that were run."""

    course: Course
    heats: tuple[Heat, ...]
    stopped_early: bool

    def of(self, arm: str) -> tuple[Heat, ...]:
        """An arm's heats, by seed."""
        return tuple(heat for heat in self.heats if heat.arm == arm)

    def mean(self, arm: str) -> float:
        """Mean accuracy of an arm over its seeds, in per cent."""
        return statistics.fmean(heat.accuracy for heat in self.of(arm))

    def gap(self, one: str, other: str) -> Gap:
        """The difference of two arms on the seeds that both have run."""
        return gap(self.of(one), self.of(other))

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.course.to_dict(),
            "stopped_early": self.stopped_early,
            "heats": [heat.to_dict() for heat in self.heats],
        }


Progress = Callable[[str, int, int], None]
"""Told before each heat: who runs, its number from 0, and how many there will be at most."""


def race(arms: Sequence[Arm], course: Course, progress: Progress | None = None) -> Race:
    """Trains all arms on each seed in turn. Of two arms it stops once two seeds have made the difference clear: both have the same sign and the
    smaller is at least five times the spread of a measurement on so many images."""
    heats: list[Heat] = []
    total = len(arms) * len(course.seeds)
    for number, seed in enumerate(course.seeds, start=1):
        for arm in arms:
            if progress is not None:
                progress(arm.name, len(heats), total)
            heats.append(heat_of(arm, course, seed))
        if len(arms) == 2 and CLEAR_AFTER <= number < len(course.seeds) and _is_beyond_doubt(heats, arms):
            return Race(course, tuple(heats), True)
    return Race(course, tuple(heats), False)


def heat_of(arm: Arm, course: Course, seed: int) -> Heat:
    """Trains one arm on one seed and measures it."""
    train, val = course.splits.train, course.splits.val
    shown = (
        val
        if len(val) <= course.measured
        else val.subset(np.linspace(0, len(val) - 1, course.measured).astype(np.int64))
    )
    with global_generator_restored():
        torch.manual_seed(seed_of(seed, "init"))
        model = arm.make(seed)
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, EpochEnded):
            losses.append(event.row.train_loss)

    normalise = course.preprocessing.normalise
    batches = BatchLoader(train, batch_size=min(course.batch_size, len(train)), shuffle=True, seed=seed, drop_last=True)
    augment = Augmentation(AugmentSpec(), len(train.label_names), normalise=normalise)
    try:
        fit(model, batches, course.spec(seed), augment=augment, listeners=(listen,))
    except NonFiniteLossError:
        return Heat(arm.name, seed, 100 / len(train.label_names), float("nan"), diverged=True)
    loader = BatchLoader(shown, batch_size=250, shuffle=False, drop_last=False)
    model.eval()
    with torch.no_grad():
        answers = [
            (scores.argmax(dim=1) == labels).cpu() for scores, labels in score_batches(model, loader, prepare=normalise)
        ]
    right = torch.cat(answers).numpy()
    return Heat(arm.name, seed, 100 * float(right.mean()), losses[-1] if losses else float("nan"), right=right)


def gap(ones: Sequence[Heat], others: Sequence[Heat]) -> Gap:
    """The paired difference over seeds."""
    pairs = [(a, b) for a in ones for b in others if a.seed == b.seed]
    points = [a.accuracy - b.accuracy for a, b in pairs]
    mean = statistics.fmean(points)
    if len(points) > 1:
        half = T975[min(len(points) - 2, len(T975) - 1)] * statistics.stdev(points) / math.sqrt(len(points))
    else:
        half = 1.96 * _spread(*pairs[0])
    # several seeds that agree to the digit are no proof: the images measured on bound what can be told
    half = max(half, 1.96 * statistics.fmean(_spread(a, b) for a, b in pairs) / math.sqrt(len(pairs)))
    return Gap(ones[0].arm, others[0].arm, mean, mean - half, mean + half, len(points))


def _spread(a: Heat, b: Heat) -> float:
    """Standard error in points of the difference of two accuracies on the same images."""
    if not len(a.right) or len(a.right) != len(b.right):
        return 5.0
    difference = a.right.astype(float) - b.right.astype(float)
    return 100 * float(difference.std()) / math.sqrt(len(difference))


def _is_beyond_doubt(heats: Sequence[Heat], arms: Sequence[Arm]) -> bool:
    ones, others = ([heat for heat in heats if heat.arm == arm.name] for arm in arms)
    points = [a.accuracy - b.accuracy for a, b in zip(ones, others, strict=True)]
    error = max(_spread(a, b) for a, b in zip(ones, others, strict=True))
    return all(p > 0 for p in points) == any(p > 0 for p in points) and min(abs(p) for p in points) > 5 * max(
        error, 0.5
    )
