"""Colour operations against Pillow, image by image: equal to the last grey level, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance, ImageOps
from pillow_reference import by_pillow, pictures
from torch import Tensor

from vitscope.augment import colour

Op = Callable[[Tensor], Tensor]
PillowOp = Callable[[Image.Image], Image.Image]

EXACT: dict[str, tuple[Op, PillowOp]] = {
    "grey": (colour.grey, lambda i: i.convert("L")),
    "invert": (colour.invert, ImageOps.invert),
    "autocontrast": (colour.autocontrast, ImageOps.autocontrast),
    "equalize": (colour.equalize, ImageOps.equalize),
    **{
        f"posterize {b}": (lambda x, b=b: colour.posterize(x, b), lambda i, b=b: ImageOps.posterize(i, b))
        for b in (1, 2, 4, 8)
    },
    **{
        f"solarize {t}": (lambda x, t=t: colour.solarize(x, t), lambda i, t=t: ImageOps.solarize(i, t))
        for t in (0.0, 1.0, 119.46666, 128.0, 255.0, 256.0)
    },
}
FACTORS = (0.0, 0.1, 0.5, 0.94, 1.0, 1.37, 1.9)
ENHANCED = {
    "color": (colour.color, ImageEnhance.Color),
    "contrast": (colour.contrast, ImageEnhance.Contrast),
    "brightness": (colour.brightness, ImageEnhance.Brightness),
    "sharpness": (colour.sharpness, ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EXACT)
def test_equals_pillow(name: str, channels: int) -> None:
    ours, pillow = EXACT[name]
    images = pictures(channels)
    before = images.clone()
    assert torch.equal(ours(images), by_pillow(images, pillow))
    assert torch.equal(images, before), "the images given must stay as they were"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ENHANCED)
def test_enhancement_equals_pillow(name: str, factor: float, channels: int) -> None:
    """Within 1 grey level in at most 1 pixel of 500: where C fuses a product and a sum into one rounding (ARM)."""
    ours, pillow = ENHANCED[name]
    images = pictures(channels)
    expected = by_pillow(images, lambda image: pillow(image).enhance(factor))
    error = (ours(images, factor).to(int) - expected.to(int)).abs()
    assert error.max() <= 1
    assert (error > 0).float().mean() <= 0.002


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 5), (3, 3)])
def test_sharpness_of_images_without_an_inside(size: tuple[int, int]) -> None:
    images = pictures(3, size)
    assert torch.equal(
        colour.sharpness(images, 1.5), by_pillow(images, lambda i: ImageEnhance.Sharpness(i).enhance(1.5))
    )


def test_solarize_add_as_the_published_run_computes_it() -> None:
    images = pictures(3)

    def original(image: Image.Image) -> Image.Image:
        added = (np.array(image).astype(int) + 51.333).clip(0, 255).astype(np.uint8)
        return ImageOps.solarize(Image.fromarray(added), 128)

    assert torch.equal(colour.solarize(colour.add(images, 51.333), 128.0), by_pillow(images, original))


def test_factor_per_image() -> None:
    images = pictures(3)
    factors = torch.linspace(0.2, 1.8, len(images))
    for op, _ in ENHANCED.values():
        together = op(images, factors.view(-1, 1, 1, 1))
        alone = torch.cat([op(images[i : i + 1], float(factors[i])) for i in range(len(images))])
        assert (together.to(int) - alone.to(int)).abs().max() <= 1  # a factor is rounded to float32 on the way


def test_histogram_counts_every_pixel() -> None:
    images = pictures(3)
    counts = colour.histogram(images)
    assert counts.sum(dim=2).unique().tolist() == [17 * 23]
    assert counts[1, 2, int(images[1, 2, 0, 0])] == (images[1, 2] == images[1, 2, 0, 0]).sum()


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (2, 3, 6, 5)))
def test_tables_equal_pillow_on_any_image(array: np.ndarray) -> None:
    images = torch.from_numpy(array)
    for name in ("autocontrast", "equalize", "grey"):
        ours, pillow = EXACT[name]
        assert torch.equal(ours(images), by_pillow(images, pillow)), name


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (1, 1, 4, 40), elements=st.integers(0, 255)), st.integers(0, 255))
def test_equalize_of_one_level_and_a_few_others(array: np.ndarray, level: int) -> None:
    array[..., :30] = level
    images = torch.from_numpy(array)
    assert torch.equal(colour.equalize(images), by_pillow(images, ImageOps.equalize))
