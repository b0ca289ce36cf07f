"""What loaders give: dictionaries, items of three, views, names, grey and 16-bit images, many sizes, workers, streams without an end. Each is read as
it is meant, or told in one sentence why it cannot be.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from vitscope._core.errors import DataError
from vitscope.doctor.data import examine_data
from vitscope.doctor.data.batches import as_batch
from vitscope.doctor.data.reading import look_at
from vitscope.doctor.data.seen import TRAINING

pytestmark = pytest.mark.e2e  # whole examinations

COUNT = 240
LABELS = torch.randint(4, (COUNT,), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(1))
IMAGES[:, :, :4, :4] += LABELS[:, None, None, None].float()


class Items(Dataset[Any]):
    """Whatever an item is."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int) -> Any:
        return self.item(i)


def _pixels(i: int) -> np.ndarray:
    return (IMAGES[i].permute(1, 2, 0).clamp(-3, 5).add(3) * 30).to(torch.uint8).numpy()


def _one_hot(i: int) -> Tensor:
    return torch.nn.functional.one_hot(LABELS[i], 4)


MAKES: dict[str, Callable[[int], Any]] = {
    "image, index, label": lambda i: (IMAGES[i], i, int(LABELS[i])),
    "image, label, index": lambda i: (IMAGES[i], int(LABELS[i]), i),
    "index, image, label": lambda i: (i, IMAGES[i], int(LABELS[i])),
    "label, image": lambda i: (int(LABELS[i]), IMAGES[i]),
    "file, image, label": lambda i: (f"{i}.png", IMAGES[i], int(LABELS[i])),
    "image, file, label": lambda i: (IMAGES[i], f"{i}.png", int(LABELS[i])),
    "image, label, file": lambda i: (IMAGES[i], int(LABELS[i]), f"{i}.png"),
    "two views, label": lambda i: ((IMAGES[i], IMAGES[i]), int(LABELS[i])),
    "dictionary": lambda i: {"pixel_values": IMAGES[i], "labels": int(LABELS[i])},
    "dictionary with words": lambda i: {
        "image": IMAGES[i],
        "label": f"class {LABELS[i]}",
        "fine_label": int(LABELS[i]),
    },
    "dictionary in a dictionary": lambda i: {"id": i, "inputs": {"pixel_values": IMAGES[i]}, "labels": int(LABELS[i])},
    "one-hot": lambda i: (IMAGES[i], _one_hot(i)),
    "one-hot of as many classes as channels": lambda i: (
        IMAGES[i],
        _one_hot(i)[:3] if LABELS[i] < 3 else _one_hot(0)[:3],
    ),
    "float64": lambda i: (IMAGES[i].double(), LABELS[i].double()),
    "grey without channels": lambda i: (IMAGES[i, 0], int(LABELS[i])),
    "grey, 16 bits": lambda i: (_pixels(i)[..., 0].astype(np.uint16) * 257, int(LABELS[i])),
}
"""Items as data sets give them, all with the same labels."""


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("is_loader", [False, True], ids=["data set", "loader"])
def test_items_of_any_make_are_read_as_they_are_meant(make: str, is_loader: bool) -> None:
    data = Items(MAKES[make])
    source = DataLoader(data, 32, shuffle=True) if is_loader else data
    findings, skips, run = examine_data(source, classes=4)
    assert {"data-labels", "data-balance"} <= set(run), [skip.why.en for skip in skips]
    assert {finding.id for finding in findings} <= {"no-augmentation", "pixels-not-scaled", "scores-without-images"}
    if make not in ("one-hot of as many classes as channels",):
        seen = look_at(DataLoader(data, 32) if is_loader else data, TRAINING, 5.0)
        assert seen.labels is not None
        assert sorted(seen.labels.tolist()) == sorted(LABELS.tolist())


