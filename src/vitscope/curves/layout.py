"""Where things go in the picture, without a plotting library: short names, label positions, axis limits.

In go names, heights and values; out come names that fit, heights that do not overlap and limits that one wild value cannot
stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from unicodedata import east_asian_width

NAME_LENGTH = 20
ELLIPSIS = "…"


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """The name, its middle left out where it is longer than `length`: run names differ at the end, recipes at the start.

    Japanese letters count twice, as they are twice as wide.
    """
    name = " ".join(name.split()) or "?"
    if _width(name) <= length:
        return name
    head, tail = name, ""
    while _width(tail) < (length - 1) // 2:
        head, tail = head[:-1], head[-1] + tail
    while _width(head) + 1 + _width(tail) > length:
        head = head[:-1]
    return head + ELLIPSIS + tail


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def short_names(names: Sequence[str], length: int = NAME_LENGTH) -> list[str]:
    """Short names of several runs, numbered where two would read the same."""
    return [
        f"{shorten(name, length - len(number))}{number}"
        for name, number in zip(names, _numbers(names, length), strict=True)
    ]


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names in full, with the numbers that `short_names` gives them."""
    return [name + number for name, number in zip(names, _numbers(names, NAME_LENGTH), strict=True)]


def _numbers(names: Sequence[str], length: int) -> list[str]:
    short = [shorten(name, length) for name in names]
    return [f" ({short[: i + 1].count(name)})" if short.count(name) > 1 else "" for i, name in enumerate(short)]


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights as near as possible to those given, in the same order, at least `gap` apart and between `low` and `high`.

    Where there is not enough room, the gap shrinks evenly.
    """
    if not heights:
        return []
    count = len(heights)
    gap = min(gap, (high - low) / max(1, count - 1))
    order = sorted(range(count), key=lambda i: heights[i])
    # blocks of touching labels, each centred on the mean of its wishes (pool adjacent violators)
    blocks: list[list[float]] = []  # [sum of wishes less offset, count]
    for place, i in enumerate(order):
        blocks.append([heights[i] - place * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            wish, size = blocks.pop()
            blocks[-1][0] += wish
            blocks[-1][1] += size
    bases = [wish / size for wish, size in blocks for _ in range(int(size))]
    top = high - (count - 1) * gap
    placed = [0.0] * count
    for place, i in enumerate(order):
        placed[i] = min(max(bases[place], low), top) + place * gap
    return placed


def limits(values: Sequence[float], *, floor: float = -math.inf, ceiling: float = math.inf) -> tuple[float, float]:
    """Axis limits around the finite values, with a margin of 6 %; values beyond `floor` and `ceiling` do not stretch them."""
    finite = [min(max(value, floor), ceiling) for value in values if math.isfinite(value)]
    if not finite:
        return (0.0, 1.0)
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or max(0.05 * abs(high), 0.05)
    return (max(low - margin, floor), min(high + margin, ceiling))


def loss_ceiling(curves: Sequence[Sequence[float]]) -> float:
    """The loss above which lines leave the picture, so that one divergence does not flatten all others.

    It is 1.3 times the loss at which the curves begin, and infinite where none exceeds twice that loss.
    """
    finite = [[value for value in curve if math.isfinite(value)] for curve in curves]
    begins = [curve[0] for curve in finite if curve]
    if not begins or max(max(curve) for curve in finite if curve) <= 2 * median(begins):
        return math.inf
    return 1.3 * median(begins)


def epoch_ticks(span: int) -> list[int]:
    """Round epochs for the axis from 1 to `span`, the first one among them; each epoch where there are few."""
    if span <= 10:
        return list(range(1, span + 1))
    step = next(s * 10**power for power in range(12) for s in (2, 5, 10) if s * 10**power >= span / 6)
    return [1, *range(step, span + 1, step)]


def end_of(epochs: Sequence[int], values: Sequence[float]) -> tuple[int, float] | None:
    """The last epoch with a finite value, and the value."""
    for epoch, value in zip(reversed(epochs), reversed(values), strict=True):
        if math.isfinite(value):
            return epoch, value
    return None
