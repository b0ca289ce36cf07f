"""Batches of a table. In goes an `ImageTable`, out come uint8 tensors [B, C, H, W] and labels [B], in an order that only the seed
and the epoch decide: a resume continues in the middle of an epoch, and ranks share one without talking to each other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from vitscope._core.errors import ConfigError
from vitscope.data.table import ImageTable

Batch = tuple[UInt8[Tensor, "B C H W"], Int64[Tensor, " B"]]

CHUNK = 1024
"""Images that are sent to a device at a time."""


class BatchLoader:
    """Iterates over a table in batches, this process's share of them.

    Training (`shuffle` or `drop_last`): every global batch of world_size · batch_size images is divided among the ranks, and all
    ranks get equally many batches; of the last, partial one each rank gets its even part, and where it holds fewer images than
    there are ranks it is left out. Evaluation (neither): each rank gets one contiguous stretch, every image exactly once.
    """

    def __init__(
        self, table: ImageTable, *, batch_size: int, shuffle: bool, seed: int = 0, drop_last: bool = False
    ) -> None:
        """A loader for one process, at epoch 0.

        Raises:
            ConfigError: `batch_size` is below 1, `seed` below 0, or there is no batch.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        if seed < 0:
            raise ConfigError(f"seed is {seed}, expected at least 0")
        self.table = table
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch, self.start = 0, 0
        self.rank, self.world_size = 0, 1
        self._store = table.images.transpose(0, 3, 1, 2)
        self._kept: Batch | None = None
        self._check()

    def shard(self, rank: int, world_size: int) -> BatchLoader:
        """A loader for one of several processes, at epoch 0.

        Raises:
            ConfigError: the rank does not exist, or a rank would get no batch.
        """
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank is {rank}, expected 0 to {world_size - 1}")
        other = BatchLoader(
            self.table, batch_size=self.batch_size, shuffle=self.shuffle, seed=self.seed, drop_last=self.drop_last
        )
        other.rank, other.world_size = rank, world_size
        other._check()
        return other

    @property
    def bytes(self) -> int:
        """What all its images take, as bytes."""
        return len(self.table) * int(np.prod(self._store.shape[1:]))

    def on_device(self, device: torch.device) -> BatchLoader:
        """The same loader with all its images on a device: batches are put together there, and an epoch's order is all that is sent."""
        other = copy.copy(self)
        images = torch.empty((len(self.table), *self._store.shape[1:]), dtype=torch.uint8, device=device)
        for first in range(0, len(self.table), CHUNK):
            part = np.arange(first, min(first + CHUNK, len(self.table)))
            images[first : first + CHUNK] = self._gather(part)[0]
        other._kept = images, torch.from_numpy(self.table.labels).to(device)
        return other

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Chooses the order of an epoch (from 0) and how many of its batches to skip; nothing is read for skipped ones."""
        if start < 0 or start > len(self):
            raise ConfigError(f"start is {start}, expected 0 to {len(self)}, the batches of an epoch")
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches an epoch for this process, skipped ones included."""
        count, world = len(self.table), self.world_size
        if not self._even:
            return -(-(count * (self.rank + 1) // world - count * self.rank // world) // self.batch_size)
        full, rest = divmod(count, self.batch_size * world)
        return full + (not self.drop_last and rest >= world)

    def __iter__(self) -> Iterator[Batch]:
        order = self._order()
        places = [slice(*self._bounds(number)) for number in range(self.start, len(self))]
        if self._kept is None:
            yield from (self._gather(order[place]) for place in places)
            return
        images, labels = self._kept
        sent = torch.from_numpy(order).to(labels.device)
        yield from ((images[sent[place]], labels[sent[place]]) for place in places)

    @property
    def _even(self) -> bool:
        """Whether all ranks must make equally many steps."""
        return self.shuffle or self.drop_last

    def _bounds(self, number: int) -> tuple[int, int]:
        """First and past-the-last place in the order of this rank's batch."""
        count, size, world, rank = len(self.table), self.batch_size, self.world_size, self.rank
        if not self._even:
            first, end = count * rank // world, count * (rank + 1) // world
            return first + number * size, min(first + (number + 1) * size, end)
        first = number * size * world
        whole = min(size * world, count - first)
        return first + whole * rank // world, first + whole * (rank + 1) // world

    def _order(self) -> Int64[np.ndarray, " N"]:
        """Rows of the table in this epoch's order: a pure function of the seed and the epoch."""
        if not self.shuffle:
            return np.arange(len(self.table))
        return np.random.Generator(np.random.Philox(key=[self.seed, self.epoch])).permutation(len(self.table))

    def _gather(self, rows: Int64[np.ndarray, " B"]) -> Batch:
        # numpy copies on this thread: torch's index_select takes a thread pool, which on a busy machine costs 1000 times as much
        places = rows if self.table.index is None else self.table.index[rows]
        images = np.ascontiguousarray(self._store[places])
        return torch.from_numpy(images), torch.from_numpy(self.table.labels[rows])

    def _check(self) -> None:
        if len(self) == 0:
            raise ConfigError(
                f"{self.table.name} has {len(self.table)} images, which gives no batch of {self.batch_size} on "
                f"{self.world_size} process(es); lower batch_size"
            )
