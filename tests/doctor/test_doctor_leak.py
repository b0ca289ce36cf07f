"""Validation images that are training images, however the two loaders were made; honest splits of one set are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from watch_parts import evaluate, images_of, parts, train

import vitscope
from vitscope.doctor.data import examine_data

FIRST, LAST, MOST = range(120), range(120, 160), range(40, 160)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Another image each time it is asked: augmented."""

    def __init__(self, seed: int = 0) -> None:
        self.images, self.labels = images_of(seed=seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index] + 0.1 * torch.randn(3, 16, 16), self.labels[index]


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Files in a folder, that are read when they are asked for."""

    def __init__(self, root: str, transform: Callable[[Tensor], Tensor]) -> None:
        self.root, self.transform = root, transform
        self.names, self.labels = [f"{number}.png" for number in range(160)], images_of()[1]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(images_of()[0][index]), self.labels[index]


def noised(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def loaders(train_set: Any, val_set: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(train_set, 16, shuffle=True), DataLoader(val_set, 16)


def sampled(data: Any, one: Any, other: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data, 16, sampler=one), DataLoader(data, 16, sampler=other)


def of_one(data: Any, one: Any, other: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return loaders(Subset(data, one), Subset(data, other))


def weights(places: range) -> WeightedRandomSampler:
    return WeightedRandomSampler([float(place in places) for place in range(160)], 120)


SICK: dict[str, Callable[[], tuple[DataLoader[Any], DataLoader[Any]]]] = {
    "subset-of-the-training-set": lambda: (lambda d: loaders(d, Subset(d, LAST)))(Noisy()),
    "subsets-that-overlap": lambda: of_one(Noisy(), MOST, range(60)),
    "two-objects-of-one-array": lambda: loaders(Subset(Noisy(), FIRST), Subset(Noisy(), range(100, 160))),
    "two-objects-of-one-folder": lambda: loaders(
        Subset(Files("/data", noised), FIRST), Subset(Files("/data", torch.neg), range(80, 160))
    ),
    "samplers-that-overlap": lambda: sampled(Noisy(), SubsetRandomSampler(MOST), SubsetRandomSampler(range(60))),
    "a-sampler-and-all": lambda: (
        lambda d: (DataLoader(d, 16, shuffle=True), DataLoader(d, 16, sampler=SubsetRandomSampler(LAST)))
    )(Noisy()),
    "copied-pixels": lambda: loaders(
        TensorDataset(*images_of()), TensorDataset(*(x[60:].clone() for x in images_of()))
    ),
}
HONEST: dict[str, Callable[[], tuple[DataLoader[Any], DataLoader[Any]]]] = {
    "subsets": lambda: of_one(Noisy(), FIRST, LAST),
    "two-objects-split-once": lambda: loaders(Subset(Noisy(), FIRST), Subset(Noisy(), LAST)),
    "two-folders-with-the-same-names": lambda: loaders(Files("/train", noised), Files("/val", noised)),
    "two-arrays-of-one-length": lambda: loaders(Noisy(), Noisy(1)),
    "samplers": lambda: sampled(Noisy(), SubsetRandomSampler(FIRST), SubsetRandomSampler(LAST)),
    "weighted-samplers": lambda: sampled(Noisy(), weights(FIRST), weights(LAST)),
    "other-pixels": lambda: loaders(TensorDataset(*images_of()), TensorDataset(*images_of(seed=1))),
    "two-parts-of-one": lambda: (lambda d: loaders(ConcatDataset([Subset(d, FIRST)]), Subset(d, LAST)))(Noisy()),
    "one-image-for-all": lambda: loaders(
        TensorDataset(torch.zeros(160, 3, 16, 16), images_of()[1]),
        TensorDataset(torch.zeros(40, 3, 16, 16), images_of(40)[1]),
    ),
}


def leaks(pair: tuple[DataLoader[Any], DataLoader[Any]]) -> list[dict[str, Any]]:
    p = parts(loader=pair[0], val=pair[1])
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as watched:
        train(p, 1)
        evaluate(p)
    return [dict(f.evidence) for f in watched.findings if f.id == "validation-loader-draws-training-images"]


@pytest.mark.parametrize("name", SICK)
def test_validation_images_that_are_trained_on_are_found(name: str) -> None:
    (evidence,) = leaks(SICK[name]())
    assert evidence["shared"] >= 20
    assert 0.3 < evidence["share"] <= 1


@pytest.mark.parametrize("name", HONEST)
def test_honest_splits_are_left_alone(name: str) -> None:
    assert not leaks(HONEST[name]())


@pytest.mark.parametrize("name", [name for name in SICK if name != "copied-pixels"])
def test_the_check_of_data_finds_them_too(name: str) -> None:
    (finding,) = examine_data(*SICK[name](), checks=["data-leak"]).findings
    assert (finding.id, finding.severity) == ("validation-images-in-training", "error")


@pytest.mark.parametrize(
    "name", [name for name in HONEST if name not in ("one-image-for-all", "two-folders-with-the-same-names")]
)
def test_the_check_of_data_leaves_honest_splits_alone(name: str) -> None:
    assert not examine_data(*HONEST[name](), checks=["data-leak"]).findings


def test_files_are_told_by_their_folder(tmp_path: Path) -> None:
    one, other = Files(str(tmp_path), noised), Files(str(tmp_path), torch.neg)
    assert leaks(loaders(one, Subset(other, LAST)))[0]["shared"] == 40
    other.names = other.names[::-1]
    assert not leaks(loaders(one, Subset(other, LAST)))
