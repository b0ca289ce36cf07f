"""The block that computes its class token alone gives the scores and the gradients of the whole one, and is put only where it does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, tiny
from torch import nn

from vitscope.model.create import build
from vitscope.model.last_block import LastBlock, read_class_token_only
from vitscope.model.spec import GoodViTSpec

SWITCHES: list[dict[str, Any]] = [
    {},
    {"qkv_bias": False},
    {"qk_norm": True},
    {"registers": 2},
    {"layer_scale": 0.3},
    {"position": "sincos", "patch_embedding": "conv"},
    {"position": "none", "depth": 1},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_scores_and_gradients_are_those_of_the_whole_block(switches: dict[str, Any]) -> None:
    whole = tiny(**switches)
    quick = copy.deepcopy(whole)
    assert read_class_token_only(quick)
    images = images_for(whole.spec)
    scores = [model(images) for model in (whole, quick)]
    assert torch.allclose(*scores, atol=1e-12)
    for each in scores:
        (each * torch.arange(5.0, dtype=torch.float64)).sum().backward()
    for one, other in zip(whole.parameters(), quick.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-11)


def test_the_last_block_gives_one_token() -> None:
    model = tiny()
    assert read_class_token_only(model)
    seen: list[tuple[int, ...]] = []
    model.blocks[-1].register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape)))
    model(images_for(model.spec))
    assert seen == [(3, 1, 16)]


@pytest.mark.parametrize(
    "model",
    [tiny(pooling="mean"), tiny(norm="post"), tiny(position="rotary"), build(GoodViTSpec(**SPECIMEN)), nn.Linear(2, 2)],
    ids=["mean", "post-norm", "rotary", "specimen", "foreign"],
)
def test_other_models_are_left_as_they_are(model: nn.Module) -> None:
    assert not read_class_token_only(model)
    assert not any(isinstance(module, LastBlock) for module in model.modules())
