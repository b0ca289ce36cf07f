"""The plain ViT against its formula: each forward once more, written flat, from the weights and the spec alone, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_vits import images_for, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from vitscope.model.vit import ViT

ACTIVATION = {
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "gelu-tanh": lambda x: x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
}
SWITCHES: list[dict[str, Any]] = [
    {},
    {"patch_embedding": "conv", "position": "sincos", "qkv_bias": False, "activation": "gelu-tanh", "registers": 1},
    {"patch_embedding": "conv-tokenizer", "pooling": "mean", "registers": 2, "activation": "relu", "layer_scale": 0.5},
    {"patch_embedding": "conv-tokenizer", "tokenizer_layers": 2, "position": "sincos", "norm_eps": 0.01},
    {"patch_embedding": "conv-tokenizer", "tokenizer_layers": 2, "tokenizer_widths": (20,)},
    {"position": "rotary", "qk_norm": True, "registers": 1, "activation": "silu"},
    {"position": "rotary", "pooling": "mean", "heads": 1},
    {"norm": "post", "position": "none", "layer_scale": 0.5, "mlp_dim": 20, "qk_norm": True},
]


def mark(x: Tensor) -> Tensor:
    """Stands for a dropout: no part commutes with it, so its place shows."""
    return x + torch.sin(3 * x)


def embedding(w: dict[str, Tensor], spec: Any, images: Tensor) -> Tensor:
    (ph, pw), (rows, columns) = spec.patch_size, spec.grid
    if spec.patch_embedding == "linear":
        cut = images.view(len(images), -1, rows, ph, columns, pw).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        return cut @ w["patch_embedding.1.weight"].T + w["patch_embedding.1.bias"]
    if spec.patch_embedding == "conv":
        grid = F.conv2d(images, w["patch_embedding.0.weight"], w["patch_embedding.0.bias"], stride=(ph, pw))
    else:
        grid = images
        for layer in range(spec.tokenizer_layers):
            grid = F.conv2d(grid, w[f"patch_embedding.{3 * layer}.weight"], padding=1).clamp(min=0)
            grid = F.max_pool2d(grid, 3, 2, padding=1)
    return grid.flatten(2).transpose(1, 2)


def sincos(spec: Any) -> Tensor:
    """The table, row by row, with zeros for a class token; fp32, as a model holds it."""
    quarter = spec.dim // 4
    rows = [[0.0] * spec.dim] * spec.class_token
    for n in range(spec.patches):
        column_and_row = divmod(n, spec.grid[1])[::-1]
        angles = [[place / 1e4 ** (i / quarter) for i in range(quarter)] for place in column_and_row]
        rows.append([f(angle) for of_side in angles for f in (math.sin, math.cos) for angle in of_side])
    return torch.tensor(rows, dtype=torch.float64).float().double()


def rotated(spec: Any, x: Tensor) -> Tensor:
    """Each pair of channels of a patch token as a complex number, turned by its angle: rows first, then columns."""
    quarter, prefix = spec.head_dim // 4, spec.tokens - spec.patches
    angles = [[0.0] * 2 * quarter] * prefix
    angles += [
        [place / 100 ** (i / quarter) for place in divmod(n, spec.grid[1]) for i in range(quarter)]
        for n in range(spec.patches)
    ]
    cos, sin = (f(torch.tensor(angles, dtype=torch.float64)).float().double() for f in (torch.cos, torch.sin))
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)
    return torch.view_as_real(turned).flatten(-2)


def formula(model: ViT, images: Tensor) -> Tensor:
    """The scores of a model whose dropouts are `mark`."""
    spec, w = model.spec, model.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(1, dtype=torch.float64))

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred**2).mean(-1, keepdim=True).add(spec.norm_eps).sqrt() * w[f"{name}.weight"]
            + w[f"{name}.bias"]
        )

    def attention(name: str, x: Tensor) -> Tensor:
        q, k, v = linear(f"{name}.qkv", x).unflatten(-1, (3, spec.heads, spec.head_dim)).permute(2, 0, 3, 1, 4)
        if spec.qk_norm:
            q, k = norm(f"{name}.query_norm", q), norm(f"{name}.key_norm", k)
        if spec.position == "rotary":
            q, k = rotated(spec, q), rotated(spec, k)
        weights = (q @ k.mT / spec.head_dim**0.5).exp()
        mixed = weights / weights.sum(-1, keepdim=True) @ v
        return mark(linear(f"{name}.out", mixed.transpose(1, 2).flatten(2)))

    def mlp(name: str, x: Tensor) -> Tensor:
        return mark(linear(f"{name}.3", mark(ACTIVATION[spec.activation](linear(f"{name}.0", x)))))

    x = embedding(w, spec, images)
    if spec.class_token:
        x = torch.cat([w["class_token.token"].expand(len(x), 1, -1), x], 1)
    x = x + {"learned": w.get("position.table"), "sincos": sincos(spec)}.get(spec.position, 0.0)
    if spec.registers:
        first = int(spec.class_token)
        x = torch.cat([x[:, :first], w["registers.tokens"].expand(len(x), -1, -1), x[:, first:]], 1)
    x = mark(x)
    for layer in range(spec.depth):
        for branch, kind in ((attention, "attention"), (mlp, "mlp")):
            name = f"blocks.{layer}.{kind}"
            scale = w.get(f"{name}_residual.0.scale", 1.0)
            if spec.norm == "pre":
                x = x + scale * branch(name, norm(f"{name}_norm", x))
            else:
                x = norm(f"{name}_norm", x + scale * branch(name, x))
    if spec.norm == "pre":
        x = norm("final_norm", x)
    return linear("head", x[:, 0] if spec.class_token else x[:, -spec.patches :].mean(1))


@pytest.mark.parametrize("path", ["explicit", "fused"])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_the_forward_is_its_formula(switches: dict[str, Any], path: str) -> None:
    model = tiny(**{"norm_eps": 0.3, **switches})  # large enough to matter wherever a norm stands
    for block in model.blocks:
        block.attention.attention_path = path
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _m, _i, out: mark(out))
    images = images_for(model.spec)
    with torch.no_grad():
        assert torch.allclose(model(images), formula(model, images), atol=1e-9, rtol=0)
