"""Differences of accuracies in words: a `Gap` in, the points with their interval out; and why a race ended before its last seed."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.race.comparison import Comparison
from vitscope.race.gaps import CLEAR_AFTER, Gap, is_beyond_doubt

STOPPED = Text(
    f"Stopped before the last seed: {CLEAR_AFTER} seeds or more are run, each alone is 10 points or more apart, "
    "and the 99 % interval leaves out zero.",
    f"シードを{CLEAR_AFTER}個以上試し、どのシードでも10ポイント以上の差があり、99 %区間が0を含まないため、最後のシードの前に打ち切りました。",
)


_STOPPED_LATER = Text(
    "Stopped before the last seed: after {after} seeds the difference of the two was beyond doubt, and those after them were run for the "
    "mended copies.",
    "最後のシードの前に打ち切りました。シード{after}個の時点で両者の差は十分に明確で、それ以降のシードは修正したコピーのために実行しました。",
)


def stopped(found: Comparison) -> Text | None:
    """Why not all seeds were run; None where they were."""
    race = found.race
    if race is None or not race.stopped_early:
        return None
    one, other = race.of(found.one.target), race.of(found.other.target)
    if is_beyond_doubt(one, other):
        return STOPPED
    after = next((count for count in range(len(one)) if is_beyond_doubt(one[:count], other[:count])), CLEAR_AFTER)
    return _STOPPED_LATER.format(after=after)


def signed(points: float) -> str:
    """A difference with its sign; a minus is a minus, and nothing is neither more nor less."""
    rounded = round(points, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def ends(gap: Gap) -> Text:
    """The interval of a difference; that of one seed there is none."""
    low, high = signed(gap.low), signed(gap.high)
    if gap.seeds == 1:
        return Text("one seed, so no interval", "シード1個のため区間なし")
    return Text(f"95 % interval {low} to {high}", f"95 %区間{low}〜{high}")


def interval(gap: Gap) -> Text:
    """A difference with its interval."""
    said, between = signed(gap.points), ends(gap)
    return Text(f"{said} points ({between.en})", f"{said}ポイント（{between.ja}）")
