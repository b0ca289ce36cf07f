"""Which classes both sets have: one that validation lacks, one that it alone has, one name with two numbers. What chance does is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from vitscope.data import ImageTable
from vitscope.doctor.data import examine_data, examine_table
from vitscope.doctor.examination import Found

pytestmark = pytest.mark.e2e  # whole examinations

Set = TensorDataset


def labelled(labels: Tensor, seed: int = 0) -> Set:
    images = torch.rand(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(images, labels)


def drawn(count: int, seed: int, *, classes: int = 10, without: tuple[int, ...] = ()) -> Set:
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    return labelled(labels[~torch.isin(labels, torch.tensor(without, dtype=torch.long))], seed)


def balance(train: Any, validation: Any, **more: Any) -> Found:
    return examine_data(train, validation, checks=["data-balance"], **more)


def ids(found: Found) -> dict[str, str]:
    return {finding.id: finding.severity for finding in found.findings}


def test_a_class_that_validation_lacks_is_a_warning_that_names_it() -> None:
    found = balance(DataLoader(drawn(600, 0), 64, shuffle=True), DataLoader(drawn(300, 1, without=(3,)), 64))
    assert ids(found) == {"classes-without-validation-images": "warning"}
    assert "Of the 10 classes in training, 1 has no image among the" in found.findings[0].summary.en
    assert found.findings[0].evidence["without_validation_images"] == ["3"]


def test_of_a_table_it_is_told_by_its_name() -> None:
    names = ("cat", "dog", "fox", "owl")
    labels = np.arange(200) % 4
    pixels = np.random.default_rng(0).integers(0, 255, (200, 4, 4, 1)).astype(np.uint8)
    train = ImageTable(pixels, labels, names, "train")
    validation = ImageTable(pixels, labels, names, "test").subset(np.flatnonzero(labels % 4 != 2))
    found = examine_table(train, validation, checks=["data-balance"])
    assert ids(found) == {"classes-without-validation-images": "warning"}
    assert "images: 2 (fox)." in found.findings[0].summary.en
    assert "があります：2 (fox)。" in found.findings[0].summary.ja


@pytest.mark.parametrize("seed", range(5))
def test_what_chance_leaves_out_of_few_images_is_honest(seed: int) -> None:
    few = drawn(30, seed, without=(seed,))
    assert not ids(balance(drawn(600, 0), few))
    rare = torch.cat([drawn(500, seed).tensors[1], torch.full((6,), 10)])
    assert "classes-without-validation-images" not in ids(balance(labelled(rare), drawn(200, seed + 20)))


def test_a_class_that_a_sampler_draws_oftener_may_be_rare_in_validation() -> None:
    counts = torch.tensor([600, 300, 20, 10, 5])
    labels = torch.repeat_interleave(torch.arange(5), counts)
    sampler = WeightedRandomSampler((1 / counts)[labels].tolist(), len(labels))
    validation = torch.repeat_interleave(torch.arange(5), torch.tensor([60, 30, 2, 1, 0]))
    assert not ids(balance(DataLoader(labelled(labels), 64, sampler=sampler), labelled(validation)))


def test_validation_that_has_few_of_the_classes_is_chosen_so() -> None:
    chosen = drawn(300, 1, without=tuple(range(2, 10)))
    assert ids(balance(drawn(600, 0), chosen)) == {"classes-without-validation-images": "note"}


def test_validation_read_in_part_tells_nothing_of_what_it_lacks() -> None:
    class Long(Dataset[tuple[Tensor, int]]):
        """Sorted by class, and longer than it is read."""

        def __len__(self) -> int:
            return 12_000

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((1, 2, 2), float(index)), index // 1_200

    assert not ids(balance(drawn(600, 0), DataLoader(Long(), 500)))


def test_a_class_that_only_validation_has_is_a_warning_though_nobody_told_the_classes() -> None:
    found = balance(drawn(600, 0, without=(9,)), drawn(200, 1))
    assert ids(found) == {"scores-without-images": "warning"}
    assert found.findings[0].evidence["in_validation_only"] == [9]
    assert not ids(balance(drawn(600, 0), drawn(200, 1)))


class Folder(Dataset[tuple[Tensor, int]]):
    """What `ImageFolder` tells of itself."""

    def __init__(self, names: str, each: int = 30, *, target_transform: Any = None) -> None:
        self.classes = sorted(names)
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self.targets = [number for number in range(len(names)) for _ in range(each)]
        self.target_transform = target_transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = self.targets[index]
        return torch.full((1, 2, 2), float(index)), self.target_transform(label) if self.target_transform else label


class Mapped(Dataset[tuple[Tensor, int]]):
    """Labels of a folder by the numbers of another."""

    def __init__(self, dataset: Folder, numbers: dict[str, int]) -> None:
        self.dataset, self.numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.dataset[index]
        return image, self.numbers[self.dataset.classes[label]]


@pytest.mark.parametrize("names", ["abdef", "abcdefg", "bcdef"])
def test_one_name_with_two_numbers_is_an_error_that_explains_what_is_missing(names: str) -> None:
    train = DataLoader(Folder("abcdef"), 30, shuffle=True)
    found = examine_data(train, DataLoader(Folder(names), 30), checks=["data-labels", "data-balance"])
    if names == "abcdefg":  # one more at the end moves none
        assert "classes-numbered-otherwise" not in ids(found)
        return
    assert ids(found)["classes-numbered-otherwise"] == "error"
    assert "f 5→4" in found.findings[0].summary.en
    causes = {each.id: each.folded_under for each in found.examination.findings}
    assert causes["classes-without-validation-images"] == "classes-numbered-otherwise"


def test_classes_that_are_numbered_anew_are_honest() -> None:
    train, other = Folder("abcdef"), Folder("abdef")
    moved = [train.class_to_idx[name] for name in other.classes]
    for validation in (
        Mapped(other, train.class_to_idx),
        Folder("abdef", target_transform=moved.__getitem__),
        Subset(Folder("abcdef"), range(90)),
        Folder("abcdef"),
    ):
        found = examine_data(train, validation, checks=["data-labels"])
        assert "classes-numbered-otherwise" not in ids(found)
