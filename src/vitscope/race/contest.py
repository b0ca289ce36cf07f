"""The race: models in, their accuracies after the same training out, seed by seed, with the interval of the difference.

Same means: the same images in the same order, the same augmentation, the same steps, learning rate and seeds; what differs is the model. All of
it follows from (seed, step) alone (`train.randomness`), so it is the same whoever runs first, and a mended copy that runs hours later meets the
same batches from the same start values.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitscope._core.errors import Interrupted, NonFiniteLossError, VitscopeError
from vitscope._core.raised import CodeError, first_line
from vitscope._core.text import Text
from vitscope.augment import Augmentation
from vitscope.data import BatchLoader
from vitscope.doctor.copying import copied, unwrapped
from vitscope.doctor.examine import as_it_was
from vitscope.doctor.patient import scores_of
from vitscope.race.course import Course
from vitscope.race.gaps import Gap, Heat, gap, is_beyond_doubt
from vitscope.train.evaluate import score_batches
from vitscope.train.events import EpochEnded, Event
from vitscope.train.fit import fit
from vitscope.train.randomness import seed_of


@dataclass(frozen=True)
class Arm:
    """One that races: its name, and what makes it, untrained, under torch's current seed."""

    name: str
    make: Callable[[], nn.Module]


class NotTrainedError(CodeError):
    """An arm that cannot be trained: verdicts quote it."""


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
    """Trains both arms on each seed in turn, and stops where the difference is beyond doubt (`is_beyond_doubt`)."""
    heats: list[Heat] = []
    total = 2 * len(course.seeds)
    for number, seed in enumerate(course.seeds, start=1):
        for arm in (one, other):
            if progress is not None:
                progress(arm.name, len(heats), total)
            heats.append(heat_of(arm, course, seed))
        if number < len(course.seeds) and is_beyond_doubt(heats[0::2], heats[1::2]):
            return Race(course, tuple(heats), True)
    return Race(course, tuple(heats), False)


def heat_of(arm: Arm, course: Course, seed: int) -> Heat:
    """Trains one arm on one seed and measures it.

    Raises:
        NotTrainedError: it cannot be trained.
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
        try:
            model = Scores(made(arm.make, seed))
            fit(model, batches, course.spec(seed), augment=augment, listeners=(listen,))
            right = _right(model, course)
        except NonFiniteLossError:
            seconds = time.monotonic() - begun
            return Heat(arm.name, seed, 100 / course.classes, float("nan"), seconds, diverged=True)
        except (Interrupted, NotTrainedError):
            raise
        except VitscopeError as error:
            raise _not_trained(arm, str(error)) from error
        except Exception as error:  # whatever somebody's forward does
            raise _not_trained(arm, f"{type(error).__name__} ({first_line(error)})", hint=_MEND_THAT) from error
    loss = losses[-1] if losses else float("nan")
    return Heat(arm.name, seed, 100 * float(right.mean()), loss, time.monotonic() - begun, right=right)


_MEND_THAT = Text("; mend that first", "。先にこれを直してください")


def _not_trained(arm: Arm, said: str, *, hint: Text | None = None) -> NotTrainedError:
    name, hint = in_words(arm.name), hint or Text("", "")
    return NotTrainedError(
        Text(f"{name.en} cannot be trained: {said}{hint.en}", f"{name.ja}を学習できません：{said}{hint.ja}")
    )


def mended(name: str) -> str:
    """What the mended copy of a model is called."""
    return f"{name}{_MENDED}"


def in_words(arm: str) -> Text:
    """An arm's name in both languages."""
    name = arm.removesuffix(_MENDED)
    return Text(arm, arm if name == arm else f"{name}（修正したコピー）")


_MENDED = ", mended"


def made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What an arm starts from: every source of randomness that a constructor may draw from stands at the seed.

    It is the module behind wrappers, and shares nothing with what `make` may keep (a cached layer, a finished module): one heat's training would
    be the next one's start.
    """
    seed_all(seed)
    model = unwrapped(make())
    try:
        return copied(model)
    except Exception:  # it cannot be copied, and what the factory keeps, it keeps
        return model


def seed_all(seed: int) -> None:
    """Every source of randomness that a constructor may draw from."""
    start = seed_of(seed, "init")
    torch.manual_seed(start)
    np.random.seed(start % 2**32)
    random.seed(start)


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
