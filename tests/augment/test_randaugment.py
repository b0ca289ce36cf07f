"""RandAugment: the published table against the code it comes from (Pillow, image by image), and our own table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from pillow_reference import by_pillow, pictures, to_pillow, to_tensor
from torch import Tensor

from vitscope.augment.draws import Draws
from vitscope.augment.randaugment import FITTED, PUBLISHED, Operation, cutout, rand_augment

NAMES = [
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "Cutout", "TranslateX", "TranslateY"),
]
MIRRORED = {"ShearX", "ShearY", "TranslateX", "TranslateY"}
NOWHERE = torch.zeros(8, 2)


def by_name(table: tuple[Operation, ...], name: str) -> Operation:
    return next(operation for operation in table if operation.name == name)


def original(name: str, v: float) -> Callable[[Image.Image], Image.Image]:
    """The operation as the published run's code does it."""

    def affine(*matrix: float) -> Callable[[Image.Image], Image.Image]:
        return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix)

    def solarize_add(image: Image.Image) -> Image.Image:
        added = (np.array(image).astype(int) + v).clip(0, 255).astype(np.uint8)
        return ImageOps.solarize(Image.fromarray(added), 128)

    return {
        "AutoContrast": ImageOps.autocontrast,
        "Equalize": ImageOps.equalize,
        "Invert": ImageOps.invert,
        "Rotate": lambda image: image.rotate(v),
        "Posterize": lambda image: ImageOps.posterize(image, max(1, int(v))),
        "Solarize": lambda image: ImageOps.solarize(image, v),
        "SolarizeAdd": solarize_add,
        "Color": lambda image: ImageEnhance.Color(image).enhance(v),
        "Contrast": lambda image: ImageEnhance.Contrast(image).enhance(v),
        "Brightness": lambda image: ImageEnhance.Brightness(image).enhance(v),
        "Sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(v),
        "ShearX": affine(1, v, 0, 0, 1, 0),
        "ShearY": affine(1, 0, 0, v, 1, 0),
        "TranslateX": affine(1, 0, v, 0, 1, 0),
        "TranslateY": affine(1, 0, 0, 0, 1, v),
    }[name]


def test_the_published_table() -> None:
    assert [operation.name for operation in PUBLISHED] == NAMES
    assert {operation.name for operation in PUBLISHED if operation.mirrored} == MIRRORED
    at_14 = {operation.name: operation.value(14.0) for operation in PUBLISHED}
    expected = {
        "Rotate": 14, "Posterize": 1.8667, "Solarize": 119.4667, "SolarizeAdd": 51.3333, "Color": 0.94, "Contrast": 0.94,
        "Brightness": 0.94, "Sharpness": 0.94, "ShearX": 0.14, "ShearY": 0.14, "Cutout": 18.6667,
        "TranslateX": 46.6667, "TranslateY": 46.6667, "AutoContrast": 0, "Equalize": 0, "Invert": 0,
    }  # fmt: skip
    assert at_14 == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("strength", [0.0, 3.0, 14.0, 30.0])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "Cutout"])
def test_published_operations_equal_the_original(name: str, strength: float) -> None:
    """Equal; the four enhancements within 1 grey level (see `colour.blend`)."""
    operation = by_name(PUBLISHED, name)
    images = pictures(3, (32, 32))
    for sign in (1, -1) if operation.mirrored else (1,):
        value = sign * operation.value(strength)
        expected = by_pillow(images, original(name, value))
        error = (operation.apply(images, value, NOWHERE).to(int) - expected.to(int)).abs().max()
        assert error <= (1 if name in {"Color", "Contrast", "Brightness", "Sharpness"} else 0)


@pytest.mark.parametrize("size", [(32, 32), (20, 45)])
@pytest.mark.parametrize("side", [0.0, 4.0, 56 / 3, 40.0])
def test_cutout_equals_the_original(side: float, size: tuple[int, int]) -> None:
    images = pictures(3, size)
    places = torch.rand(len(images), 2, generator=torch.Generator().manual_seed(0))
    places[0], places[1] = 0, 0.999
    out = cutout(images, side, places)
    for image, place, ours in zip(images, places.tolist(), out, strict=True):
        picture = to_pillow(image)
        w, h = picture.size
        x0, y0 = int(max(0, place[1] * w - side / 2)), int(max(0, place[0] * h - side / 2))
        ImageDraw.Draw(picture).rectangle((x0, y0, min(w, x0 + side), min(h, y0 + side)), (125, 123, 114))
        assert torch.equal(ours, to_tensor(picture))


