"""How long a race will take here, before it begins: one training step of each is timed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from vitscope._core.errors import UsageError
from vitscope._core.text import Text
from vitscope.doctor.examine import as_it_was
from vitscope.race.contest import Scores, made
from vitscope.race.course import Course
from vitscope.race.entrants import Entrant, Opening, unheard

EXAMINATION_STEPS = 40
"""What an examination takes, in training steps of the race: a rule of thumb."""
SPARE = 1.5
"""Times as long as the estimate, for a limit that suffices."""


def budget_of(
    entrants: Sequence[Entrant], course: Course, limit: float | None = None, opening: Opening = unheard
) -> Text:
    """A sentence with the time that all seeds of both will take at most; a mended copy takes as long again as one of them.

    Args:
        entrants: both.
        course: what they race on.
        limit: seconds after which all of it is ended, and what it reached is lost.
        opening: told of each before its code runs.

    Raises:
        UsageError: it takes longer than that.
    """
    timed = []
    for entrant in entrants:
        opening(entrant.name)
        timed.append(_seconds_of_a_step(entrant, course))
    steps, seeds = course.steps, len(course.seeds)
    trainings = Text(
        f"The race: {course.length.en} of {course.a_batch} images, at most {seeds} seed{'s' if seeds > 1 else ''} for each",
        f"競争：各モデル{course.a_batch}枚×{course.length.ja}、シードは最大{seeds}個",
    )
    ended = Text("", "") if limit is None else _ENDED.format(limit=_said(limit))
    if None in timed:
        return Text(f"{trainings.en}.{ended.en}", f"{trainings.ja}。{ended.ja}")
    seconds = sum(each or 0.0 for each in timed) * (steps * seeds + EXAMINATION_STEPS)
    each = max(each or 0.0 for each in timed) * steps * seeds
    if limit is not None and seconds > limit:
        enough = math.ceil((seconds + each) * SPARE / 60) * 60
        raise UsageError(_TOO_LONG.format(seconds=_said(seconds), limit=_said(limit), enough=enough))
    return Text(
        f"{trainings.en}; about {_said(seconds).en} on this machine, and up to {_said(each).en} more for each fault that is mended "
        f"(--duration and --seeds make it shorter).{ended.en}",
        f"{trainings.ja}。このマシンでは約{_said(seconds).ja}、修正して競わせる問題1件につきさらに最大{_said(each).ja}かかります"
        f"（--durationと--seedsで短縮できます）。{ended.ja}",
    )


_ENDED = Text(
    " After {limit} all of it is ended (--time-limit).",
    "{limit}を過ぎると、すべて打ち切られます（--time-limit）。",
)
_TOO_LONG = Text(
    "the race takes about {seconds} on this machine, and --time-limit ends it after {limit}; give it longer with --time-limit {enough}, or shorten "
    "it with --duration or --seeds",
    "競争にはこのマシンで約{seconds}かかりますが、--time-limitにより{limit}で打ち切られます。--time-limit {enough}のように長くするか、--durationか"
    "--seedsで短縮してください",
)


def _seconds_of_a_step(entrant: Entrant, course: Course) -> float | None:
    """The quickest of three steps; None where it cannot make one (the race will say why)."""
    how = course.preprocessing
    took = float("inf")
    with as_it_was():
        model = Scores(made(entrant.make, 0)).train()
        images = torch.zeros(course.a_batch, how.channels, *how.image_size)
        labels = torch.arange(course.a_batch) % course.classes
        for _ in range(3):
            begun = time.perf_counter()
            try:
                torch.nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            except Exception:
                return None
            took = min(took, time.perf_counter() - begun)
    return took


def _said(seconds: float) -> Text:
    if seconds < 90:
        rounded = max(1, round(seconds))
        return Text(f"{rounded} s", f"{rounded}秒")
    minutes = round(seconds / 60)
    return (
        Text(f"{minutes} min", f"{minutes}分")
        if minutes < 120
        else Text(f"{minutes / 60:.0f} h", f"{minutes / 60:.0f}時間")
    )
