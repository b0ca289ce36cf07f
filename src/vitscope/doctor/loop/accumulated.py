"""Losses of steps that several backwards go into. In goes the record of a loop, out come the loss at each step and how many batches were added up."""

from __future__ import annotations

from statistics import median, mode

import torch
from torch import Tensor

from vitscope.doctor.loop.record import Record


def undivided(record: Record) -> int:
    """How many batches go into one step whose losses were added up as they are; 1 where each was divided by that, or where a step goes by one."""
    sizes, period = [fit.size for fit in record.fits if fit.is_cross_entropy], record.period
    if period < 2 or not record.steps or (sizes and median(sizes) * period < 1.5):
        return 1
    is_one_each = mode(step.batches for step in record.steps) == period
    return period if is_one_each or (sizes and record.loader is None) else 1


def is_added_up(record: Record) -> bool:
    """Whether the whole losses of several batches make a step, and its size goes by their sum: Adam's does not."""
    sizes = [fit.size for fit in record.fits if fit.is_cross_entropy]
    is_whole = len(sizes) >= max(1, 0.5 * len(record.fits)) and 0.8 < median(sizes) < 1.25
    return is_whole and undivided(record) > 1 and isinstance(record.optimizer, torch.optim.SGD)


def losses_of_steps(record: Record) -> list[float]:
    """That of one batch at each step: the sum over its backwards (parts of a loss, or of an accumulated batch), or their mean, where each is the
    whole loss of a batch. Without those whose gradients were thrown away."""
    parts: dict[int, list[Tensor | None]] = {}
    for each in record.backwards:
        if each.step < len(record.steps) and not each.thrown:
            parts.setdefault(each.step, []).append(each.loss)
    is_mean = undivided(record) > 1
    return [
        sum(float(x) for x in of if x is not None) / (len(of) if is_mean else 1)
        for of in parts.values()
        if all(x is not None for x in of)
    ]
