"""The race: models in, their accuracies after the same training out, seed by seed, with the interval of the difference.

Same means: the same images in the same order, the same augmentation, the same steps, learning rate and seeds; what differs is the model. All of
it follows from (seed, step) alone (`train.randomness`), so it is the same whoever runs first, and a mended copy that runs hours later meets the
same batches from the same start values.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitscope._core.errors import DataError, ModelError, NonFiniteLossError
from vitscope.augment import Augmentation
from vitscope.data import BatchLoader
from vitscope.doctor.examine import as_it_was
from vitscope.doctor.patient import first_line, scores_of
from vitscope.race.course import Course
from vitscope.train.evaluate import score_batches
from vitscope.train.events import EpochEnded, Event
from vitscope.train.fit import fit
from vitscope.train.randomness import seed_of

T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % points of Student's t for 1 to 9 degrees of freedom."""
CLEAR_AFTER, BY_FAR = 2, 10.0
"""Seeds after which a race may stop, and the points that every seed's difference must then have, beside an interval that leaves out zero: a look
at the interval before the last seed is one more chance to be wrong, and two models of one kind are hardly ever so far apart."""


@dataclass(frozen=True)
class Arm:
    """One that races: its name, and what makes it, untrained, under torch's current seed."""

    name: str
    make: Callable[[], nn.Module]


@dataclass(frozen=True, eq=False)
class Heat:
    """One arm after one seed's training."""

    arm: str
    seed: int
    accuracy: float
    """Per cent of the measured images."""
    loss: float
    """Of the last epoch's training images, in nats."""
    seconds: float = 0.0
    diverged: bool = False
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Which of the measured images."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "arm": self.arm,
            "seed": self.seed,
            "accuracy": self.accuracy,
            "train_loss": self.loss if math.isfinite(self.loss) else None,
            "seconds": round(self.seconds, 1),
            "diverged": self.diverged,
        }


@dataclass(frozen=True)
class Gap:
    """Accuracy of one arm minus another's over the seeds that both ran, in points, with its 95 % interval.

    The interval is Student's t over the seeds' differences, and never narrower than what so many images can tell; over the images alone where
    there is one seed. With two seeds it is wide (12.7 standard errors), as it should be. It ends where no difference of accuracies can be.
    """

    one: str
    other: str
    points: float
    low: float
    high: float
    seeds: int
    means: tuple[float, float] | None = None
    """Of both over these seeds."""

    @property
    def shown(self) -> float:
        """The difference as it is printed beside both means: that of the rounded ones, so that a reader who subtracts them finds it."""
        return self.points if self.means is None else round(self.means[0], 1) - round(self.means[1], 1)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        values = {"points": self.points, "low": self.low, "high": self.high}
        rounded = {name: round(value, 3) for name, value in values.items()}
        return {"one": self.one, "other": self.other, **rounded, "seeds": self.seeds, "clear": self.is_clear}


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


def race(one: Arm, other: Arm, course: Course, progress: Progress | None = None) -> Race:
    """Trains both arms on each seed in turn, and stops where the difference is clear (`CLEAR_AFTER`)."""
    heats: list[Heat] = []
    total = 2 * len(course.seeds)
    for number, seed in enumerate(course.seeds, start=1):
        for arm in (one, other):
            if progress is not None:
                progress(arm.name, len(heats), total)
            heats.append(heat_of(arm, course, seed))
        if CLEAR_AFTER <= number < len(course.seeds) and is_beyond_doubt(heats[0::2], heats[1::2]):
            return Race(course, tuple(heats), True)
    return Race(course, tuple(heats), False)


