"""Attention twice: fused (one kernel, no map) and explicit (the map is a tensor). Queries, keys and values in, mixed values out.

Both are the same function to rounding error (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1); which one is quicker depends on
device and length, so a block asks `attend` and `attend` decides, unless a path was set on the model.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

AttentionPath = Literal["auto", "fused", "explicit"]

# On a CPU the fused kernel loses to two batched products and a softmax while the maps fit the caches (docs/lab-notes.md, 2026-11-23).
EXPLICIT_TOKENS_ON_CPU = 256


def fused_attention(
    q: Float[Tensor, "B K T E"], k: Float[Tensor, "B K T E"], v: Float[Tensor, "B K T E"]
) -> Float[Tensor, "B K T E"]:
    """softmax(q kᵀ / √E) v in one kernel."""
    return nn.functional.scaled_dot_product_attention(q, k, v)


def attention_map(q: Float[Tensor, "B K T E"], k: Float[Tensor, "B K T E"]) -> Float[Tensor, "B K T T"]:
    """softmax(q kᵀ / √E): row t says how much token t takes from each token; rows sum to one."""
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), dim=-1)


def explicit_attention(
    q: Float[Tensor, "B K T E"], k: Float[Tensor, "B K T E"], v: Float[Tensor, "B K T E"]
) -> Float[Tensor, "B K T E"]:
    """softmax(q kᵀ / √E) v with the map as a tensor."""
    return attention_map(q, k) @ v


def attend(
    q: Float[Tensor, "B K T E"],
    k: Float[Tensor, "B K T E"],
    v: Float[Tensor, "B K T E"],
    path: AttentionPath = "auto",
) -> Float[Tensor, "B K T E"]:
    """Attention along the given path; `auto` takes the quicker one for this device and length."""
    if path == "auto":
        path = "explicit" if q.device.type == "cpu" and q.shape[-2] <= EXPLICIT_TOKENS_ON_CPU else "fused"
    return explicit_attention(q, k, v) if path == "explicit" else fused_attention(q, k, v)


def set_attention_path(model: nn.Module, path: AttentionPath) -> None:
    """Sets the path of every attention of a vitscope ViT; `auto` gives the choice back."""
    for module in model.modules():
        if hasattr(module, "attention_path"):
            setattr(module, "attention_path", path)  # noqa: B010  nn.Module types every attribute as a tensor or a module
