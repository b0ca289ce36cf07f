"""Batches of one epoch from any loader: the same order for the same seed and epoch, and from the middle where a resume asks for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch.utils.data import DistributedSampler

from vitscope._core.errors import DataError
from vitscope._core.text import Text
from vitscope.train.evaluate import Batch, pair_of
from vitscope.train.machine import Machine
from vitscope.train.randomness import seed_of

MOST = 0.25
"""Of the free memory of a GPU, the share that images may take."""


class EveryNth:
    """Every `world`-th batch of a loader that is the same in all processes: a share for each, whatever the loader.

    With `even` every process gets equally many, as steps in common need it, and up to `world - 1` batches are left out.
    """

    def __init__(self, batches: Iterable[Batch], rank: int, world: int, *, even: bool) -> None:
        self.batches, self.rank, self.world, self.even = batches, rank, world, even

    def __len__(self) -> int:
        whole = len(self.batches)  # type: ignore[arg-type]
        return whole // self.world if self.even else (whole - self.rank + self.world - 1) // self.world

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.batches, self.rank, self.rank + len(self) * self.world, self.world)

    def set_epoch(self, epoch: int) -> None:
        """Tells the loader behind, where it wants to know."""
        tell = _set_epoch_of(self.batches)
        if tell is not None:
            tell(epoch)


def part_of_this_process(batches: Iterable[Batch], machine: Machine, *, even: bool) -> Iterable[Batch]:
    """This process's share: what the loader gives (`shard(rank, world_size)`), all of it where its sampler divides already, else every
    `world_size`-th batch, so that a step takes as many images as all processes' batches hold together."""
    if not hasattr(batches, "__len__"):
        raise DataError("the batches have no length; give a DataLoader or a list, so that an epoch has an end")
    if machine.processes == 1 or isinstance(getattr(batches, "sampler", None), DistributedSampler):
        return batches
    if hasattr(batches, "shard"):
        share: Iterable[Batch] = batches.shard(machine.rank, machine.processes)
        return share
    return EveryNth(batches, machine.rank, machine.processes, even=even)


def kept_on_device(batches: Iterable[Batch], machine: Machine) -> tuple[Iterable[Batch], Text | None]:
    """The batches with all their images on a GPU, and that in words, where the loader can (`on_device`) and `MOST` of the memory that is
    free there holds them."""
    if machine.device.type != "cuda" or not hasattr(batches, "on_device"):
        return batches, None
    needed, free = int(batches.bytes), torch.cuda.mem_get_info(machine.device)[0]  # type: ignore[attr-defined]
    if needed > MOST * free:
        return batches, None
    size = f"{needed / 2**20:,.0f} MiB"
    said = Text(f"training images kept on {machine.device} ({size})", f"学習画像を{machine.device}に置く（{size}）")
    return batches.on_device(machine.device), said


def _set_epoch_of(batches: Iterable[Batch]) -> Callable[..., None] | None:
    return getattr(batches, "set_epoch", None) or getattr(getattr(batches, "sampler", None), "set_epoch", None)


def batches_of_epoch(batches: Iterable[Batch], epoch: int, start: int, stop: int, seed: int) -> Iterator[Batch]:
    """Batches `start` to `stop` of an epoch.

    A loader with `set_epoch(epoch, start)` jumps there; one with `set_epoch(epoch)` or its own shuffling (a torch `DataLoader` draws its
    order from torch's global generator, which is seeded here) is walked from the beginning. What a data set draws from that generator
    for a batch depends on the batch's number alone, not on what the model drew before.
    """
    order = seed_of(seed, "order", epoch)
    torch.manual_seed(order)
    set_epoch = _set_epoch_of(batches)
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
            yield pair_of(batch)
