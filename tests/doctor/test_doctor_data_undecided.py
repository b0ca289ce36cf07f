"""What the probes of labels cannot tell is told as that, with its true reason; one damaged image does not keep the others from being probed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from vitscope.doctor.data import examine_data
from vitscope.doctor.examination import Found

pytestmark = pytest.mark.e2e  # whole examinations

Pair = tuple[Tensor, Tensor]


def _images(count: int, seed: int = 0, strength: float = 1.0) -> Pair:
    """Noise, and on it a pattern of its own for each of four classes."""
    chance, own = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    labels = torch.randint(4, (count,), generator=chance)
    patterns = torch.randn(4, 3, 4, 4, generator=own).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return strength * patterns[labels] + torch.randn(count, 3, 16, 16, generator=chance), labels


def _shuffled(pair: Pair) -> Pair:
    return pair[0], pair[1][torch.randperm(len(pair[1]), generator=torch.Generator().manual_seed(3))]


class _Moved(Dataset[Any]):
    """Images that are moved by a pixel or so each time."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        by = torch.randint(-1, 2, (2,)).tolist()
        return torch.roll(self.pair[0][place], by, (1, 2)), int(self.pair[1][place])


def _examined(train: Any, validation: Pair | None = None) -> Found:
    loaders = [
        None if each is None else DataLoader(each if isinstance(each, Dataset) else TensorDataset(*each), 32)
        for each in (train, validation)
    ]
    return examine_data(*loaders, classes=4, checks=["data-labels"])


def _ids(found: Found) -> list[str]:
    return [finding.id for finding in found.findings]


def test_one_damaged_image_is_left_out_of_the_probes() -> None:
    images, labels = _images(480)
    images[7, 0, 0, 0] = float("nan")
    assert _examined((images, labels)).checks_run == ("data-labels",)
    images, labels = _shuffled(_images(480))
    images[7, 0, 0, 0] = float("inf")
    assert _ids(_examined((images, labels), _images(480, 1))) == ["labels-do-not-belong-to-images"]


@pytest.mark.parametrize(
    ("images", "en", "ja"),
    [
        (torch.full((480, 3, 16, 16), float("nan")), "are without NaN or infinity", "NaNや無限大を含まない"),
        (torch.zeros(480, 3, 16, 16), "the training images are all the same", "学習画像がすべて同一"),
        (torch.randn(150, 3, 16, 16), "fewer than 200 labelled training images", "ラベル付きの学習画像が200枚未満"),
    ],
)
def test_why_nothing_was_probed_is_told_as_it_is(images: Tensor, en: str, ja: str) -> None:
    train = images, torch.arange(len(images)) % 4
    for validation in (None, _images(120, 1), _images(480, 1)):
        found = _examined(train, validation)
        (skip,) = found.skipped
        assert en in skip.why.en
        assert ja in skip.why.ja
        few = validation is not None and len(validation[0]) == 120
        assert ("labelled validation images" in skip.why.en) == few
        assert not found.checks_run


def test_few_classes_are_the_reason_where_they_are() -> None:
    images, _ = _images(300)
    (skip,) = _examined((images, torch.zeros(300, dtype=torch.long))).skipped
    assert "fewer than two classes have ten training images each" in skip.why.en
    assert "学習画像が10枚以上あるクラスが2つ未満" in skip.why.ja


def test_few_augmented_images_in_which_nothing_shows_are_undecided() -> None:
    for count, says in ((480, []), (1000, ["labels-do-not-belong-to-images"])):
        found = _examined(_Moved(_shuffled(_images(count, strength=3.0))), _images(400, 5, strength=3.0))
        assert _ids(found) == says
        assert found.checks_run == (("data-labels",) if says else ())
        assert ["fewer than 1,000 augmented images" in skip.why.en for skip in found.skipped] == [True] * (not says)
    found = _examined(_Moved(_images(480, strength=3.0)), _images(400, 5, strength=3.0))
    assert found.checks_run == ("data-labels",)
    assert not found.findings + found.skipped


def test_few_images_beside_a_weak_signal_are_undecided() -> None:
    found = _examined(_images(1500, strength=0.03), _shuffled(_images(200, 1)))
    assert not found.findings
    assert ["hardly find one in so few images" in skip.why.en for skip in found.skipped] == [True]
