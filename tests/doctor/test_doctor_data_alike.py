"""Training and validation images of one kind or not: colour beside grey, other channels, another brightness. Honest sets are left alone."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitscope.data import DataSpec, ImageTable, open_data
from vitscope.data.sources import find_source
from vitscope.doctor.data import examine_data, examine_table
from vitscope.doctor.examination import Found

CIFAR = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def pictures(count: int, seed: int, *, side: int = 12, mean: float = 120.0, varied: float = 30.0) -> Pixels:
    """Coloured blotches of a brightness of their own, like photographs: N H W 3."""
    drawn = np.random.default_rng(seed)
    coarse = drawn.normal(0, 70, (count, side // 3, side // 3, 3)) + drawn.normal(mean, varied, (count, 1, 1, 1))
    fine = coarse.repeat(3, 1).repeat(3, 2) + drawn.normal(0, 8, (count, side, side, 3))
    return fine.clip(0, 255).astype(np.uint8)


def grey(pixels: Pixels) -> Pixels:
    return pixels.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)


def table(pixels: Pixels) -> ImageTable:
    return ImageTable(pixels, np.arange(len(pixels)) % 2, ("a", "b"), "made")


def of_tables(train: Pixels, validation: Pixels) -> Found:
    return examine_table(table(train), table(validation), checks=["data-normalisation"])


def normalised(pixels: Pixels, std: float = 0.25) -> tuple[Tensor, Tensor]:
    mean = torch.tensor([0.49, 0.48, 0.44])[:, None, None]
    spread = torch.tensor([std, std * 0.9, std * 1.1])[:, None, None]
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    return (images - mean) / spread, torch.arange(len(pixels)) % 2


def of_loaders(train: Pixels, validation: Pixels) -> Found:
    return examine_data(normalised(train), normalised(validation), checks=["data-normalisation"])


def ids(found: Found) -> dict[str, str]:
    return {finding.id: finding.severity for finding in found.findings}


@pytest.mark.parametrize("examine", [of_tables, of_loaders])
def test_one_grey_set_beside_one_in_colour_is_a_warning(examine: Callable[[Pixels, Pixels], Found]) -> None:
    found = examine(pictures(120, 0), grey(pictures(60, 1)))
    assert ids(found) == {"one-set-is-grey": "warning"}
    assert found.findings[0].summary.en == "The validation images are all grey, the training images in colour."
    assert found.findings[0].summary.ja == "検証画像はすべてグレースケールですが、学習画像はカラーです。"
    assert ids(examine(grey(pictures(120, 0)), pictures(60, 1))) == {"one-set-is-grey": "warning"}
    assert "The training images are all grey" in examine(grey(pictures(120, 0)), pictures(60, 1)).findings[0].summary.en


@pytest.mark.parametrize("examine", [of_tables, of_loaders])
def test_grey_images_among_coloured_ones_and_sets_both_grey_are_honest(
    examine: Callable[[Pixels, Pixels], Found],
) -> None:
    mixed = pictures(120, 0)
    mixed[::3] = grey(mixed[::3])
    assert not ids(examine(mixed, pictures(60, 1)))
    assert not ids(examine(pictures(120, 2), mixed))
    assert not ids(examine(grey(pictures(120, 0)), grey(pictures(60, 1))))
    mostly = grey(pictures(120, 0))
    mostly[::10] = pictures(12, 3)
    assert not ids(examine(mostly, grey(pictures(40, 1)))), "chance may draw forty grey ones of nine in ten"


def test_grey_is_known_under_jpeg_and_faint_colour_is_not_called_grey() -> None:
    def stored(pixels: Pixels) -> Pixels:
        files = [BytesIO() for _ in pixels]
        for file, each in zip(files, pixels, strict=True):
            Image.fromarray(each).save(file, "JPEG", quality=80)
        return np.stack([np.asarray(Image.open(file)) for file in files])

    assert ids(of_tables(pictures(60, 0), stored(grey(pictures(60, 1))))) == {"one-set-is-grey": "warning"}
    whole = pictures(60, 1).astype(float)
    faint = (0.7 * whole.mean(-1, keepdims=True) + 0.3 * whole).astype(np.uint8)
    assert not ids(of_tables(pictures(60, 0), faint))
    assert not ids(of_tables(faint, pictures(60, 0)))


def test_other_channels_are_a_warning_and_a_mixed_set_says_nothing() -> None:
    colour, one = normalised(pictures(60, 0)), normalised(pictures(60, 1))
    found = examine_data(colour, (one[0][:, :1], one[1]), checks=["data-normalisation"])
    assert ids(found)["channels-differ"] == "warning"
    assert "Training images have 3 channels, validation images 1." in found.text("en")
    mixed = [(Image.fromarray(each).convert("L" if i % 2 else "RGB"), i % 2) for i, each in enumerate(pictures(60, 2))]
    assert "channels-differ" not in ids(examine_data(colour, mixed, checks=["data-normalisation"]))


@pytest.mark.parametrize(
    "change",
    [lambda x: x // 3, lambda x: (x * 0.6).astype(np.uint8), lambda x: x // 4 + 96],
    ids=["a third", "dimmer", "pale"],
)
def test_stored_images_of_another_brightness_are_a_warning(change: Callable[[Pixels], Pixels]) -> None:
    for sets in (
        (pictures(120, 0), change(pictures(60, 1))),
        (change(pictures(120, 0)), pictures(60, 1)),
    ):
        found = of_tables(*sets)
        assert ids(found) == {"brightness-differs": "warning"}
        assert found.checks_run == ("data-normalisation",)


def test_negatives_of_images_of_one_brightness_are_a_warning() -> None:
    drawn = np.random.default_rng(0)
    strokes = (255 * (drawn.random((200, 12, 12, 1)) < 0.15)).astype(np.uint8)
    found = of_tables(strokes[:120], 255 - strokes[120:])
    assert ids(found) == {"brightness-differs": "warning"}
    assert not ids(of_tables(strokes[:120], strokes[120:]))


def test_other_domains_and_small_sets_are_honest() -> None:
    photographs, dusk = pictures(200, 0), pictures(100, 1, mean=90)
    drawings = np.where(grey(pictures(100, 2, mean=90)) > 190, 20, 240).astype(np.uint8)
    assert not ids(of_tables(photographs, dusk))
    assert not ids(of_tables(grey(photographs), drawings))
    for seed in range(20):
        assert not ids(of_tables(pictures(30, seed), pictures(20, 100 + seed)))
        assert not ids(of_tables(pictures(60, seed), pictures(8, 100 + seed) // 3)), "too few to tell"


def test_what_was_compared_counts_as_done_though_the_loop_is_not_known() -> None:
    found = of_tables(pictures(60, 0), pictures(40, 1))
    assert found.checks_run == ("data-normalisation",)
    assert "only the images as they are stored were compared" in found.text("en")
    assert "healthy; nothing wrong was found" in found.text("en")


@pytest.mark.e2e
def test_digits_are_honest() -> None:
    for channels in (1, 3):
        splits = open_data(DataSpec.parse({"source": "digits"}), image_size=(8, 8), channels=channels)
        assert not ids(examine_table(splits.train, splits.val, checks=["data-normalisation"]))


@pytest.mark.e2e
@pytest.mark.skipif(not CIFAR.exists(), reason="CIFAR-10 is not on this machine")
def test_cifar_is_honest_and_changed_it_is_not() -> None:
    source = find_source(DataSpec.parse({"source": str(CIFAR)}))
    records = {name: list(islice(source.splits[name].records(), 1000)) for name in ("train", "test")}
    train, val = (np.stack([np.asarray(each.open()) for each in records[name]]) for name in ("train", "test"))
    assert not ids(of_tables(train, val))
    for rows in range(0, 900, 60):
        assert not ids(of_tables(train[rows : rows + 30], val[rows : rows + 30]))
    classes = np.array([each.label for each in records["train"]])
    assert not ids(of_tables(train[classes == 0], train[classes == 6])), "planes in the sky and frogs"
    assert ids(of_tables(train, val // 3)) == {"brightness-differs": "warning"}
    assert ids(of_tables(train, grey(val))) == {"one-set-is-grey": "warning"}
    assert ids(of_loaders(train, grey(val)))["one-set-is-grey"] == "warning"
