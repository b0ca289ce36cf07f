"""Where a data set says its images come from: trusted where that tells them apart, else left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from vitscope._core.errors import DataError
from vitscope.doctor.data import examine_data
from vitscope.doctor.data.origin import names_of


class Listed(Dataset[tuple[Tensor, int]]):
    """Images of four classes that change each time, and a list of what they are."""

    def __init__(self, seed: int, name: Callable[[Tensor, int], tuple[Any, ...]]) -> None:
        self.labels = torch.arange(240) % 4
        self.images = torch.randn(240, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        self.samples = [name(image, i) for i, image in enumerate(self.images)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.images[i] + 0.01 * torch.rand(()), int(self.labels[i])


@pytest.mark.parametrize(
    "name",
    [
        lambda image, i: (i % 4, f"/data/{float(image.sum())}/{i}.png"),
        lambda image, i: (f"/data/video{i % 50}.mp4", float(image.sum()), i % 4),
        lambda image, i: (torch.zeros(3, 64, 64), i % 4),
        lambda image, i: (f"{i}.png", i % 4),
        lambda image, i: (),
    ],
    ids=["label and path", "video and frame", "tensor and label", "names in a folder", "nothing"],
)
def test_what_does_not_tell_images_apart_is_no_leak(name: Callable[[Tensor, int], tuple[Any, ...]]) -> None:
    train, val = Listed(0, name), Listed(1, name)
    found = examine_data(DataLoader(train, 32, shuffle=True), DataLoader(val, 32), classes=4, checks=["data-leak"])
    assert not found.findings
    held_out = torch.utils.data.Subset(train, range(200, 240))
    found = examine_data(DataLoader(train, 32, shuffle=True), DataLoader(held_out, 32), checks=["data-leak"])
    told = {"shared": 40, "validation_images": 40, "training_images": 240, "share": 1.0}
    assert found.findings[0].evidence == {**told, "equal_images": ["200", "201", "202"]}


def test_files_are_images_wherever_they_are_listed(tmp_path: Path) -> None:
    one, other = (Listed(seed, lambda _, i: (tmp_path / f"{i}.png", i % 4)) for seed in (0, 1))
    found = examine_data(DataLoader(one, 32, shuffle=True), DataLoader(other, 32), checks=["data-leak"])
    assert [finding.severity for finding in found.findings] == ["error"]
    assert names_of(one) == frozenset(str(tmp_path / f"{i}.png") for i in range(240))


def parts_of(*sets: Dataset[Any], shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(ConcatDataset(sets), 32, shuffle=shuffle)


@pytest.mark.parametrize("is_outside", [False, True])
def test_data_sets_in_a_row_are_looked_through(is_outside: bool) -> None:
    """Subsets of them in a row, or a subset of the row."""
    one, other = Listed(0, lambda image, i: ()), Listed(1, lambda image, i: ())
    train = parts_of(Subset(one, range(200)), Subset(other, range(100)), shuffle=True)
    val = parts_of(Subset(one, range(190, 240)), Subset(other, range(100, 150)))
    if is_outside:
        row = ConcatDataset([one, other])
        train = DataLoader(Subset(row, [*range(200), *range(240, 340)]), 32, shuffle=True)
        val = DataLoader(Subset(row, [*range(190, 240), *range(340, 390)]), 32)
    (finding,) = examine_data(train, val, classes=4, checks=["data-leak"]).findings
    numbers = {"shared": 10, "validation_images": 100, "training_images": 300, "share": 0.1}
    assert {name: finding.evidence[name] for name in numbers} == numbers
    assert not examine_data(train, parts_of(Subset(one, range(200, 240))), checks=["data-leak"]).findings


class Twice(Dataset[tuple[Tensor, int]]):
    """Made once for each transform, of the same stored images."""

    def __init__(self) -> None:
        self.stored = torch.randn(240, 1, 8, 8, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return 240

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.stored[i] + 0.1 * torch.rand(()), i % 4


def test_two_objects_of_the_same_images_are_known_within_a_row() -> None:
    other = Listed(1, lambda image, i: ())
    train = parts_of(Subset(Twice(), range(200)), other, shuffle=True)
    (finding,) = examine_data(train, parts_of(Subset(Twice(), range(180, 220))), checks=["data-leak"]).findings
    assert (finding.evidence["shared"], finding.evidence["validation_images"]) == (20, 40)
    assert not examine_data(train, parts_of(Subset(Twice(), range(200, 240))), checks=["data-leak"]).findings


def test_names_of_classes_are_refused_with_what_to_do() -> None:
    images = [(torch.randn(1, 8, 8), name) for name in ("cat", "dog") * 8]
    with pytest.raises(DataError, match="labels are str, expected numbers from 0: one a class; number the names"):
        examine_data(DataLoader(images, 4))  # type: ignore[arg-type]
