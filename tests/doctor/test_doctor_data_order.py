"""The order of training images: sorted ones are found however batches are shuffled, batches that are drawn by class are no error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from vitscope.doctor.data import examine_data

pytestmark = pytest.mark.e2e  # whole examinations


def _images(classes: int, each: int) -> tuple[Tensor, Tensor]:
    """Sorted by class."""
    labels = torch.arange(classes).repeat_interleave(each)
    return torch.randn(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(0)), labels


class Batches:
    """Places in the set, a batch at a time."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches


def _loader(pair: tuple[Tensor, Tensor], batches: list[list[int]]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*pair), batch_sampler=Batches(batches))


def _blocks(count: int, size: int, *, shuffle: bool, seed: int) -> list[list[int]]:
    """Neighbours in a batch, in another order there; batches in another order too, or not."""
    chance = random.Random(seed)
    blocks = [list(range(first, first + size)) for first in range(0, count - size + 1, size)]
    if shuffle:
        chance.shuffle(blocks)
    return [chance.sample(block, size) for block in blocks]


def _drawn(labels: Tensor, classes: int, each: int, count: int, seed: int) -> list[list[int]]:
    """Batches of so many classes, with so many images of each."""
    chance = random.Random(seed)
    of = [(labels == c).nonzero()[:, 0].tolist() for c in range(int(labels.max()) + 1)]
    return [
        [place for c in chance.sample(range(len(of)), classes) for place in chance.sample(of[c], each)]
        for _ in range(count)
    ]


class Buffered(IterableDataset[tuple[Tensor, Tensor]]):
    """A sorted set, read through a buffer from which images are drawn."""

    def __init__(self, pair: tuple[Tensor, Tensor], size: int) -> None:
        self.pair, self.size = pair, size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        waiting = list[int]()
        for place in range(len(self.pair[0])):
            waiting.append(place)
            if len(waiting) > self.size:
                yield self._at(waiting.pop(random.randrange(len(waiting))))
        yield from map(self._at, random.sample(waiting, len(waiting)))

    def _at(self, place: int) -> tuple[Tensor, Tensor]:
        return self.pair[0][place], self.pair[1][place]


def _ids(source: Any, validation: Any = None, classes: int | None = None) -> dict[str, str]:
    findings = examine_data(source, validation, classes=classes, checks=["data-order"]).findings
    return {finding.id: finding.severity for finding in findings if finding.id != "training-not-shuffled"}


SORTED = {"training-sorted-by-class": "error"}


@pytest.mark.parametrize("shuffle", [False, True], ids=["batches in order", "batches shuffled"])
@pytest.mark.parametrize(("classes", "each"), [(10, 140), (2, 500), (100, 30), (20, 64)])
def test_sorted_images_are_found_though_their_batches_are_shuffled(classes: int, each: int, shuffle: bool) -> None:
    pair = _images(classes, each)
    for seed in range(3):
        assert _ids(_loader(pair, _blocks(classes * each, 64, shuffle=shuffle, seed=seed))) == SORTED


@pytest.mark.parametrize(("each", "size"), [(140, 100), (1000, 100), (1000, 1000), (1000, 2500)])
def test_a_buffer_that_is_too_small_does_not_shuffle(each: int, size: int) -> None:
    assert _ids(DataLoader(Buffered(_images(10, each), size), 64)) == SORTED


def test_a_buffer_as_large_as_the_set_does() -> None:
    pair = _images(10, 140)
    assert _ids(DataLoader(Buffered(pair, 1400), 64)) == {}


def test_the_first_class_alone_is_sorted_where_validation_has_others() -> None:
    pair = _images(3, 12_000)
    assert _ids(DataLoader(TensorDataset(*pair), 500), _images(3, 40)) == SORTED


@pytest.mark.parametrize("size", [1, 2, 7])
def test_small_batches_are_looked_at_together(size: int) -> None:
    pair = _images(10, 60)
    assert _ids(DataLoader(TensorDataset(*pair), size)) == SORTED
    assert _ids(DataLoader(TensorDataset(*pair), size, shuffle=True)) == {}


@pytest.mark.parametrize(
    ("classes", "of", "each"), [(4, 10, 16), (2, 10, 32), (8, 10, 4), (16, 100, 4), (8, 100, 8), (5, 10, 2)]
)
def test_batches_that_are_drawn_by_class_are_at_most_a_note(classes: int, of: int, each: int) -> None:
    pair = _images(of, 60)
    for seed in range(4):
        found = _ids(_loader(pair, _drawn(pair[1], classes, each, 24, seed)))
        assert found in ({}, {"batches-drawn-by-class": "note"})
        if classes * 2 < of and classes * each > 10:
            assert found


@pytest.mark.parametrize("shares", [(1000, 20), (900, 100), (500, 300, 200), (40,) * 30, (2,) * 400])
@pytest.mark.parametrize("size", [8, 64])
def test_shuffled_images_are_never_accused(shares: tuple[int, ...], size: int) -> None:
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate(shares)])
    for seed in range(5):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        places = [part.tolist() for part in order.split(size)]
        assert _ids(_loader((torch.zeros(len(labels), 1, 4, 4), labels), places)) == {}


def test_a_part_of_the_classes_that_the_model_has_is_no_sorted_order() -> None:
    pair = _images(4, 100)
    assert _ids(DataLoader(TensorDataset(*pair), 32, shuffle=True), _images(10, 40), classes=1000) == {}


def test_repeated_augmentation_is_at_most_a_note() -> None:
    pair = _images(100, 20)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0)).repeat_interleave(3)
    places = [part.tolist() for part in order.split(63)]
    assert set(_ids(_loader(pair, places)).values()) <= {"note"}


def test_a_rare_class_is_no_sorted_order() -> None:
    labels = (torch.arange(5000) % 100 == 7).long()
    for validation in (None, _images(2, 100)):
        assert (
            _ids(DataLoader(TensorDataset(torch.zeros(5000, 1, 4, 4), labels), 64, shuffle=True), validation, 2) == {}
        )


@pytest.mark.parametrize("label", [-1, -100])
def test_images_without_a_class_are_no_sorted_order(label: int) -> None:
    unlabelled = torch.zeros(400, 1, 4, 4), torch.full((400,), label)
    assert _ids(DataLoader(TensorDataset(*unlabelled), 32, shuffle=True), _images(4, 40), 4) == {}


def test_the_same_labels_of_other_images_are_another_order() -> None:
    """Each batch has one image of each class, class by class, others in each epoch."""
    pair = _images(10, 60)

    class OneOfEach:
        def __len__(self) -> int:
            return 40

        def __iter__(self) -> Iterator[list[int]]:
            return ([60 * c + int(torch.randint(60, ())) for c in range(10)] for _ in range(40))

    def found(sampler: Any) -> set[str]:
        loader = DataLoader(TensorDataset(*pair), batch_sampler=sampler)
        return {finding.id for finding in examine_data(loader, classes=10, checks=["data-order"]).findings}

    assert found(OneOfEach()) == set()
    assert found(Batches(list(OneOfEach()))) == {"training-not-shuffled"}
