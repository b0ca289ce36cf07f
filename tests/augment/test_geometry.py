"""Geometry against Pillow and against plain slicing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_reference import by_pillow, to_pillow, to_tensor
from torch import Tensor

from vitscope.augment import geometry

SIZES = [(32, 32), (17, 30), (30, 17), (1, 6)]


def noise(B: int = 4, C: int = 3, H: int = 32, W: int = 32) -> Tensor:
    return torch.randint(0, 256, (B, C, H, W), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def moved(images: Tensor, matrix: tuple[float, ...]) -> Tensor:
    return by_pillow(images, lambda i: i.transform(i.size, Image.Transform.AFFINE, matrix))


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("v", [0.0, 0.14, -0.14, 0.3, -0.3])
def test_shear_equals_pillow(v: float, H: int, W: int, C: int) -> None:
    images = noise(2, C, H, W)
    assert torch.equal(geometry.shear_x(images, v), moved(images, (1, v, 0, 0, 1, 0)))
    assert torch.equal(geometry.shear_y(images, v), moved(images, (1, 0, 0, v, 1, 0)))


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("v", [0.0, 3.0, 6.72, -6.72, 14.4, -14.4, 46.67, -46.67])
def test_translate_equals_pillow(v: float, H: int, W: int) -> None:
    images = noise(2, 3, H, W)
    assert torch.equal(geometry.translate(images, x=v), moved(images, (1, 0, v, 0, 1, 0)))
    assert torch.equal(geometry.translate(images, y=v), moved(images, (1, 0, 0, 0, 1, v)))


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("degrees", [0.0, 1.0, 14.0, -14.0, 30.0, -30.0, 45.5])
def test_rotate_equals_pillow(degrees: float, H: int, W: int, C: int) -> None:
    images = noise(2, C, H, W)
    assert torch.equal(geometry.rotate(images, degrees), by_pillow(images, lambda i: i.rotate(degrees)))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5)),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.booleans()),
        min_size=1,
        max_size=4,
    ),
)
def test_crop_and_flip_equals_slicing(size: tuple[int, int, int], each: list[tuple[float, float, bool]]) -> None:
    H, W, padding = size
    images = noise(len(each), 3, H, W)
    top = torch.tensor([int(t * (2 * padding + 1)) for t, _, _ in each])
    left = torch.tensor([int(u * (2 * padding + 1)) for _, u, _ in each])
    mirrored = torch.tensor([m for _, _, m in each])
    out = geometry.crop_and_flip(images, padding=padding, top=top, left=left, mirrored=mirrored)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    for i in range(len(each)):
        expected = padded[i, :, top[i] : top[i] + H, left[i] : left[i] + W]
        assert torch.equal(out[i], expected.flip(-1) if mirrored[i] else expected)


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize(("H", "W"), [(32, 32), (20, 33)])
def test_resized_crop_equals_pillow_within_one_grey_level(H: int, W: int, C: int) -> None:
    images = noise(5, C, H, W)
    box = torch.tensor([[0, 0, H, W], [3, 5, 9, 11], [H - 1, W - 1, 1, 1], [2, 0, H - 2, 4], [1, 1, H - 1, W - 1]])
    mirrored = torch.tensor([False, True, False, True, False])
    out = geometry.crop_resize_and_flip(images, box=box, mirrored=mirrored)
    for i, (top, left, height, width) in enumerate(box.tolist()):
        cut = to_pillow(images[i]).crop((left, top, left + width, top + height))
        expected = to_tensor(cut.resize((W, H), Image.Resampling.BILINEAR))
        expected = expected.flip(-1) if mirrored[i] else expected
        assert (out[i].to(int) - expected.to(int)).abs().max() <= 1
    assert torch.equal(out[0], images[0]), "the whole image, scaled to its own size, is the image"


def test_cover_paints_the_box_and_nothing_else() -> None:
    images = noise(3, 3, 10, 12)
    paint = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)
    box = torch.tensor([[2, 3, 4, 5], [0, 0, 0, 0], [8, 8, 30, 30]])
    expected = images.clone()
    expected[0, :, 2:6, 3:8] = paint[0, :, None, None]
    expected[2, :, 8:, 8:] = paint[2, :, None, None]
    assert torch.equal(geometry.cover(images, box, paint), expected)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([(0.02, 0.33), (0.08, 1.0), (1.0, 1.0), (1e-6, 1e-6)]),
    st.sampled_from([(0.75, 4 / 3), (0.3, 3.3)]),
    st.integers(0, 2**31),
)
def test_boxes_lie_inside(H: int, W: int, area: tuple[float, float], ratio: tuple[float, float], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    box = geometry.fitting_boxes(
        torch.rand(64, 10, 2, generator=g), torch.rand(64, 2, generator=g), size=(H, W), area=area, ratio=ratio
    )
    top, left, height, width = box.unbind(1)
    assert (box >= 0).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top + height <= H).all()
    assert (left + width <= W).all()


def test_boxes_have_the_area_and_ratio_asked_for() -> None:
    g = torch.Generator().manual_seed(0)
    chance, corner = torch.rand(4000, 10, 2, generator=g), torch.rand(4000, 2, generator=g)
    box = geometry.fitting_boxes(chance, corner, size=(224, 224), area=(0.1, 0.4), ratio=(0.75, 4 / 3)).double()
    part = box[:, 2] * box[:, 3] / 224**2
    shape = box[:, 3] / box[:, 2]
    assert 0.095 < part.min() < 0.11
    assert 0.39 < part.max() < 0.41
    assert abs(part.mean() - 0.25) < 0.01  # uniform, and at these sizes nothing is turned away
    assert shape.log().mean().abs() < 0.01
    assert 0.73 < shape.min() < 0.77
    assert 1.30 < shape.max() < 1.37
