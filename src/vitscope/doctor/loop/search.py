"""A learning rate that rises all the way, as a search for the rate raises it, or a warm-up that goes too far: at which rate the loss broke. In goes
the record of a loop, out comes a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, pstdev

from vitscope._core.text import Text
from vitscope.doctor.loop.record import Record

RISE, SEARCH = 10.0, 1e4
"""How many times its start a rate reaches that rises all the way, and one that does so by the same factor at each step: no warm-up does."""
WIDTH, EVEN = 3, 0.02
"""Steps in a row over which the loss is averaged; how much the steps of a search may differ, beside their mean."""


def broke_at(record: Record, losses: Sequence[float]) -> Text | None:
    """Where the loss was lowest, and from which rate on it was above its start; None where the rate does not rise all the way."""
    rates = record.rates
    if len(rates) != len(losses) or not _rises(rates) or rates[-1] < RISE * rates[0]:
        return None
    means = [mean(losses[number : number + WIDTH]) for number in range(len(losses) - WIDTH + 1)]
    low = means.index(min(means))
    start = max(means[0], means[low])
    broken = next((number for number in range(low, len(losses)) if losses[number] > 1.1 * start), None)
    if broken is None:
        return None
    at, best, first = f"{rates[broken]:.2g}", f"{rates[min(low + WIDTH // 2, broken)]:.2g}", f"{rates[0]:.2g}"
    return Text(
        f" The rate rises all the way from {first}: the loss is lowest near {best}, and from {at} on it is above its start.",
        f"学習率は{first}から上がり続けており、損失は{best}付近で最小になり、{at}から開始時を上回っています。",
    )


def is_search(record: Record) -> bool:
    """Whether the rate rises by the same factor at each step, as where it is looked for."""
    rates = record.rates
    if not rates or not _rises(rates) or rates[-1] < SEARCH * rates[0]:
        return False
    steps = [math.log(b / a) for a, b in pairwise(rates)]
    return pstdev(steps) < EVEN * mean(steps)


def _rises(rates: Sequence[float]) -> bool:
    return len(rates) > WIDTH and rates[0] > 0 and all(a <= b for a, b in pairwise(rates))
