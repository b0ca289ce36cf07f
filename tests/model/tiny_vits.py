"""Models and images small enough for a test of a few milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vitscope.model.create import build
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, ModelSpec
from vitscope.model.vit import ViT

TINY: dict[str, Any] = {"image_size": (8, 12), "patch_size": (2, 4), "dim": 16, "depth": 2, "heads": 2, "classes": 5}
SPECIMEN: dict[str, Any] = {**TINY, "mlp_dim": 24}


def tiny_spec(**switches: Any) -> ViTSpec:
    """A ViT of 4×3 patches, width 16; a conv-tokenizer gets the square patch that it needs."""
    if switches.get("patch_embedding") == "conv-tokenizer":
        switches = {"patch_size": 2 ** switches.get("tokenizer_layers", 1), **switches}
    return ViTSpec(**{**TINY, **switches})


def tiny(**switches: Any) -> ViT:
    """The model of `tiny_spec` in float64 and evaluation mode, with values that leave nothing at zero."""
    model = awake(tiny_spec(**switches))
    assert isinstance(model, ViT)
    return model


def specimen(spec: GoodViTSpec | BadViTSpec) -> nn.Module:
    return awake(spec)


def awake(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(0)
    model = build(spec).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def images_for(spec: ModelSpec, batch: int = 3, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, spec.channels, *spec.image_size, generator=generator, dtype=torch.float64)


def shuffled(images: Tensor, spec: ModelSpec, order: Tensor) -> Tensor:
    """The images with their patches in another order."""
    (rows, columns), (ph, pw) = spec.grid, spec.patch_size
    patches = rearrange(images, "B C (r p) (c q) -> B (r c) C p q", p=ph, q=pw)[:, order]
    return rearrange(patches, "B (r c) C p q -> B C (r p) (c q)", r=rows, c=columns)
