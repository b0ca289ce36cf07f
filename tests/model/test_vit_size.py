"""Parameters, FLOPs and activation memory in closed form against the built model."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, TINY
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitscope.model.attention import set_attention_path
from vitscope.model.create import build
from vitscope.model.presets import FAULTS, LISTED, spec_by_name
from vitscope.model.size import STAGES, size_of
from vitscope.model.spec import BadViTSpec, GoodViTSpec, ModelSpec, ViTSpec

SWITCHES: list[dict[str, Any]] = [
    {},
    {"patch_embedding": "conv"},
    {"patch_embedding": "conv-tokenizer", "patch_size": 2},
    {"patch_embedding": "conv-tokenizer", "patch_size": 4, "tokenizer_layers": 2},
    {"position": "sincos"},
    {"position": "none"},
    {"position": "rotary"},
    {"pooling": "mean"},
    {"registers": 3},
    {"registers": 3, "pooling": "mean", "position": "rotary"},
    {"qkv_bias": False},
    {"norm": "post"},
    {"mlp_dim": 20},
    {"mlp_ratio": 1.5},
    {"activation": "relu"},
    {"activation": "silu"},
    {"activation": "gelu-tanh"},
    {"qk_norm": True},
    {"layer_scale": 0.1},
    {"stochastic_depth": 0.2},
    {"dropout": 0.1},
    {"channels": 1},
    {"init": "published"},
]


def counted(model: nn.Module, spec: ModelSpec) -> tuple[int, int]:
    """Parameters and FLOPs of one image forward on the explicit path."""
    set_attention_path(model, "explicit")
    image = torch.zeros(1, spec.channels, *spec.image_size, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def kept_bytes(model: nn.Module, images: Tensor) -> float:
    """What autograd keeps of an image: unique storages, weights and buffers left out."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        out = model(images)
    del out
    return sum(storage.nbytes() for storage in kept.values()) / len(images)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_counts_as_the_built_model_does(switches: dict[str, Any]) -> None:
    spec = ViTSpec(**{**TINY, **switches})
    size = size_of(spec)
    assert (size.parameters, size.flops) == counted(build(spec), spec)


@pytest.mark.parametrize("name", LISTED)
def test_every_listed_preset_counts_as_the_built_model_does(name: str) -> None:
    spec = spec_by_name(name)
    with torch.device("meta"):
        model = build(spec)
    size = size_of(spec)
    assert (size.parameters, size.flops) == counted(model, spec)


@pytest.mark.parametrize(
    "spec",
    [GoodViTSpec(), GoodViTSpec(**SPECIMEN), BadViTSpec(fault="none"), BadViTSpec(**SPECIMEN, fault="no-residual")],
)
def test_specimens_count_as_built(spec: GoodViTSpec | BadViTSpec) -> None:
    size = size_of(spec)
    assert (size.parameters, size.flops) == counted(build(spec).train(), spec)


def test_all_faults_have_one_size() -> None:
    assert len({json.dumps(size_of(BadViTSpec(fault=fault)).to_dict()) for fault in FAULTS}) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["explicit", "fused"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"image_size": 32, "patch_size": 4, "dim": 64, "depth": 2, "heads": 2},
        {"image_size": (64, 32), "patch_size": 4, "dim": 96, "depth": 3, "heads": 3, "mlp_dim": 100},
        {"image_size": 48, "patch_size": 16, "dim": 128, "depth": 1, "heads": 8, "classes": 1000},
        *(
            {"image_size": 32, "patch_size": 4, "dim": 64, "depth": 2, "heads": 2, **s}
            for s in SWITCHES
            if "patch_size" not in s
        ),
    ],
    ids=str,
)
def test_activation_memory_is_what_autograd_keeps(sizes: dict[str, Any], path: Any) -> None:
    spec = ViTSpec(**{"classes": 10, **sizes})
    model = build(spec).train()
    set_attention_path(model, path)
    images = torch.randn(2, spec.channels, *spec.image_size)
    closed = getattr(size_of(spec), f"activation_bytes_{path}")
    assert closed == pytest.approx(kept_bytes(model, images), rel=0.02)


def test_activation_memory_of_a_tokenizer_and_of_the_good_specimen() -> None:
    for spec in (
        ViTSpec(
            image_size=16, patch_size=4, patch_embedding="conv-tokenizer", tokenizer_layers=2, dim=32, depth=1, heads=2
        ),
        GoodViTSpec(),
    ):
        images = torch.randn(2, 3, *spec.image_size)
        kept = kept_bytes(build(spec).train(), images)
        assert size_of(spec).activation_bytes_explicit == pytest.approx(kept, rel=0.1)


def test_stages_add_up_and_the_dictionary_is_plain() -> None:
    size = size_of(spec_by_name("vit-b16-224"))
    assert tuple(size.parameters_by_stage) == tuple(size.flops_by_stage) == STAGES
    assert sum(size.parameters_by_stage.values()) == size.parameters
    assert sum(size.flops_by_stage.values()) == size.flops
    assert json.loads(json.dumps(size.to_dict())) == size.to_dict()
    assert size.activation_bytes_fused < size.activation_bytes_explicit
