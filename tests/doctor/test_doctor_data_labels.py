"""Labels that are unusual and right, or wrong in a way that has a name: no honest set is accused, what is wrong is told in its own words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from vitscope.doctor.data import examine_data

pytestmark = pytest.mark.e2e  # whole examinations


def _images(count: int, classes: int, seed: int, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Noise with a patch that is brighter the higher the class."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=chance)
    images = torch.randn(count, 1, 8, 8, generator=chance)
    images[:, :, :4, :4] += strength * labels[:, None, None, None] / classes
    return images, labels


def _parities(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Whether the first nine pixels hold an odd number of dark ones: true, and beyond any probe."""
    images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return images, (images.flatten(1)[:, :9] < 0).sum(1) % 2


def _loader(pair: tuple[Tensor, Tensor], *, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*pair), 64, shuffle=shuffle)


def _found(train: Any, validation: Any = None, classes: int | None = None, check: str = "data-labels") -> Any:
    findings = examine_data(train, validation, classes=classes, checks=[check]).findings
    assert len({finding.id for finding in findings}) == len(findings)
    return {finding.id: finding for finding in findings}


def _severities(*sets: Any, classes: int | None = None, check: str = "data-labels") -> dict[str, str]:
    return {name: finding.severity for name, finding in _found(*sets, classes=classes, check=check).items()}


def test_a_task_that_probes_cannot_read_is_a_warning_that_says_so() -> None:
    train, validation = _parities(1500, 0), _parities(500, 1)
    found = _found(_loader(train), _loader(validation, shuffle=False), classes=2)
    assert {name: finding.severity for name, finding in found.items()} == {"labels-not-read-by-probes": "warning"}
    said = found["labels-not-read-by-probes"]
    assert said.summary.en.startswith("Simple probes find no relation between training and validation images")
    assert "look at ten images" in said.fault.advice.en


def test_a_small_set_beside_a_weak_signal_is_not_accused() -> None:
    """Cats and dogs: 1,500 images show what 300 cannot."""
    for seed in range(4):
        train, validation = _images(1500, 2, seed, 0.35), _images(300, 2, seed + 10, 0.35)
        assert "labels-do-not-belong-to-images" not in _severities(_loader(train), _loader(validation), classes=2)


def test_shuffled_labels_beside_a_clear_signal_are_an_error() -> None:
    images, labels = _images(600, 4, 0, 4.0)
    wrong = images, labels[torch.randperm(600, generator=torch.Generator().manual_seed(5))]
    right = _images(600, 4, 1, 4.0)
    expected = {"labels-do-not-belong-to-images": "error"}
    assert _severities(_loader(wrong), _loader(right), classes=4) == expected
    assert _severities(_loader(right), _loader(wrong), classes=4) == expected


def test_minus_one_is_a_warning_that_names_ignore_index() -> None:
    images, labels = _images(600, 4, 0, 4.0)
    labels[::3] = -1
    found = _found(_loader((images, labels)), classes=4)
    assert {name: finding.severity for name, finding in found.items()} == {"labels-below-zero": "warning"}
    assert "200 of 600" in found["labels-below-zero"].summary.en
    assert "ignore_index=-1" in found["labels-below-zero"].summary.ja
    shares = _found(_loader((images, torch.where(labels > 0, -1, labels))), classes=4, check="data-balance")
    assert "classes-imbalanced" not in shares


def test_minus_one_and_one_are_two_classes() -> None:
    images, labels = _images(600, 2, 0, 4.0)
    labels[torch.rand(600, generator=torch.Generator().manual_seed(1)) < 0.8] = 0
    signed = images, 2 * labels - 1
    assert _severities(_loader(signed), classes=1) == {"labels-below-zero": "note"}
    assert _severities(_loader(signed)) == {"labels-below-zero": "warning"}
    assert _severities(_loader(signed), classes=2) == {"labels-out-of-range": "error"}
    uneven = _found(_loader(signed), classes=1, check="data-balance")["classes-imbalanced"]
    share = float((labels == 0).float().mean())
    assert f"always answering class -1 is right for {share:.0%}" in uneven.summary.en
    assert uneven.evidence["smallest_class"] == 1


def test_one_score_is_one_score() -> None:
    images, labels = _images(300, 3, 0, 4.0)
    said = _found(_loader((images, labels)), classes=1)["labels-out-of-range"].summary
    assert "gives 1 score: " in said.en
    assert "1 scores" not in said.en


def test_labels_from_one_on_are_a_suspicion() -> None:
    images, labels = _images(600, 5, 0, 4.0)
    loader = _loader((images, labels + 1))
    assert _severities(loader) == {"labels-out-of-range": "warning"}
    assert _severities(loader, classes=6) == {}
    assert _severities(loader, classes=5) == {"labels-out-of-range": "error"}
    beside = _severities(loader, _loader(_images(300, 5, 1, 4.0)))  # with a class 0, and so numbered otherwise
    assert beside == {"classes-numbered-otherwise": "error"}


def test_class_numbers_that_are_not_used_are_no_imbalance() -> None:
    images, labels = _images(400, 2, 0, 4.0)
    three_and_five = _loader((images, 3 + 2 * labels))
    assert _severities(three_and_five, check="data-balance") == {"scores-without-images": "note"}
    assert _severities(three_and_five, classes=10, check="data-balance") == {"scores-without-images": "note"}
    four = _found(_loader(_images(400, 4, 0)), classes=10, check="data-balance")["scores-without-images"]
    assert "gives 10 scores, and training labels name 4 classes: 0, 1, 2, 3." in four.summary.en
    assert _severities(_loader(_images(400, 4, 0)), classes=4, check="data-balance") == {}
    assert _severities(_loader(_images(400, 2, 0)), classes=1, check="data-balance") == {}


def test_a_class_that_is_measured_and_never_shown_is_a_warning() -> None:
    found = _found(_loader(_images(400, 3, 0)), _loader(_images(200, 4, 1)), classes=4, check="data-balance")
    assert found["scores-without-images"].severity == "warning"
    assert found["scores-without-images"].evidence["in_validation_only"] == [3]


@pytest.mark.parametrize("code", [10**12, 2**31])
def test_large_numbers_are_counted_and_not_listed(code: int) -> None:
    images, labels = _images(400, 3, 0, 4.0)
    found = examine_data(_loader((images, labels * code)), classes=3)
    assert "labels-out-of-range" in {finding.id for finding in found.findings}
    assert not [skip for skip in found.skipped if "could not be examined" in skip.why.en]


def test_a_single_class_is_nothing_to_tell_apart() -> None:
    images, labels = _images(400, 2, 0)
    for classes in (None, 1, 2):
        found = _found(_loader((images, 0 * labels)), classes=classes, check="data-balance")
        assert {name: finding.severity for name, finding in found.items()} == {"scores-without-images": "warning"}
