"""What is passed to all blocks on purpose, and is no layer: tables of relative positions, what makes them, tokens (not M16)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, HEADS, SIDE, Block, Host, MeanHost, N, Split
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def found_in(model: nn.Module) -> list[Finding]:
    return [
        each for each in diagnose(model, image_size=32, checks=["parameters"]).findings if each.id == "shared-blocks"
    ]


def offsets() -> Tensor:
    """N N 2: how far one patch is from another, down and across, from 0."""
    side = torch.arange(SIDE)
    places = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1).reshape(N, 2)
    return places[:, None] - places + SIDE - 1


class Biased(Split):
    """One table of relative positions, by Swin's index."""

    def prepare(self, dim: int, heads: int) -> None:
        self.table = nn.Parameter(0.02 * torch.randn((2 * SIDE - 1) ** 2, heads))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        down, across = offsets().unbind(-1)
        return super().scores(q, k) + self.table[down * (2 * SIDE - 1) + across].permute(2, 0, 1)


class SharedTable(MeanHost):
    """BEiT's shared relative position bias."""

    def __init__(self) -> None:
        super().__init__(Biased, depth=3)
        for layer in self.layers:
            layer[1].table = self.layers[0][1].table


class TwoTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.across = nn.Embedding(2 * SIDE - 1, HEADS), nn.Embedding(2 * SIDE - 1, HEADS)

    def forward(self) -> Tensor:
        down, across = offsets().unbind(-1)
        return (self.down(down) + self.across(across)).permute(2, 0, 1)


class MadeByAnMlp(nn.Module):
    """Swin v2: what an MLP makes of the offsets, no token among them."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, HEADS))

    def forward(self) -> Tensor:
        weight = self.mlp[0].weight
        return self.mlp(offsets().to(weight.dtype)).permute(2, 0, 1)


class GivenBias(nn.Module):
    """A module of T5's kind that makes the bias, as the mask of the fused operation."""

    def __init__(self, bias: nn.Module) -> None:
        super().__init__()
        self.bias, self.qkv, self.out = bias, nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias()[None])
        return self.out(y.transpose(1, 2).flatten(2))


def with_bias(kind: type[nn.Module]) -> nn.Module:
    bias = kind()
    return MeanHost(lambda _dim, _heads: GivenBias(bias), depth=3)


class SharedRegisters(Host):
    """The same learned tokens beside the others in each block."""

    def prepare(self, dim: int) -> None:
        tokens = nn.Parameter(0.02 * torch.randn(1, 4, dim))
        for block in self.blocks:
            block.tokens = tokens

    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(torch.cat([tokens, block.tokens.expand(len(tokens), -1, -1)], dim=1))[:, :-4]
        return self.norm(tokens)


@pytest.mark.parametrize(
    "build", [SharedTable, lambda: with_bias(TwoTables), lambda: with_bias(MadeByAnMlp), SharedRegisters]
)
def test_what_is_multiplied_with_no_token_may_be_shared(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert not found_in(build())


class TiedQueries(Host):
    def prepare(self, dim: int) -> None:
        for block in self.blocks:
            block.attn.q.weight = self.blocks[0].attn.q.weight


class TableAndMatrix(SharedTable):
    def __init__(self) -> None:
        super().__init__()
        self.down[1].weight = self.down[0].weight


def one_block_for_all() -> nn.Module:
    block = Block()
    return Host(lambda: block)


@pytest.mark.parametrize("build", [TiedQueries, TableAndMatrix, one_block_for_all])
def test_what_is_multiplied_with_tokens_is_told(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    (finding,) = found_in(build())
    assert "table" not in finding.summary.en
