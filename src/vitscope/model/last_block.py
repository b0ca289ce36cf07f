"""The last block of a ViT that reads its class token, for that token alone: no one looks at the other rows of its output.

In goes a model, in place of whose last block stands one that gives B 1 D instead of B T D: the same scores and the same gradients for
four fifths of a block less (with dropout other draws of the same law). It is for a private copy that only has to give scores quickly,
since a block's output is cut by it.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.attention import explicit_attention
from vitscope.model.parts import Attention, PreNormBlock
from vitscope.model.vit import ViT

_STATELESS = {
    f"torch.nn.modules.{room}"
    for room in ("activation", "container", "conv", "dropout", "flatten", "linear", "normalization", "pooling")
}


class LastBlock(nn.Module):
    """A pre-norm block's own parts, put to work on the class token: B T D -> B 1 D."""

    def __init__(self, block: PreNormBlock) -> None:
        super().__init__()
        self.attention_norm, self.attention = block.attention_norm, block.attention
        self.attention_residual = block.attention_residual
        self.mlp_norm, self.mlp, self.mlp_residual = block.mlp_norm, block.mlp, block.mlp_residual

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B 1 D"]:
        read = x[:, :1] + self.attention_residual(asked_by_class_token(self.attention, self.attention_norm(x)))
        return read + self.mlp_residual(self.mlp(self.mlp_norm(read)))


def asked_by_class_token(attention: Attention, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B 1 D"]:
    """What an attention gives for the first token: one query, all keys and values."""
    D, weight, bias = x.shape[-1], attention.qkv.weight, attention.qkv.bias
    biases = (None, None) if bias is None else (bias[:D], bias[D:])
    q = rearrange(F.linear(x[:, :1], weight[:D], biases[0]), "B T (K E) -> B K T E", K=attention.heads)
    kv = rearrange(F.linear(x, weight[D:], biases[1]), "B T (two K E) -> B T two K E", two=2, K=attention.heads)
    k, v = (each.transpose(1, 2) for each in kv.unbind(dim=2))
    mixed = explicit_attention(attention.query_norm(q), attention.key_norm(k), v)
    return attention.dropout(attention.out(rearrange(mixed, "B K T E -> B T (K E)")))


def is_as_built(model: nn.Module) -> bool:
    """Whether a model consists of vitscope's own parts and torch's plain layers, unchanged since: nothing put in their place or around
    them, no hooks, no layer that keeps statistics. Only then is what its parts would do known without calling them."""
    return all(_is_plain(module) for module in model.modules())


def _is_plain(module: nn.Module) -> bool:
    home = type(module).__module__
    ours = home.startswith(("vitscope.model.", "einops.")) or home in _STATELESS
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return ours and not any(hooks) and "forward" not in vars(module)


def one_token_is_enough(model: nn.Module) -> bool:
    """Whether a `LastBlock` would leave a model's scores as they are: in a pre-norm ViT, as it was built, that reads its class token.
    With rotary positions the query would have to be turned by its place, which is left alone."""
    if not isinstance(model, ViT) or not is_as_built(model):
        return False
    spec = model.spec
    return spec.norm == "pre" and spec.class_token and spec.position != "rotary"


def read_class_token_only(model: nn.Module) -> bool:
    """Puts a `LastBlock` in the place of a model's last block where one token is enough, and says whether it did."""
    if not one_token_is_enough(model):
        return False
    assert isinstance(model, ViT)
    last = model.blocks[-1]
    assert isinstance(last, PreNormBlock)
    model.blocks[-1] = LastBlock(last)
    return True


def quick_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A private copy in another dtype, for scores alone: its last block may give one token only."""
    worker = copy.deepcopy(model).to(dtype)
    read_class_token_only(worker)
    return worker
