"""Patches, filters and positions, against what was planted in the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lens_samples import FAMILIES, OURS, tiny_image

from vitscope._core.errors import LensError
from vitscope.lens.trace import trace
from vitscope.lens.views.embedding import patch_filters, patches, positions
from vitscope.model.create import create_model


def our_vit(**changed: Any) -> Any:
    torch.manual_seed(0)
    return create_model("vit-ti4-32", **{**OURS, **changed}).eval()


@pytest.mark.parametrize("embedding", ["linear", "conv"])
def test_patches_are_squares_of_the_image(embedding: str) -> None:
    cut = patches(trace(our_vit(patch_embedding=embedding), tiny_image())).images
    image = tiny_image()[0]
    assert cut.shape == (16, 3, 8, 8)
    for patch in range(16):
        row, column = divmod(patch, 4)
        assert torch.equal(cut[patch], image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8])


def test_patches_that_are_no_squares_too() -> None:
    model = our_vit(image_size=(16, 24), patch_size=(8, 4))
    image = torch.randn(1, 3, 16, 24)
    cut = patches(trace(model, image)).images
    assert cut.shape == (12, 3, 8, 4)
    assert torch.equal(cut[7], image[0, :, 8:, 4:8])


@pytest.mark.parametrize("embedding", ["linear", "conv"])
def test_planted_filters_are_the_strongest_components(embedding: str) -> None:
    """Two patterns, one seven times as strong, in filters of both signs; each library's order of a patch's numbers put back."""
    model = our_vit(patch_embedding=embedding)
    edge, colour = torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    edge[:, :, :4], edge[:, :, 4:] = 1, -1
    colour[0], colour[2] = 1, -1
    filters = torch.zeros(48, 3, 8, 8)
    filters[0], filters[1], filters[2], filters[3] = 7 * edge, -7 * edge, colour, -colour
    layer = model.patch_embedding[1 if embedding == "linear" else 0]
    layer.weight.data = filters.permute(0, 2, 3, 1).reshape(48, -1) if embedding == "linear" else filters
    found = patch_filters(trace(model, tiny_image()), count=3)
    assert found.components.shape == (3, 3, 8, 8)
    for component, pattern in zip(found.components, (edge, colour), strict=False):
        assert abs(float((component * pattern).sum() / pattern.norm())) == pytest.approx(1, abs=1e-5)
    assert found.explained[:2].tolist() == pytest.approx(
        [49 * 192 / (49 * 192 + 128), 128 / (49 * 192 + 128)], rel=1e-4
    )


def test_positions_of_a_planted_table() -> None:
    """One wave a grid across, none down."""
    model = our_vit()
    wave = torch.cos(2 * torch.pi * torch.arange(4) / 4)
    model.position.table.data.zero_()
    model.position.table.data[0, 1:, 0] = wave.repeat(4)
    model.position.table.data[0, 1:, 1] = torch.sin(2 * torch.pi * torch.arange(4) / 4).repeat(4)
    found = positions(trace(model, tiny_image()))
    assert torch.allclose(found.across, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)
    assert torch.allclose(found.down, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    assert float(found.cosines[0, 4]) == pytest.approx(1)  # the place below
    assert float(found.cosines[0, 2]) == pytest.approx(-1, abs=1e-6)  # half a wave on
    assert float(found.cosines[0, 1]) == pytest.approx(0, abs=1e-6)


def test_positions_that_stand_before_the_class_token_joins() -> None:
    found = positions(trace(our_vit(position="sincos", pooling="mean", registers=2), tiny_image()))
    assert found.cosines.shape == (16, 16)
    assert torch.allclose(found.cosines.diagonal(), torch.ones(16))


@pytest.mark.parametrize("name", ["sequence first", "by hand", "good-vit"])
def test_other_hands_models(name: str) -> None:
    torch.manual_seed(0)
    found = trace(FAMILIES[name].build(), tiny_image())
    assert patches(found).images.shape[1] == 3
    assert patch_filters(found).components.shape[0] == 28
    if name == "by hand":
        with pytest.raises(LensError, match="no position embedding is added"):
            positions(found)
    else:
        assert len(positions(found).cosines) == found.layout.grid[0] * found.layout.grid[1]


def test_what_has_no_patches_of_its_own_is_refused() -> None:
    found = trace(our_vit(patch_embedding="conv-tokenizer", tokenizer_layers=3), tiny_image())
    for view in (patches, patch_filters):
        with pytest.raises(LensError, match="overlap or are worked on by several layers"):
            view(found)
