"""How long a race will take here, before it begins: one training step of each is timed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from vitscope._core.text import Text
from vitscope.doctor.examine import as_it_was
from vitscope.race.contest import Scores, made
from vitscope.race.course import Course
from vitscope.race.entrants import Entrant

EXAMINATION_STEPS = 40
"""What an examination takes, in training steps of the race: a rule of thumb."""


def budget_of(entrants: Sequence[Entrant], course: Course) -> Text:
    """A sentence with the time that all seeds of both will take at most; a mended copy takes as long again as one of them."""
    timed = [_seconds_of_a_step(entrant, course) for entrant in entrants]
    steps, seeds = course.steps, len(course.seeds)
    trainings = Text(
        f"The race: {course.length.en} of {course.a_batch} images, at most {seeds} seed{'s' if seeds > 1 else ''} for each",
        f"競争：各モデル{course.a_batch}枚×{course.length.ja}、シードは最大{seeds}個",
    )
    if None in timed:
        return Text(f"{trainings.en}.", f"{trainings.ja}。")
    seconds = sum(each or 0.0 for each in timed) * (steps * seeds + EXAMINATION_STEPS)
    each = max(each or 0.0 for each in timed) * steps * seeds
    return Text(
        f"{trainings.en}; about {_said(seconds).en} on this machine, and up to {_said(each).en} more for each fault that is mended "
        "(--duration and --seeds make it shorter).",
        f"{trainings.ja}。このマシンでは約{_said(seconds).ja}、修正して競わせる問題1件につきさらに最大{_said(each).ja}かかります"
        "（--durationと--seedsで短縮できます）。",
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
