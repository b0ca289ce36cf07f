"""What an examination of data leaves behind: nothing. The order and the augmentation that follow are those that would have been without one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from vitscope.doctor.data import examine_data

IMAGES = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(96) % 4


class Jittered(Dataset[tuple[Tensor, int]]):
    """Images made brighter by chances of its own, numpy's and Python's, as libraries of augmentations hold them."""

    def __init__(self) -> None:
        self.steps = [np.random.default_rng(3), random.Random(3), np.random.RandomState(3)]

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        new, python, old = self.steps
        return IMAGES[i] + float(new.random()) + python.random() + float(old.rand()), int(LABELS[i])  # type: ignore[union-attr,operator]


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def _with_generator() -> DataLoader[Any]:
    return DataLoader(TensorDataset(IMAGES, LABELS), 16, shuffle=True, generator=_seeded())


def _with_sampler() -> DataLoader[Any]:
    data = TensorDataset(IMAGES, LABELS)
    return DataLoader(data, 16, sampler=RandomSampler(data, generator=_seeded()))


def _with_batch_sampler() -> DataLoader[Any]:
    data = TensorDataset(IMAGES, LABELS)
    return DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data, generator=_seeded()), 16, drop_last=False))


def _with_its_own_chance() -> DataLoader[Any]:
    return DataLoader(Jittered(), 16)


class Plain:
    """No torch loader: batches in an order of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.from_numpy(self.rng.permutation(96))
        yield from ((IMAGES[part], LABELS[part]) for part in order.split(16))


@pytest.mark.parametrize("make", [_with_generator, _with_sampler, _with_batch_sampler, _with_its_own_chance, Plain])
def test_a_loader_draws_what_it_would_have_drawn(make: Callable[[], Any]) -> None:
    untouched, examined, as_validation = make(), make(), make()
    examine_data(examined, as_validation, classes=4)
    for (x, y), (x2, y2), (x3, y3) in zip(untouched, examined, as_validation, strict=True):
        assert torch.equal(y, y2)
        assert torch.equal(x, x2)
        assert torch.equal(y, y3)
        assert torch.equal(x, x3)


def test_workers_that_an_examination_began_are_ended() -> None:
    data = TensorDataset(IMAGES, LABELS)
    loader = DataLoader(
        data,
        16,
        shuffle=True,
        generator=_seeded(),
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    findings = examine_data(loader, classes=4, checks=["data-balance"]).findings
    assert not findings
    assert loader._iterator is None
