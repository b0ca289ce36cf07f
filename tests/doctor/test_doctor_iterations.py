"""A module that is called again and again on the same input, as Perceiver and slot attention do, is a note; one that works as a layer is not."""

from __future__ import annotations

from functools import partial
from typing import Any

import healthy_blocks as blocks
import pytest
import sick_sharing
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, Block, Host, mlp
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


class Cross(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM), nn.Linear(DIM, DIM)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (4, -1)).transpose(1, 2) for part in (self.q(latents), *self.kv(tokens).chunk(2, -1))
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Perceiver(Host):
    """One cross-attention, called in front of each block."""

    def prepare(self, dim: int) -> None:
        self.latents, self.cross = nn.Parameter(torch.randn(1, 16, dim)), Cross()

    def encode(self, tokens: Tensor) -> Tensor:
        latents = self.latents.expand(len(tokens), -1, -1)
        for block in self.blocks:
            latents = block(latents + self.cross(latents, tokens))
        return self.norm(latents)


class SlotAttention(Host):
    """Slots compete for the tokens three times, with one cell and one MLP (Locatello et al. 2020)."""

    def prepare(self, dim: int) -> None:
        self.slots = nn.Parameter(torch.randn(1, 5, dim))
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cell, self.refine = nn.GRUCell(dim, dim), mlp()

    def read(self, tokens: Tensor) -> Tensor:
        slots, keys, values = self.slots.expand(len(tokens), -1, -1), self.to_k(tokens), self.to_v(tokens)
        for _ in range(3):
            shares = torch.einsum("bnd,bsd->bns", keys, self.to_q(self.before(slots))).mul(DIM**-0.5).softmax(-1)
            shares = shares / shares.sum(1, keepdim=True)
            news = torch.einsum("bns,bnd->bsd", shares, values)
            slots = self.cell(news.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.refine(self.between(slots))
        return self.head(slots.mean(1))


class PartsCalledAgain(Host):
    """One attention and one MLP, each called by itself in every layer."""

    def prepare(self, dim: int) -> None:
        self.blocks, self.layer = nn.ModuleList(), Block()

    def encode(self, tokens: Tensor) -> Tensor:
        for _ in range(2):
            tokens = tokens + self.layer.attn(self.layer.norm1(tokens))
            tokens = tokens + self.layer.mlp(self.layer.norm2(tokens))
        return self.norm(tokens)


def severity(build: Any) -> list[str]:
    torch.manual_seed(0)
    found = diagnose(build(), image_size=32, checks=["parameters"]).findings
    assert all("Perceiver" in each.summary[language] for each in found for language in ("en", "ja")) == any(
        each.severity == "note" for each in found
    )
    return [each.severity for each in found if each.id == "shared-blocks"]


@pytest.mark.parametrize("build", [partial(Perceiver, depth=3), SlotAttention])
def test_an_input_that_is_read_again_and_again_is_a_note(build: Any) -> None:
    assert severity(build) == ["note"]


@pytest.mark.parametrize(
    "build", [PartsCalledAgain, partial(blocks.Albert, depth=1), *(case.build for case in sick_sharing.CASES[:3])]
)
def test_a_layer_that_is_called_again_is_a_warning(build: Any) -> None:
    assert severity(build) == ["warning"]
