"""Small ViTs of four blocks, in one of which a branch is multiplied by zero or cut from the graph (I2): the others hide it."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch.nn.functional as F
from healthy_hosts import DIM, HEADS, Block, Host
from sick_case import Case
from torch import Tensor, nn

WHICH = 1


class Fused(nn.Module):
    """One matrix makes queries, keys and values; some of them may be cut from the graph."""

    cut: Literal["", "q", "k", "v", "v is k"] = ""

    def __init__(self, dim: int = DIM, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        parts = dict(zip("qkv", self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4), strict=True))
        if self.cut == "v is k":
            parts["v"] = parts["k"]
        elif self.cut:
            parts[self.cut] = parts[self.cut].detach()
        return self.out(F.scaled_dot_product_attention(*parts.values()).transpose(1, 2).flatten(2))


def third(cut: Literal["q", "k", "v", "v is k"]) -> nn.Module:
    model = Host(partial(Block, Fused), depth=4)
    model.blocks[WHICH].attn.cut = cut
    return model


class Weighed(Host):
    """Each block's branches are multiplied by constants, of which one is zero."""

    constants: tuple[float, float] = (0.0, 0.0)

    def encode(self, tokens: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            attention, mlp = self.constants if number == WHICH else (1.0, 1.0)
            tokens = tokens + attention * block.attn(block.norm1(tokens))
            tokens = tokens + mlp * block.mlp(block.norm2(tokens))
        return self.norm(tokens)


class WithoutMlp(Weighed):
    constants = (1.0, 0.0)


class WithoutAttention(Weighed):
    constants = (0.0, 1.0)


CASES: tuple[Case, ...] = (
    Case("one-mlp-times-zero", "I2", "parameters", "error", partial(WithoutMlp, depth=4)),
    Case("one-attention-times-zero", "I2", "parameters", "error", partial(WithoutAttention, depth=4)),
    Case("one-blocks-queries-detached", "I2", "parameters", "warning", partial(third, "q")),
    Case("one-blocks-values-detached", "I2", "parameters", "warning", partial(third, "v")),
    Case("one-blocks-keys-for-values", "I2", "parameters", "warning", partial(third, "v is k")),
)
