"""Batches of one epoch from any loader: the same order for the same seed and epoch, and from the middle where a resume asks for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

import torch

from vitscope._core.errors import DataError
from vitscope.train.evaluate import Batch
from vitscope.train.machine import Machine
from vitscope.train.randomness import seed_of


def part_of_this_process(batches: Iterable[Batch], machine: Machine) -> Iterable[Batch]:
    """This process's share, where the loader can give one (`shard(rank, world_size)`); else the loader as it is."""
    if not hasattr(batches, "__len__"):
        raise DataError("the batches have no length; give a DataLoader or a list, so that an epoch has an end")
    if machine.processes > 1 and hasattr(batches, "shard"):
        share: Iterable[Batch] = batches.shard(machine.rank, machine.processes)
        return share
    return batches


def batches_of_epoch(batches: Iterable[Batch], epoch: int, start: int, stop: int, seed: int) -> Iterator[Batch]:
    """Batches `start` to `stop` of an epoch.

    A loader with `set_epoch(epoch, start)` jumps there; one with `set_epoch(epoch)` or its own shuffling (a torch `DataLoader` draws its
    order from torch's global generator, which is seeded here) is walked from the beginning. What a data set draws from that generator
    for a batch depends on the batch's number alone, not on what the model drew before.
    """
    order = seed_of(seed, "order", epoch)
    torch.manual_seed(order)
    set_epoch = getattr(batches, "set_epoch", None) or getattr(getattr(batches, "sampler", None), "set_epoch", None)
    jumps = set_epoch is not None and "start" in inspect.signature(set_epoch).parameters
    if set_epoch is not None:
        set_epoch(epoch, start) if jumps else set_epoch(epoch)
    iterator = iter(batches)
    for number in range(start if jumps else 0, stop):
        if number:
            torch.manual_seed(seed_of(order, "load", number))
        batch = next(iterator, None)
        if batch is None:
            return
        if number >= start:
            yield batch
