"""What a report computes by itself: the paired difference of two runs, the settings that differ, pictures as addresses."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vitscope.recipes.measure import Prediction
from vitscope.report.art import coloured, data_url, inline_svg, mosaic
from vitscope.report.judging.pairs import difference
from vitscope.train.evaluation import Evaluation, evaluation_of


def said(right: list[int], labels: str = "a") -> list[Prediction]:
    return [Prediction(f"i{i}", labels, labels if r else "b", r, 0.9, 0.9 if r else 0.1) for i, r in enumerate(right)]


def test_the_paired_difference_counts_images_that_only_one_gets_right() -> None:
    found = difference("x", "y", said([1] * 60 + [0] * 40), said([1] * 40 + [0] * 50 + [1] * 10))
    assert found is not None
    assert (found.only_one, found.only_other, found.points) == (20, 10, 10.0)
    # Agresti and Min 2005: 20.5 and 10.5 of 102, by hand
    middle, spread = (20.5 - 10.5) / 102, math.sqrt(31 - 100 / 102) / 102
    assert found.low == pytest.approx(100 * (middle - 1.959964 * spread), abs=1e-4)
    assert found.high == pytest.approx(100 * (middle + 1.959964 * spread), abs=1e-4)
    assert found.is_clear is False


def test_runs_on_other_images_are_not_compared() -> None:
    one = said([1, 0, 1])
    assert difference("x", "y", one, said([1, 0])) is None
    assert difference("x", "y", one, said([1, 0, 1], labels="c")) is None
    assert difference("x", "y", one, []) is None


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    p = [0.5, 0.15, 0.1, 0.25]  # both right, only the first, only the second, none
    held = 0
    for _ in range(400):
        counts = generator.multinomial(200, p)
        one = [1] * counts[0] + [1] * counts[1] + [0] * counts[2] + [0] * counts[3]
        other = [1] * counts[0] + [0] * counts[1] + [1] * counts[2] + [0] * counts[3]
        found = difference("x", "y", said(one), said(other))
        assert found is not None
        held += found.low <= 5.0 <= found.high
    assert 0.92 <= held / 400 <= 0.98


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(1, 40), st.integers(0, 1000))
def test_an_evaluation_is_read_as_it_was_written(classes: int, images: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), images)
    labels = generator.integers(0, classes, images)
    names = tuple(f"class {i}" for i in range(classes))
    found = evaluation_of(probabilities, labels, names)
    again = Evaluation.from_dict(found.to_dict())
    assert str(again) == str(found)  # as words: what is not measured is not equal to itself


def picture(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_picture_survives_its_address() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(picture(data_url(pixels)), pixels)
    assert np.array_equal(picture(data_url(pixels[:, :, 0].copy())), pixels[:, :, 0])


def test_colours_run_from_low_to_high_and_no_further() -> None:
    shown = coloured(torch.tensor([[-5.0, 0.0, 1.0, 9.0]]), 0.0, 1.0, "viridis")
    assert tuple(shown[0, 0]) == tuple(shown[0, 1]) == (68, 1, 84)
    assert tuple(shown[0, 2]) == tuple(shown[0, 3]) == (253, 231, 37)


def test_a_mosaic_puts_each_picture_in_its_place() -> None:
    images = np.stack([np.full((2, 3, 1), i / 5) for i in range(6)])
    sheet = mosaic(images, 3, gap=1, scale=2)
    assert sheet.shape == (2 * 4 + 1, 3 * 6 + 2, 4)
    assert [int(sheet[0, column, 0]) for column in (0, 7, 14)] == [0, 51, 102]
    assert [int(sheet[5, column, 0]) for column in (0, 7, 14)] == [153, 204, 255]
    assert int(sheet[4, 0, 3]) == 0  # gaps are seen through


def test_a_figure_takes_the_pages_colours_and_leaves_no_caveat() -> None:
    from matplotlib.figure import Figure

    from vitscope._core.pictures import picture_style

    with picture_style():
        figure = Figure()
        axes = figure.subplots()
        axes.set_title("a <title> & more")
        figure.supxlabel("the caveat")
    svg = inline_svg(figure)
    assert svg.startswith("<svg")
    assert "the caveat" not in svg
    assert "a &lt;title&gt; &amp; more" in svg
    assert "var(--ink)" in svg
    assert "#222222" not in svg
    assert "metadata" not in svg
