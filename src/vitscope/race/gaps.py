"""What a race tells: heats in, the difference of two arms with its interval out, and whether that is beyond doubt before the last seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % points of Student's t for 1 to 9 degrees of freedom."""
T995 = (63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250)
"""99.5 % points: a look before the last seed is one more chance to be wrong, and is stricter."""
CLEAR_AFTER, BY_FAR = 5, 10.0
"""Seeds after which a race may stop, and the points that every seed's difference must then have. Five, because some models learn on every second
seed only: two equals of that kind are far apart in one direction three times running in 3 % of all races, five times running in 0.2 %."""


@dataclass(frozen=True, eq=False)
class Heat:
    """One arm after one seed's training."""

    arm: str
    seed: int
    accuracy: float
    """Per cent of the measured images; of one that diverged, which has none, chance."""
    loss: float
    """Of the last epoch's training images, in nats."""
    seconds: float = 0.0
    diverged: bool = False
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Which of the measured images."""

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON holds it: what diverged was not measured, and counts as chance."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "accuracy": None if self.diverged else self.accuracy,
            "counted_as": self.accuracy,
            "train_loss": self.loss if math.isfinite(self.loss) else None,
            "seconds": round(self.seconds, 1),
            "diverged": self.diverged,
        }


@dataclass(frozen=True)
class Gap:
    """Accuracy of one arm minus another's over the seeds that both ran, in points, with its 95 % interval.

    The interval is Student's t over the seeds' differences, and never narrower than what so many images can tell (other seeds measure on the same
    ones, so they do not make it narrower). It ends where no difference of accuracies can be; of one seed, which cannot tell models from luck, there
    is none: it holds all that can be.
    """

    one: str
    other: str
    points: float
    low: float
    high: float
    seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero; never of one seed."""
        return self.seeds > 1 and (self.low > 0 or self.high < 0)

    @property
    def shown(self) -> float:
        """What is printed: the number that the JSON holds."""
        return self.points

    @property
    def turned(self) -> Gap:
        """The same difference, the other way round."""
        return Gap(self.other, self.one, -self.points, -self.high, -self.low, self.seeds)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, float | None] = {"points": self.points, "low": self.low, "high": self.high}
        known = values if self.seeds > 1 else {**values, "low": None, "high": None}
        rounded = {name: None if value is None else round(value, 3) for name, value in known.items()}
        return {"one": self.one, "other": self.other, **rounded, "seeds": self.seeds, "clear": self.is_clear}


def gap(ones: Sequence[Heat], others: Sequence[Heat]) -> Gap:
    """The paired difference over seeds."""
    pairs = _pairs(ones, others)
    points = [a.accuracy - b.accuracy for a, b in pairs]
    mean = statistics.fmean(points)
    # several seeds that agree to the digit are no proof: the images measured on bound what can be told
    half = max(1.96 * _error(pairs), _half(points, T975))
    low, high = max(mean - half, -100.0), min(mean + half, 100.0)
    return Gap(ones[0].arm, others[0].arm, mean, low, high, len(points))


def is_beyond_doubt(ones: Sequence[Heat], others: Sequence[Heat]) -> bool:
    """Whether no further seed is needed: `CLEAR_AFTER` are run, each alone is `BY_FAR` apart, all in one direction, and the 99 % interval leaves out
    zero."""
    pairs = _pairs(ones, others)
    points = [a.accuracy - b.accuracy for a, b in pairs]
    same = all(p >= BY_FAR for p in points) or all(p <= -BY_FAR for p in points)
    if len(points) < CLEAR_AFTER or not same:
        return False
    return abs(statistics.fmean(points)) > max(2.576 * _error(pairs), _half(points, T995))


def is_near_chance(heats: Sequence[Heat], classes: int) -> bool:
    """Whether an arm answers hardly better than by chance: what it would learn is not seen yet."""
    chance = 100 / classes
    return bool(heats) and statistics.fmean(heat.accuracy for heat in heats) < chance + min(chance / 2, 5.0)


def _half(points: Sequence[float], quantiles: Sequence[float]) -> float:
    """Half of Student's interval; without an end for one seed, which has no spread."""
    if len(points) < 2:
        return math.inf
    quantile = quantiles[min(len(points) - 2, len(quantiles) - 1)]
    return quantile * statistics.stdev(points) / math.sqrt(len(points))


def _pairs(ones: Sequence[Heat], others: Sequence[Heat]) -> list[tuple[Heat, Heat]]:
    return [(a, b) for a in ones for b in others if a.seed == b.seed]


def _error(pairs: Sequence[tuple[Heat, Heat]]) -> float:
    """Standard error in points, over the images, of the difference that each has as the mean of all seeds: the images are the same ones for each
    seed, so what they cannot tell, more seeds cannot either."""
    count = max(len(heat.right) for pair in pairs for heat in pair)
    if not count:
        return 0.0
    each = np.mean([_right(a, count) - _right(b, count) for a, b in pairs], axis=0)
    spread = max(float(each.std()), 1 / math.sqrt(count))  # the same answers to all: one more image may tell them apart
    return 100 * spread / math.sqrt(count)


def _right(heat: Heat, count: int) -> np.ndarray:
    """Which images it has right; one that diverged has no answers, and has each as often right as chance."""
    return heat.right.astype(float) if len(heat.right) == count else np.full(count, heat.accuracy / 100)
