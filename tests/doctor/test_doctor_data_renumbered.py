"""Validation classes that are numbered otherwise than those of training are told with their numbers; harder validation images accuse nobody."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitscope.data import DataSpec, ImageTable, open_data
from vitscope.doctor.data import examine_data, examine_table
from vitscope.doctor.data.across import read_across
from vitscope.doctor.data.assignment import assigned
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole examinations

Pair = tuple[Tensor, Tensor]


def _patterns(count: int, seed: int, *, classes: int = 4, of: int = 99, noise: float = 1.0) -> Pair:
    """Noise, and on it a pattern of its own for each class."""
    chance, own = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(of)
    labels = torch.randint(classes, (count,), generator=chance)
    patterns = torch.randn(classes, 3, 4, 4, generator=own).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return patterns[labels] + noise * torch.randn(count, 3, 16, 16, generator=chance), labels


@pytest.fixture(scope="module")
def digits() -> tuple[ImageTable, ImageTable]:
    splits = open_data(DataSpec.parse({"source": "digits"}), image_size=(8, 8))
    return splits.train, splits.val


def _pair(table: ImageTable) -> Pair:
    images = torch.from_numpy(np.ascontiguousarray(table.rows(np.arange(len(table)))))
    return images.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(table.labels.copy())


def _of(findings: list[Finding]) -> Finding | None:
    return next((each for each in findings if each.id == "classes-numbered-otherwise"), None)


def _found(train: Pair, validation: Pair) -> Finding | None:
    return _of(examine_data(train, validation, checks=["data-labels"]).findings)


def _pairs(finding: Finding) -> dict[int, int]:
    return dict(finding.evidence["renumbered_classes"])


@pytest.mark.parametrize("count", [120, 400])
def test_classes_that_are_all_numbered_otherwise_are_an_error(count: int) -> None:
    images, labels = _patterns(count, 5)
    found = _found(_patterns(480, 0), (images, (labels + 1) % 4))
    assert found is not None
    assert found.severity == "error"
    assert _pairs(found) == {0: 3, 1: 0, 2: 1, 3: 2}
    assert "(validation → training: 0→3, 1→0, 2→1, 3→2)" in found.summary.en
    assert "（検証→学習：0→3、1→0、2→1、3→2）" in found.summary.ja
    assert found.evidence["accuracy_as_numbered"] < 0.1 < 0.9 < found.evidence["accuracy_renumbered"]


def test_two_classes_of_four_that_are_swapped_are_a_warning() -> None:
    images, labels = _patterns(400, 5)
    found = _found(_patterns(480, 0), (images, torch.tensor([0, 2, 1, 3])[labels]))
    assert found is not None
    assert found.severity == "warning"
    assert _pairs(found) == {1: 2, 2: 1}


def test_a_folder_that_validation_lacks_moves_those_that_follow(digits: Any) -> None:
    train, validation = map(_pair, digits)
    images, labels = (each[validation[1] != 3] for each in validation)
    found = _found(train, (images, labels - (labels > 3).long()))
    assert found is not None
    assert _pairs(found) == {number: number + 1 for number in range(3, 9)}
    assert _found(train, (images, labels)) is None


def test_tables_and_many_classes_are_told_too(digits: tuple[ImageTable, ImageTable]) -> None:
    train, validation = digits
    order = np.array([3, 0, 1, 2, 5, 4, 7, 8, 9, 6])
    wrong = ImageTable(
        validation.rows(np.arange(len(validation))), order[validation.labels], validation.label_names, "digits"
    )
    found = _of(examine_table(train, wrong, checks=["data-labels"]).findings)
    assert found is not None
    assert _pairs(found) == {int(order[number]): number for number in range(10)}
    assert _of(examine_table(train, validation, checks=["data-labels"]).findings) is None


def test_one_damaged_image_and_unlabelled_ones_change_nothing() -> None:
    train, (images, labels) = _patterns(480, 0), _patterns(400, 5)
    images[3, 0, 0, 0], train[0][5, 0, 0, 0] = float("nan"), float("inf")
    labels = torch.where(torch.arange(400) % 5 == 0, -100, (labels + 1) % 4)
    found = _found(train, (images, labels))
    assert found is not None
    assert _pairs(found) == {0: 3, 1: 0, 2: 1, 3: 2}


def _honest() -> dict[str, tuple[Pair, Pair]]:
    train = _patterns(480, 0)
    images, labels = _patterns(400, 5)
    chance = torch.Generator().manual_seed(1)
    noisy = torch.where(torch.rand(400, generator=chance) < 0.45, (labels + 1) % 4, labels)
    return {
        "alike": (train, (images, labels)),
        "few": (train, _patterns(40, 5)),
        "another domain": (train, _patterns(400, 5, of=7)),
        "a domain between": (train, ((images + 2 * _patterns(400, 5, of=7)[0]) / 3, labels)),
        "negatives": (train, (-images, labels)),
        "turned": (train, (images.rot90(1, (2, 3)), labels)),
        "other contrast": (train, (0.1 * images - 3, labels)),
        "noisy labels": (train, (images, noisy)),
        "noisy training": ((images, noisy), train),
        "shuffled": (train, (images, labels[torch.randperm(400, generator=chance)])),
        "new classes": (train, (_patterns(400, 5, classes=8)[0], 4 + _patterns(400, 5)[1])),
        "many classes": (_patterns(1000, 0, classes=50), _patterns(500, 1, classes=50, of=3)),
        "a class beside": (train, _patterns(400, 5, classes=5)),
    }


@pytest.mark.parametrize("name", list(_honest()))
def test_harder_validation_images_are_not_accused(name: str) -> None:
    assert _found(*_honest()[name]) is None


@pytest.mark.parametrize("seed", range(6))
def test_clear_classes_of_another_domain_are_not_accused(seed: int) -> None:
    """All images of a class fall to one training class there, which may be any: each to one of its own, by chance."""
    for classes in (3, 4, 6):
        train, other = (
            _patterns(240, seed, classes=classes, of=seed, noise=0.1),
            _patterns(120, 50, classes=classes, of=seed + 50, noise=0.1),
        )
        shuffled = train[1][torch.randperm(240, generator=torch.Generator().manual_seed(seed))]
        same = _patterns(120, 51, classes=classes, of=seed, noise=0.1)
        assert read_across(train, other) is None
        assert read_across((train[0], shuffled), same) is None
        assert read_across(train, (same[0], (same[1] + 1) % classes)) is not None


def test_digits_turned_upside_down_are_not_accused(digits: Any) -> None:
    train, (images, labels) = map(_pair, digits)
    for changed in (images.rot90(2, (2, 3)), images.flip(3), 1 - images, images.roll(2, 3)):
        assert _found(train, (changed, labels)) is None


def test_a_colour_that_misleads_on_purpose_is_not_accused(digits: Any) -> None:
    """Coloured by the class in training and against it in validation: what has learned shapes is right."""

    def coloured(pair: Pair, *, turned: bool) -> Pair:
        labels = pair[1] % 2
        red = (labels == int(turned)).float()
        return pair[0][:, :1] * torch.stack([red, 1 - red, 0 * red], 1)[..., None, None], labels

    train, validation = map(_pair, digits)
    assert _found(coloured(train, turned=False), coloured(validation, turned=True)) is None


def test_the_best_assignment_is_found() -> None:
    chance = np.random.Generator(np.random.Philox(key=0))
    for _ in range(50):
        rows, columns = sorted(chance.integers(1, 6, 2).tolist())
        gains = chance.random((rows, columns)).tolist()
        best = max(sum(gains[r][p[r]] for r in range(rows)) for p in permutations(range(columns), rows))
        given = assigned(gains)
        assert len(set(given)) == rows
        assert sum(gains[r][c] for r, c in enumerate(given)) == pytest.approx(best)