def test_about_23_percent_of_the_published_runs_images_are_blank() -> None:
    """Blank: two different pictures under the same draws come out equal. Two draws of 16, two of them erase: 1 - (14/16)²."""
    one = torch.randint(0, 256, (4096, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    other = torch.randint(0, 256, (4096, 3, 32, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)

    def blank(table: tuple[Operation, ...]) -> float:
        a, b = (
            rand_augment(x, table, Draws(torch.Generator().manual_seed(3), x.device), count=2, strength=14.0)
            for x in (one, other)
        )
        return float((a == b).flatten(1).all(dim=1).float().mean())

    assert blank(PUBLISHED) == pytest.approx(1 - (14 / 16) ** 2, abs=0.02)
    assert blank(FITTED) == 0


def test_the_fitted_table_has_the_same_operations_and_every_direction_at_random() -> None:
    assert [operation.name for operation in FITTED] == NAMES
    assert {operation.name for operation in FITTED if operation.mirrored} == MIRRORED | {
        "Rotate", "Color", "Contrast", "Brightness", "Sharpness",
    }  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES[3:])
def test_fitted_strength_0_changes_nothing_and_30_changes_much(name: str, channels: int) -> None:
    operation = by_name(FITTED, name)
    images = pictures(channels, (24, 30))
    places = torch.full((len(images), 2), 0.5)
    assert torch.equal(operation.apply(images, operation.value(0.0), places), images)
    changed = (operation.apply(images, operation.value(30.0), places) != images).flatten(1).float().mean(dim=1)
    if not (name == "Color" and channels == 1):
        assert changed[0] > 0.15


def test_fitted_lengths_are_parts_of_the_image() -> None:
    white = torch.full((1, 3, 40, 80), 255, dtype=torch.uint8)
    places = torch.full((1, 2), 0.5)
    covered = by_name(FITTED, "Cutout").apply(white, 0.5, places)[0, 0] != 255
    assert covered.sum() == 20 * 20
    assert (by_name(FITTED, "TranslateX").apply(white, 0.25, places)[0, 0] == 0).sum() == 20 * 40
    assert (by_name(FITTED, "TranslateY").apply(white, -0.25, places)[0, 0] == 0).sum() == 10 * 80


@pytest.mark.parametrize("table", [PUBLISHED, FITTED], ids=["published", "fitted"])
def test_each_image_gets_its_own_operation_uniformly(table: tuple[Operation, ...]) -> None:
    """Operations are replaced by ones that write down which they are; each sign comes up half of the time."""

    def mark(number: int) -> Callable[[Tensor, float, Tensor], Tensor]:
        return lambda images, value, _: torch.full_like(images, 2 * number + (value < 0))

    marked = tuple(Operation(op.name, mark(i), 1.0, 1.0, mirrored=op.mirrored) for i, op in enumerate(table))
    images = torch.zeros(8000, 1, 1, 1, dtype=torch.uint8)
    out = rand_augment(images, marked, Draws(torch.Generator().manual_seed(0), images.device), count=1, strength=14.0)
    counts = out.flatten().to(torch.int64).bincount(minlength=32).view(16, 2)
    assert counts.sum(dim=1).min() > 400
    assert counts.sum(dim=1).max() < 600
    for operation, (plus, minus) in zip(marked, counts.tolist(), strict=True):
        assert 0.4 < minus / (plus + minus) < 0.6 if operation.mirrored else minus == 0


def test_images_stay_in_their_places() -> None:
    keep = tuple(Operation(str(i), lambda images, v, _: images) for i in range(16))
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1)
    draws = Draws(torch.Generator().manual_seed(0), images.device)
    assert torch.equal(rand_augment(images, keep, draws, count=3, strength=14.0), images)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (16, 1, 8, 8), (16, 3, 12, 20)])
def test_shapes(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    for table in (PUBLISHED, FITTED):
        draws = Draws(torch.Generator().manual_seed(0), images.device)
        assert rand_augment(images, table, draws, count=2, strength=30.0).shape == images.shape
