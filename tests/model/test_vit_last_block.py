"""The block that computes its class token alone gives the scores and the gradients of the whole one, and is put only where it does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, tiny
from torch import Tensor, nn

from vitscope.model.create import build
from vitscope.model.last_block import LastBlock, one_token_is_enough, quick_copy, read_class_token_only
from vitscope.model.specimens.spec import GoodViTSpec
from vitscope.model.vit import ViT

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


class Adapted(nn.Linear):
    """A linear layer with something of its own added, as adapters do it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


class Wrapped(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.block(x)


def adapt(model: ViT) -> None:
    model.blocks[-1].attention.qkv = Adapted(16, 48, dtype=torch.float64)


def wrap(model: ViT) -> None:
    model.blocks[-1] = Wrapped(model.blocks[-1])


def hook(model: ViT) -> None:
    model.blocks[-1].attention.register_forward_hook(lambda _, __, out: out + 1)


def replace_forward(model: ViT) -> None:
    mlp = model.blocks[-1].mlp
    plain = mlp.forward
    mlp.forward = lambda x: plain(x) + 1


@pytest.mark.parametrize("change", [adapt, wrap, hook, replace_forward])
def test_a_block_in_which_something_was_changed_is_kept(change: Callable[[ViT], None]) -> None:
    model = tiny()
    assert isinstance(model, ViT)
    change(model)
    assert not one_token_is_enough(model)
    quick = quick_copy(model, torch.float64)
    images = images_for(model.spec)
    assert torch.equal(quick(images), model(images))