PICTURES: dict[str, Callable[[int], Image.Image]] = {
    "grey": lambda i: Image.fromarray(_pixels(i)).convert("L"),
    "black and white": lambda i: Image.fromarray(_pixels(i)).convert("1"),
    "grey with alpha": lambda i: Image.fromarray(_pixels(i)).convert("LA"),
    "palette": lambda i: Image.fromarray(_pixels(i)).convert("P"),
    "16 bits": lambda i: Image.fromarray(_pixels(i)[..., 0].astype(np.uint16) * 257),
    "16 bits, the other way round": lambda i: Image.frombytes(
        "I;16B", (8, 8), _pixels(i)[..., 0].astype(">u2").tobytes()
    ),
    "YCbCr": lambda i: Image.fromarray(_pixels(i)).convert("YCbCr"),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_of_any_mode_are_read(picture: str) -> None:
    found = examine_data(Items(lambda i: {"image": PICTURES[picture](i), "label": int(LABELS[i])}), classes=4)
    assert {"data-labels", "data-balance"} <= set(found.checks_run)
    assert not [finding for finding in found.findings if finding.severity == "error" or finding.check == "data-labels"]


def test_images_of_several_sizes_and_modes_keep_their_own_labels() -> None:
    """A folder of images without a resizing transform."""

    def item(i: int) -> tuple[Image.Image, int]:
        image = Image.fromarray(_pixels(i))
        return (image.resize((8, 9)) if i % 4 == 1 else image.convert("L") if i % 4 == 2 else image), int(LABELS[i])

    seen = look_at(Items(item), TRAINING, 5.0)
    assert seen.sample_labels is not None
    assert len(seen.sample_labels) == len(seen.images) < COUNT
    bright = seen.images[:, :, :4, :4].mean((1, 2, 3)) - seen.images[:, :, 4:, 4:].mean((1, 2, 3))
    assert float(torch.corrcoef(torch.stack([bright, seen.sample_labels.float()]))[0, 1]) > 0.9
    found = examine_data(Items(item), classes=4)
    assert {finding.id for finding in found.findings} <= {"no-augmentation", "pixels-not-scaled"}


@pytest.mark.parametrize(
    "label",
    [
        lambda i: (torch.arange(4) % (int(LABELS[i]) + 1) == 0).float(),
        lambda i: {"boxes": torch.zeros(4), "labels": torch.ones(1)},
        lambda i: torch.zeros(8, 8, dtype=torch.long),
        lambda i: float(IMAGES[i].mean()),
        lambda i: i,
    ],
    ids=["several labels", "boxes", "a label a pixel", "a measure", "its own number"],
)
def test_what_is_no_class_is_said_so(label: Callable[[int], Any]) -> None:
    found = examine_data(DataLoader(Items(lambda i: (IMAGES[i], label(i))), 32, shuffle=True), classes=4)
    assert {finding.id for finding in found.findings} == {"no-augmentation"}
    why = {skip.check: skip.why.en for skip in found.skipped}
    assert all(why[check] == "the images come without one class each" for check in ("data-labels", "data-balance"))


class Broken(Dataset[Any]):
    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int) -> Any:
        raise FileNotFoundError(f"no such image: {i}.png")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_data_set_is_told_wherever_it_was_raised(workers: int) -> None:
    context = "fork" if workers else None
    with pytest.raises(DataError, match=r"\(FileNotFoundError: no such image: 0.png\)"):
        examine_data(DataLoader(Broken(), 8, num_workers=workers, multiprocessing_context=context))
    assert not multiprocessing.active_children()


def test_workers_read_as_one_process_does() -> None:
    data = Items(MAKES["image, index, label"])
    found = examine_data(DataLoader(data, 32, shuffle=True, num_workers=2, multiprocessing_context="fork"), classes=4)
    assert {finding.id for finding in found.findings} == {"no-augmentation"}


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ({"pixel_values": IMAGES[i % COUNT], "labels": int(LABELS[i % COUNT])} for i in itertools.count())


class Forever:
    """A sampler that never ends."""

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield torch.randint(COUNT, (32,)).tolist()


def test_what_never_ends_is_read_in_part() -> None:
    for loader in (
        DataLoader(Endless(), 32),
        DataLoader(Endless(), 32, num_workers=1, multiprocessing_context="fork"),
        DataLoader(Items(MAKES["dictionary"]), batch_sampler=Forever()),
    ):
        found = examine_data(loader, classes=4, seconds=0.5)
        assert {finding.id for finding in found.findings} <= {"no-augmentation"}
        assert {"data-labels", "data-balance", "data-order"} <= set(found.checks_run)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"train": [1], "val": [2]}, "the training set is a dictionary with train, val; give one of them"),
        ([(torch.ones(2, 3, 8, 8), ["cat", "dog"])], "the training labels are str, expected numbers from 0"),
        ([(torch.ones(2, 3, 8, 8, device="meta"), torch.ones(2))], "hold no pixels"),
        ([(torch.ones(2, 3, 4, 8, 8), torch.ones(2))], r"of shape \(2, 3, 4, 8, 8\)"),
        (Items(lambda i: (Image.fromarray(_pixels(i)), "cat")), "the training labels are str, expected numbers from 0"),
    ],
)
def test_what_cannot_be_examined_is_one_sentence(source: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        examine_data(source)
    assert "\n" not in str(raised.value)


def test_one_image_and_a_batch_are_told_apart() -> None:
    assert as_batch((torch.ones(3, 8, 8), torch.tensor([0, 1, 0])), "training").is_one
    assert not as_batch((torch.ones(3, 8, 8), torch.tensor([2, 1, 0])), "training").is_one
    assert as_batch((torch.ones(3, 8, 8), torch.tensor([0.2, 0.8, 0.0])), "training").soft is not None
    assert len(as_batch((torch.ones(5, 8, 8), torch.arange(5)), "training")) == 5
    assert as_batch(torch.ones(3, 8, 8), "training").is_one
