"""All initialisation, one function, one table. In goes a freshly built ViT, out come its start values.

| what | `vit` | `published` |
|---|---|---|
| patch embedding, weight | normal, 1/√(fan in) | uniform ± 1/√(fan in) |
| tokenizer convolutions, weight | normal, √(2/(fan in)) | uniform ± 1/√(fan in) |
| query, key, value, weight | Xavier uniform, each a D×D matrix of its own | uniform ± 1/√(fan in) |
| attention output and MLP, weight | Xavier uniform | uniform ± 1/√(fan in) |
| head, weight | zero: the first loss is ln Y | uniform ± 1/√(fan in) |
| biases | zero | uniform ± 1/√(fan in) |
| position embedding | normal, 0.02 | normal, 1 |
| class token | zero | normal, 1 |
| registers | normal, 0.02 | normal, 1 |
| norms | weight 1, bias 0 | weight 1, bias 0 |
| LayerScale | `layer_scale` | `layer_scale` |

`vit` follows the ViT authors' code (google-research/vision_transformer, `vit_jax/models_vit.py`); there the patch embedding's normal
is cut at two deviations and the MLP's biases start from a normal of 1e-6, and tokenizer, registers and LayerScale do not occur.
`published` is the run behind the reference curve: PyTorch's default for every linear layer, a standard normal for position and class
token. `mimetic` is `vit`, but that each attention starts as attention ends up in trained ViTs: a token asks for tokens like itself, and
what it takes is subtracted (Trockman and Kolter 2023, "Mimetic Initialization of Self-Attention Layers", arXiv 2305.09828, section 4).
Its authors pair it with `position: sincos`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vitscope.model.spec import ViTSpec


@dataclass(frozen=True)
class Rule:
    """One row of the table: which parameters, from what distribution, with what standard deviation."""

    role: str
    pattern: str
    fill: Callable[[Tensor, int, int], object]
    std: Callable[[int, int], float]


def _uniform(
    bound: Callable[[int, int], float],
) -> tuple[Callable[[Tensor, int, int], object], Callable[[int, int], float]]:
    return (
        lambda p, fan_in, fan_out: nn.init.uniform_(p, -bound(fan_in, fan_out), bound(fan_in, fan_out)),
        lambda fan_in, fan_out: bound(fan_in, fan_out) / math.sqrt(3),
    )


def _normal(
    std: Callable[[int, int], float],
) -> tuple[Callable[[Tensor, int, int], object], Callable[[int, int], float]]:
    return lambda p, fan_in, fan_out: nn.init.normal_(p, 0.0, std(fan_in, fan_out)), std


def _constant(value: float) -> tuple[Callable[[Tensor, int, int], object], Callable[[int, int], float]]:
    return lambda p, *_: nn.init.constant_(p, value), lambda *_: 0.0


_XAVIER = _uniform(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)))
_TORCH = _uniform(lambda fan_in, _: 1 / math.sqrt(fan_in))

_NORMS = (
    Rule("norm weight", r"(.*_norm)\.weight", *_constant(1.0)),
    Rule("norm bias", r"(.*_norm)\.bias", *_constant(0.0)),
)


def rules(spec: ViTSpec) -> tuple[Rule, ...]:
    """The table for a spec; every parameter of a ViT matches exactly one row."""
    scale = Rule("LayerScale", r".*_residual\.0\.scale", *_constant(spec.layer_scale or 0.0))
    if spec.init == "published":
        tokens = _normal(lambda *_: 1.0)
        return (
            *_NORMS,
            scale,
            Rule("position embedding", r"position\.table", *tokens),
            Rule("class token", r"class_token\.token", *tokens),
            Rule("registers", r"registers\.tokens", *tokens),
            Rule("linear layers and convolutions", r"(?!.*_norm).*\.(weight|bias)", *_TORCH),
        )
    tokens = _normal(lambda *_: 0.02)
    if spec.patch_embedding == "conv-tokenizer":
        stem = Rule("tokenizer weight", r"patch_embedding\..*weight", *_normal(lambda fan_in, _: math.sqrt(2 / fan_in)))
    else:
        stem = Rule(
            "patch embedding weight", r"patch_embedding\..*weight", *_normal(lambda fan_in, _: 1 / math.sqrt(fan_in))
        )
    return (
        *_NORMS,
        scale,
        stem,
        Rule("query, key, value weight", r".*\.qkv\.weight", *_XAVIER),
        Rule("attention output and MLP weight", r".*\.(attention\.out|mlp\.\d)\.weight", *_XAVIER),
        Rule("head weight", r"head\.weight", *_constant(0.0)),
        Rule("bias", r"(?!.*_norm).*\.bias", *_constant(0.0)),
        Rule("position embedding", r"position\.table", *tokens),
        Rule("class token", r"class_token\.token", *_constant(0.0)),
        Rule("registers", r"registers\.tokens", *tokens),
    )


def rule_of(name: str, spec: ViTSpec) -> Rule:
    """The one row that a parameter's name matches.

    Raises:
        LookupError: no row or several; the table is then wrong.
    """
    found = [rule for rule in rules(spec) if re.fullmatch(rule.pattern, name)]
    if len(found) != 1:
        raise LookupError(f"parameter '{name}' matches {len(found)} rows of the initialisation table, expected one")
    return found[0]


def fans(name: str, model: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of the layer that a parameter belongs to; of `qkv`, those of one of its three matrices."""
    owner = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    weight = getattr(owner, "weight", None)
    if weight is None or weight.ndim < 2:
        return 1, 1
    fan_in, fan_out = weight[0].numel(), weight.shape[0]
    return fan_in, fan_out // 3 if ".qkv." in name else fan_out


@torch.no_grad()
def initialise(model: nn.Module, spec: ViTSpec) -> None:
    """Fills every parameter of a ViT by the table, from torch's global generator."""
    for name, parameter in model.named_parameters():
        rule_of(name, spec).fill(parameter, *fans(name, model))
    if spec.init == "mimetic":
        for name, layer in model.named_modules():
            if name.endswith(".attention"):
                mimic_trained(layer.qkv, layer.out, spec.heads)


def mimic_trained(qkv: nn.Linear, out: nn.Linear, heads: int) -> None:
    """Sets W_qᵀ W_k of each head, as nearly as its width allows, to 0.7 (Z + I) and W_out W_v to 0.4 (Z - I), Z normal with deviation 1/√D."""
    D = out.in_features
    E = D // heads
    for head in range(heads):
        ask, answer = _halves(_near_identity(D, 0.7, 0.7), rank=E)
        qkv.weight[head * E : (head + 1) * E] = ask.T
        qkv.weight[D + head * E : D + (head + 1) * E] = answer
    give, take = _halves(_near_identity(D, 0.4, -0.4), rank=D)
    out.weight.copy_(give)
    qkv.weight[2 * D :] = take


def _near_identity(D: int, noise: float, identity: float) -> Tensor:
    exact = torch.float32  # whatever the default is: decompositions know no bf16
    return noise * torch.randn(D, D, dtype=exact) / math.sqrt(D) + identity * torch.eye(D, dtype=exact)


def _halves(product: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors of equal size, D × rank and rank × D, whose product is the nearest of that rank."""
    U, S, V = torch.linalg.svd(product)
    root = S[:rank].sqrt()
    return U[:, :rank] * root, root[:, None] * V[:rank]
