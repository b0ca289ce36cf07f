"""Mixup and cutmix: the pixels, and that the targets weigh what is really there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope.augment import mixing


def test_soft_targets() -> None:
    assert mixing.soft_targets(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_mixup_is_the_weighted_sum(weight: float) -> None:
    images = torch.randn(4, 3, 6, 5)
    targets = mixing.soft_targets(torch.tensor([0, 1, 2, 3]), 5)
    partner = torch.tensor([1, 0, 3, 2])
    out, mixed = mixing.mixup(images, targets, partner=partner, weight=weight)
    torch.testing.assert_close(out, weight * images + (1 - weight) * images[partner])
    torch.testing.assert_close(mixed, weight * targets + (1 - weight) * targets[partner])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0, 1),
    st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)
def test_cutmix_targets_are_the_share_of_pixels(H: int, W: int, weight: float, centre: tuple[float, float]) -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, H, W).clone()
    targets = mixing.soft_targets(torch.arange(3), 3)
    partner = torch.tensor([1, 2, 0])
    out, mixed = mixing.cutmix(images, targets, partner=partner, weight=weight, centre=centre)
    for i in range(3):
        for y in range(3):
            assert float((out[i] == y).float().mean()) == pytest.approx(float(mixed[i, y]), abs=1e-6)
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(3))
    assert torch.equal(images[:, 0, 0, 0], torch.arange(3.0)), "the images given must stay as they were"


def test_rectangle_has_the_area_asked_for() -> None:
    top, bottom, left, right = mixing.rectangle(100, 200, weight=0.75, centre=(0.5, 0.5))
    assert (top, bottom, left, right) == (25, 75, 50, 150)
    assert mixing.rectangle(100, 200, weight=1.0, centre=(0.5, 0.5)) == (50, 50, 100, 100)
    assert mixing.rectangle(100, 200, weight=0.0, centre=(0.5, 0.5)) == (0, 100, 0, 200)
    assert mixing.rectangle(100, 200, weight=0.75, centre=(0.0, 0.0)) == (0, 25, 0, 50)
