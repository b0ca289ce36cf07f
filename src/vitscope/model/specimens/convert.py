"""Weights of the specimens as weights of the plain ViT, and back: state dict in, state dict out, renamed and nothing else.

The two printed models and `vit.py` share no code; that the same weights give the same scores in all of them is the proof that they
are the same function (`equivalent_vit` names the switches, and the faults that no switch is for).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vitscope._core.errors import ModelError
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, ModelSpec, printed_vit

# Specimen's name, plain ViT's name; # stands for the number of the block, and `weight` and `bias` follow where both exist.
_GOOD = (
    ("to_patch_embedding.1", "patch_embedding.1"),
    ("cls_token", "class_token.token"),
    ("pos_embedding", "position.table"),
    ("transformer.layers.#.0.norm", "blocks.#.attention_norm"),
    ("transformer.layers.#.0.fn.to_qkv", "blocks.#.attention.qkv"),
    ("transformer.layers.#.0.fn.to_out.0", "blocks.#.attention.out"),
    ("transformer.layers.#.1.norm", "blocks.#.mlp_norm"),
    ("transformer.layers.#.1.fn.net.0", "blocks.#.mlp.0"),
    ("transformer.layers.#.1.fn.net.3", "blocks.#.mlp.3"),
    ("mlp_head.0", "final_norm"),
    ("mlp_head.1", "head"),
)
_BAD = (
    ("patch_embed.proj", "patch_embedding.0"),
    ("cls_token", "class_token.token"),
    ("pos_embed", "position.table"),
    ("blocks.#.norm1", "blocks.#.attention_norm"),
    ("blocks.#.attn.in_proj_weight", "blocks.#.attention.qkv.weight"),
    ("blocks.#.attn.in_proj_bias", "blocks.#.attention.qkv.bias"),
    ("blocks.#.attn.out_proj", "blocks.#.attention.out"),
    ("blocks.#.norm2", "blocks.#.mlp_norm"),
    ("blocks.#.mlp.fc1", "blocks.#.mlp.0"),
    ("blocks.#.mlp.fc2", "blocks.#.mlp.3"),
    ("norm", "final_norm"),
    ("head", "head"),
)


def equivalent_vit(spec: ModelSpec) -> ViTSpec:
    """The plain ViT that gives the same scores as a specimen in evaluation; a `ViTSpec` is its own.

    `cls-detached` and `double-dropout` differ from `none` in training only; a position that is not added, or is zero, is no position.

    Raises:
        ModelError: the plain ViT has no switch for the fault.
    """
    vit = printed_vit(spec)
    if not isinstance(spec, BadViTSpec) or spec.fault in ("none", "cls-detached", "double-dropout"):
        return vit
    if spec.fault in ("no-position", "position-frozen-zero"):
        return vit.changed(position="none")
    raise ModelError(
        f"bad-vit:{spec.fault} has no equal: the plain ViT has no switch for this; take the weights of bad-vit:none"
    )


def specimen_to_vit(state: Mapping[str, Tensor], spec: GoodViTSpec | BadViTSpec) -> dict[str, Tensor]:
    """The state dict of `create_model(equivalent_vit(spec))`, which gives the specimen's scores.

    A position embedding that a fault never adds, or holds at zero, is left behind.

    Raises:
        ModelError: a bad-vit with a fault that the plain ViT has no switch for, or a weight that is not a specimen's.
    """
    without = _position_without_effect(spec)
    return _renamed({k: t for k, t in state.items() if k != without}, _names(spec), spec.name)


def vit_to_specimen(state: Mapping[str, Tensor], spec: GoodViTSpec | BadViTSpec) -> dict[str, Tensor]:
    """The state dict of the specimen that gives the scores of the plain ViT of `equivalent_vit(spec)`.

    A position embedding that a fault never adds, or holds at zero, is filled with zeros.

    Raises:
        ModelError: a bad-vit with a fault that the plain ViT has no switch for, or a weight that is not of such a plain ViT.
    """
    renamed = _renamed(state, [(plain, ours) for ours, plain in _names(spec)], "plain ViT")
    if without := _position_without_effect(spec):
        token = renamed["cls_token"]
        renamed[without] = torch.zeros(1, spec.patches + 1, spec.dim, dtype=token.dtype, device=token.device)
    return renamed


def _names(spec: GoodViTSpec | BadViTSpec) -> list[tuple[str, str]]:
    equivalent_vit(spec)  # raises where there is none
    return list(_GOOD if isinstance(spec, GoodViTSpec) else _BAD)


def _position_without_effect(spec: GoodViTSpec | BadViTSpec) -> str | None:
    return "pos_embed" if equivalent_vit(spec).position == "none" else None


def _renamed(state: Mapping[str, Tensor], names: list[tuple[str, str]], what: str) -> dict[str, Tensor]:
    patterns = [
        (re.compile(re.escape(old).replace(r"\#", r"(?P<block>\d+)") + r"(?P<kind>\.(weight|bias))?"), new)
        for old, new in names
    ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, new in patterns:
            if match := pattern.fullmatch(name):
                renamed[new.replace("#", match.groupdict().get("block") or "") + (match["kind"] or "")] = tensor
                break
        else:
            raise ModelError(f"weight '{name}' is not one of a {what}; give the state dict of the model that was named")
    return renamed
