"""vitscope's own models, small."""

from __future__ import annotations

from functools import partial
from typing import Any

from healthy_case import Healthy

from vitscope.model.create import create_model

SIZES: dict[str, Any] = {"image_size": 32, "patch_size": 4, "dim": 48, "depth": 2, "heads": 4, "classes": 10}
SPECIMEN: dict[str, Any] = {"dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96}
TOKENIZER: dict[str, Any] = {"patch_embedding": "conv-tokenizer", "tokenizer_layers": 2}

SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mean": {"pooling": "mean"},
    "convolution, registers": {"patch_embedding": "conv", "registers": 3},
    "sincos, mean, post-norm": {"position": "sincos", "pooling": "mean", "norm": "post"},
    "rotary, norms of queries and keys": {"position": "rotary", "qk_norm": True},
    "tokenizer": TOKENIZER,
    "tokenizer, no position": {**TOKENIZER, "position": "none"},
    "layer scale, no biases": {"layer_scale": 1e-5, "qkv_bias": False, "activation": "silu"},
    "dropouts": {"dropout": 0.1, "stochastic_depth": 0.1, "patch_dropout": 0.25},
    "mimetic": {"init": "mimetic", "activation": "relu"},
    "published": {"init": "published", "activation": "gelu-tanh"},
    "one head, patches of 8": {"heads": 1, "patch_size": 8},
}
QUICK = ("rotary, norms of queries and keys", "tokenizer, no position")


def _case(name: str, model: str, quick: bool = False, **settings: Any) -> Healthy:
    return Healthy(f"vitscope: {name}", "vitscope", partial(create_model, model, **settings), quick=quick)


CASES = [
    *(_case(name, "vit-ti4-32", name in QUICK, **{**SIZES, **more}) for name, more in SWITCHES.items()),
    _case("good-vit", "good-vit", True, **SPECIMEN),
    _case("bad-vit:none", "bad-vit:none", **SPECIMEN),
]
