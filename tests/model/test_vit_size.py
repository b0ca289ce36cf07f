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
from vitscope.model.size import STAGES, activation_bytes, path_taken, size_of
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, ModelSpec

SWITCHES: list[dict[str, Any]] = [
    {},
    {"patch_embedding": "conv"},
    {"patch_embedding": "conv-tokenizer", "patch_size": 2},
    {"patch_embedding": "conv-tokenizer", "patch_size": 4, "tokenizer_layers": 2},
    {"patch_embedding": "conv-tokenizer", "patch_size": 4, "tokenizer_layers": 2, "tokenizer_widths": (24,)},
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
    {"patch_dropout": 0.5},
    {"patch_dropout": 0.25, "pooling": "mean", "registers": 2, "position": "sincos"},
    {"dropout": 0.1},
    {"channels": 1},
    {"init": "published"},
]


def counted(model: nn.Module, spec: ModelSpec) -> tuple[int, int]:
    """Parameters and FLOPs of one image forward on the explicit path."""
    if isinstance(spec, ViTSpec):
        set_attention_path(model.eval(), "explicit")
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


def test_activation_memory_of_a_tokenizer() -> None:
    spec = ViTSpec(
        image_size=16, patch_size=4, patch_embedding="conv-tokenizer", tokenizer_layers=2, dim=32, depth=1, heads=2
    )
    kept = kept_bytes(build(spec).train(), torch.randn(2, 3, 16, 16))
    assert size_of(spec).activation_bytes_explicit == pytest.approx(kept, rel=0.1)


@pytest.mark.parametrize("sizes", [{}, {"dropout": 0.0}, {"depth": 1}, {"image_size": 48, "heads": 2}], ids=str)
@pytest.mark.parametrize("kind", [GoodViTSpec, BadViTSpec])
def test_activation_memory_of_a_specimen_has_one_path(kind: Any, sizes: dict[str, Any]) -> None:
    spec = kind(**sizes, **({"fault": "none"} if kind is BadViTSpec else {}))
    kept = kept_bytes(build(spec).train(), torch.randn(2, 3, *spec.image_size))
    size = size_of(spec)
    assert size.activation_bytes_explicit == size.activation_bytes_fused == activation_bytes(spec)
    assert activation_bytes(spec) == pytest.approx(kept, rel=0.001)
    assert path_taken(spec, "cuda") == "explicit"


@pytest.mark.parametrize(("tokens", "path"), [(256, "explicit"), (257, "fused")])
def test_activation_memory_is_that_of_the_path_that_attention_takes(
    tokens: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    for name in ("fused", "explicit"):
        monkeypatch.setattr(f"vitscope.model.attention.{name}_attention", lambda q, k, v, n=name: taken.append(n) or v)
    spec = ViTSpec(image_size=32, patch_size=2, dim=16, depth=1, heads=1, pooling="mean", registers=tokens - 256)
    build(spec)(torch.zeros(1, 3, 32, 32))
    assert taken == [path]
    assert path_taken(spec) == path
    assert activation_bytes(spec) == getattr(size_of(spec), f"activation_bytes_{path}")
    assert path_taken(spec, "cuda") == "fused"
    assert activation_bytes(spec, "cuda") == size_of(spec).activation_bytes_fused


def test_activation_memory_elsewhere_than_on_a_cpu_has_masks_of_booleans() -> None:
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 4, "dim": 64, "depth": 2, "heads": 2, "mlp_dim": 100}
    masks = 65 * 64 + 2 * (65 * 64 + 65 * 100 + 65 * 64)
    without, on_cpu = (size_of(ViTSpec(**sizes, dropout=p)).activation_bytes_fused for p in (0.0, 0.1))
    assert on_cpu - without == 4 * masks
    assert activation_bytes(ViTSpec(**sizes, dropout=0.1), "cuda") - without == masks


@pytest.mark.parametrize(
    "spec", [GoodViTSpec(), BadViTSpec(fault="none"), ViTSpec(**TINY)], ids=lambda spec: type(spec).__name__
)
def test_bf16_halves_activation_memory_for_weights_of_bf16_only(spec: ModelSpec) -> None:
    model = build(spec).train()
    few, many = (torch.randn(n, 3, *spec.image_size) for n in (2, 6))
    whole = kept_bytes(model, few)
    with torch.autocast("cpu", torch.bfloat16):
        an_image = (6 * kept_bytes(model, many) - 2 * kept_bytes(model, few)) / 4  # without the copy of the weights
    assert 0.54 < an_image / whole < 0.62
    assert kept_bytes(model.bfloat16(), few.bfloat16()) / whole == pytest.approx(0.5, abs=0.01)


def test_stages_add_up_and_the_dictionary_is_plain() -> None:
    size = size_of(spec_by_name("vit-b16-224"))
    assert tuple(size.parameters_by_stage) == tuple(size.flops_by_stage) == STAGES
    assert sum(size.parameters_by_stage.values()) == size.parameters
    assert sum(size.flops_by_stage.values()) == size.flops
    assert json.loads(json.dumps(size.to_dict())) == size.to_dict()
    assert size.activation_bytes_fused < size.activation_bytes_explicit