def heat_of(arm: Arm, course: Course, seed: int) -> Heat:
    """Trains one arm on one seed and measures it.

    Raises:
        ModelError: it cannot be trained.
    """
    begun = time.monotonic()
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, EpochEnded):
            losses.append(event.row.train_loss)

    normalise = course.preprocessing.normalise
    batches = BatchLoader(course.splits.train, batch_size=course.a_batch, shuffle=True, seed=seed, drop_last=True)
    augment = Augmentation(course.augment, course.classes, normalise=normalise)
    with as_it_was():
        model = Scores(made(arm.make, seed))
        try:
            fit(model, batches, course.spec(seed), augment=augment, listeners=(listen,))
            right = _right(model, course)
        except NonFiniteLossError:
            seconds = time.monotonic() - begun
            return Heat(arm.name, seed, 100 / course.classes, float("nan"), seconds, diverged=True)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{arm.name} cannot be trained: {type(error).__name__} ({first_line(error)}); mend that first"
            ) from error
        except (ModelError, DataError) as error:
            raise ModelError(f"{arm.name} cannot be trained: {error}") from error
    loss = losses[-1] if losses else float("nan")
    return Heat(arm.name, seed, 100 * float(right.mean()), loss, time.monotonic() - begun, right=right)


def made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What an arm starts from: every source of randomness that a constructor may draw from stands at the seed."""
    start = seed_of(seed, "init")
    torch.manual_seed(start)
    np.random.seed(start % 2**32)
    random.seed(start)
    return make()


def _right(model: nn.Module, course: Course) -> np.ndarray:
    loader = BatchLoader(course.shown, batch_size=course.a_batch, shuffle=False, drop_last=False)
    scored = score_batches(model, loader, prepare=course.preprocessing.normalise)
    return torch.cat([(scores.argmax(dim=1) == labels).cpu() for scores, labels in scored]).numpy()


class Scores(nn.Module):
    """A model that gives its scores, whatever it wraps them in (logits, a tuple)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        answer = self.inner(x)
        return answer if isinstance(answer, Tensor) else scores_of(answer, len(x))


def gap(ones: Sequence[Heat], others: Sequence[Heat]) -> Gap:
    """The paired difference over seeds."""
    pairs = _pairs(ones, others)
    points = [a.accuracy - b.accuracy for a, b in pairs]
    mean = statistics.fmean(points)
    # several seeds that agree to the digit are no proof: the images measured on bound what can be told
    half = 1.96 * statistics.fmean(_error(a, b) for a, b in pairs) / math.sqrt(len(pairs))
    if len(points) > 1:
        half = max(half, T975[min(len(points) - 2, len(T975) - 1)] * statistics.stdev(points) / math.sqrt(len(points)))
    low, high = max(mean - half, -100.0), min(mean + half, 100.0)
    means = (statistics.fmean(a.accuracy for a, _ in pairs), statistics.fmean(b.accuracy for _, b in pairs))
    return Gap(ones[0].arm, others[0].arm, mean, low, high, len(points), means)


def is_beyond_doubt(ones: Sequence[Heat], others: Sequence[Heat]) -> bool:
    """Whether no further seed is needed: the interval leaves out zero, and each seed alone is `BY_FAR` apart, all in one direction."""
    points = [a.accuracy - b.accuracy for a, b in _pairs(ones, others)]
    same = all(p >= BY_FAR for p in points) or all(p <= -BY_FAR for p in points)
    return same and gap(ones, others).is_clear


def _pairs(ones: Sequence[Heat], others: Sequence[Heat]) -> list[tuple[Heat, Heat]]:
    return [(a, b) for a in ones for b in others if a.seed == b.seed]


def _error(a: Heat, b: Heat) -> float:
    """Standard error in points of the difference of two accuracies on the same images. One that diverged has no answers; it counts as chance."""
    count = max(len(a.right), len(b.right))
    if not count:
        return 0.0
    if len(a.right) == len(b.right):
        spread = float((a.right.astype(float) - b.right.astype(float)).std())
        spread = max(spread, 1 / math.sqrt(count))  # the same answers to all: one more image may tell them apart
    else:
        spread = sum(math.sqrt(x * (100 - x)) for x in (a.accuracy, b.accuracy)) / 100
    return 100 * spread / math.sqrt(count)
