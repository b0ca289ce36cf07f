"""Blocks whose attention and MLP work side by side: without the tokens in the sum there is no skip (M18), with them there is."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, Block, Host, Split, mlp
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose


def examined(block: object, depth: int) -> Examination:
    torch.manual_seed(0)
    return diagnose(Host(block, depth=depth), image_size=32, checks=["residual"])  # type: ignore[arg-type]


class OneNorm(nn.Module):
    def __init__(self, has_skip: bool) -> None:
        super().__init__()
        self.has_skip, self.norm, self.attn, self.mlp = has_skip, nn.LayerNorm(DIM), Split(), mlp()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = self.attn(y) + self.mlp(y)
        return x + y if self.has_skip else y


class TwoNormsMlpFirst(Block):
    """The MLP, a gated one, stands first in the sum."""

    def __init__(self, has_skip: bool) -> None:
        super().__init__()
        self.has_skip, self.gate = has_skip, nn.Linear(DIM, 2 * DIM)
        self.up, self.down = nn.Linear(DIM, 2 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(x)
        y = self.down(F.silu(self.gate(y)) * self.up(y)) + self.attn(self.norm1(x))
        return y + x if self.has_skip else y


class OneProduct(nn.Module):
    """Queries, keys, values and the MLP's hidden layer by one product, and one product of both branches."""

    def __init__(self, has_skip: bool) -> None:
        super().__init__()
        self.has_skip, self.norm = has_skip, nn.LayerNorm(DIM)
        self.into, self.out = nn.Linear(DIM, 5 * DIM), nn.Linear(3 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        *heads, hidden = self.into(self.norm(x)).split([DIM, DIM, DIM, 2 * DIM], dim=-1)
        q, k, v = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in heads)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = self.out(torch.cat([y, F.gelu(hidden)], dim=-1))
        return x + y if self.has_skip else y


@pytest.mark.parametrize("depth", [3, 6])
@pytest.mark.parametrize("block", [OneNorm, TwoNormsMlpFirst, OneProduct])
def test_parallel_branches_without_the_tokens_have_no_skip(block: type[nn.Module], depth: int) -> None:
    found = examined(partial(block, False), depth).findings
    assert [each.id for each in found] == ["skip-missing"]
    assert found[0].evidence["attentions_without_skip"] == found[0].evidence["mlps_without_skip"] == list(range(depth))
    assert "self.attn(y) + self.mlp(y)" in found[0].fault.code


@pytest.mark.parametrize("block", [OneNorm, TwoNormsMlpFirst, OneProduct])
def test_with_the_tokens_they_have(block: type[nn.Module]) -> None:
    assert not examined(partial(block, True), 3).findings


def test_one_block_of_four_is_named() -> None:
    has_skip = iter([True, False, True, True])
    (found,) = examined(lambda: OneNorm(next(has_skip)), 4).findings
    assert (found.id, found.evidence["attentions_without_skip"]) == ("skip-missing", [1])
    assert "blocks.1" in found.summary.en


class Gated(OneNorm):
    """No bare tokens in the sum, but a gate that lets them by."""

    def __init__(self) -> None:
        super().__init__(True)
        self.gate = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        share = self.gate(y).sigmoid()
        return share * x + (1 - share) * (self.attn(y) + self.mlp(y))


class WeightedShortcut(Gated):
    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm(x)) + self.gate(x)
        return x + self.mlp(x)


@pytest.mark.parametrize("block", [Gated, WeightedShortcut])
def test_other_ways_round_the_branches_count(block: type[nn.Module]) -> None:
    assert not examined(block, 3).findings
