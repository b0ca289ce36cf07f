"""Attention twice: fused (one kernel, no map) and explicit (the map is a tensor). Queries, keys and values in, mixed values out.

Both are the same function to rounding error (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1); which one is quicker depends on
device and length, so a block asks `attend` and `attend` decides, unless a path was set on the model.
"""

from __future__ import annotations

from typing import get_args

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope._core.suggest import did_you_mean
from vitscope.model.paths import AttentionPath, TakenPath, quicker_path
from vitscope.model.spec import ViTSpec


def fused_attention(
    q: Float[Tensor, "B K T E"], k: Float[Tensor, "B K T E"], v: Float[Tensor, "B K T E"]
) -> Float[Tensor, "B K T E"]:
    """softmax(q kᵀ / √E) v in one kernel."""
    return nn.functional.scaled_dot_product_attention(q, k, v)


def attention_map(q: Float[Tensor, "B K Tq E"], k: Float[Tensor, "B K T E"]) -> Float[Tensor, "B K Tq T"]:
    """softmax(q kᵀ / √E): row t says how much token t takes from each token; rows sum to one."""
    k = k.contiguous()  # or the product copies it turned, at three times the cost (docs/lab-notes.md, 2026-11-25)
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), dim=-1)


def explicit_attention(
    q: Float[Tensor, "B K Tq E"], k: Float[Tensor, "B K T E"], v: Float[Tensor, "B K T E"]
) -> Float[Tensor, "B K Tq E"]:
    """softmax(q kᵀ / √E) v with the map as a tensor; there may be fewer queries than tokens."""
    return attention_map(q, k) @ v


def split_heads(
    x: Float[Tensor, "B T D3"], heads: int
) -> tuple[Float[Tensor, "B K T E"], Float[Tensor, "B K T E"], Float[Tensor, "B K T E"]]:
    """Queries, keys and values of each head, from the output of one matrix for all three.

    They are taken apart along their own axis, so that the gradient is put together in the order in which it is needed: to put the three
    in front, as `three B K T E`, costs a training step on a CPU a tenth (docs/lab-notes.md, 2026-11-25).
    """
    q, k, v = rearrange(x, "B T (three K E) -> B T three K E", three=3, K=heads).unbind(dim=2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def attend(
    q: Float[Tensor, "B K T E"],
    k: Float[Tensor, "B K T E"],
    v: Float[Tensor, "B K T E"],
    path: AttentionPath = "auto",
) -> Float[Tensor, "B K T E"]:
    """Attention along the given path; `auto` takes the quicker one for this device, length and dtype."""
    if path == "auto":
        path = quicker_path(q.shape[-2], q.device.type, bf16=q.dtype == torch.bfloat16)
    return explicit_attention(q, k, v) if path == "explicit" else fused_attention(q, k, v)


def set_attention_path(model: nn.Module, path: str) -> None:
    """Sets the path of every attention of a plain ViT: `fused`, `explicit`, or `auto`, which gives the choice back.

    Raises:
        ModelError: no such path, or no attention in the model that has two (a specimen's has one).
    """
    paths: tuple[str, ...] = get_args(AttentionPath)
    if path not in paths:
        raise ModelError(f"no attention path '{path}'{did_you_mean(path, paths)}; there are: {', '.join(paths)}")
    attentions = [module for module in model.modules() if hasattr(module, "attention_path")]
    if not attentions:
        raise ModelError(
            f"{type(model).__name__} has no attention with a path to choose; give a plain ViT (create_model('vit-b16-224'))"
        )
    for module in attentions:
        setattr(module, "attention_path", path)  # noqa: B010  nn.Module types every attribute as a tensor or a module


def attention_of(model: nn.Module, device: str, *, bf16: bool) -> tuple[TakenPath, int] | None:
    """The path that a plain ViT's attention takes on a device, with queries in bf16 or not, and its tokens T; None for any other module."""
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ViTSpec):
        return None
    asked = {str(module.attention_path) for module in model.modules() if hasattr(module, "attention_path")}
    if asked == {"fused"}:
        return "fused", spec.tokens
    if asked == {"explicit"}:
        return "explicit", spec.tokens
    return quicker_path(spec.tokens, device, bf16=bf16), spec.tokens
