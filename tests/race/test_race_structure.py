"""The parts of a block, in whatever idiom they are written: biases, MLPs and norms are read off the tape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitscope.race.comparing import compare
from vitscope.race.entrants import Entrant


class Weights(nn.Module):
    """A linear map as a product with bare weights, and a sum where it has a bias."""

    def __init__(self, width: int, to: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, to) * 0.1)
        self.bias = nn.Parameter(torch.zeros(to)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.weight
        return x if self.bias is None else x + self.bias


class SwiGLU(nn.Module):
    """The gate and what it gates, of one product or of two."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.inward = nn.ModuleList([nn.Linear(32, 128)] if fused else [nn.Linear(32, 64), nn.Linear(32, 64)])
        self.outward = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        halves = [half for linear in self.inward for half in linear(x).split(64, dim=-1)]
        return self.outward(nn.functional.silu(halves[0]) * halves[1])


class ByHand(nn.Module):
    """SiLU as a product of the same numbers, which is no gate."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class RootMeanSquare(nn.Module):
    """A norm written out."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6)


def wide(act: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), act(), nn.Linear(64, 32))


class ViT(nn.Module):
    """Two blocks of attention and MLP, with exchangeable parts."""

    def __init__(
        self,
        *,
        qkv: Callable[[], nn.Module] = lambda: nn.Linear(32, 96),
        mlp: Callable[[], nn.Module] = lambda: wide(nn.GELU),
        norm: Callable[[], nn.Module] = lambda: nn.LayerNorm(32),
    ) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 4, 32) * 0.02)
        self.parts = nn.ModuleList(nn.ModuleList([norm(), qkv(), nn.Linear(32, 32), norm(), mlp()]) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for one, qkv, out, two, mlp in self.parts:
            q, k, v = qkv(one(x)).reshape(len(x), 4, 3, 2, 16).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-2, -1) / 4).softmax(-1) @ v
            x = x + out(mixed.transpose(1, 2).reshape(x.shape))
            x = x + mlp(two(x))
        return self.head(x.mean(1))


def side_by_side(one: Callable[[], nn.Module], other: Callable[[], nn.Module]) -> dict[str, tuple[str, str, str]]:
    found = compare(Entrant("one", one), Entrant("other", other), image_size=8, checks=["output"])
    return {row.role.en: (row.one.en, row.other.en, row.matters.en) for row in found.rows}


def test_a_bias_that_is_added_by_itself_is_one() -> None:
    rows = side_by_side(
        lambda: ViT(qkv=lambda: Weights(32, 96, bias=True)), lambda: ViT(qkv=lambda: Weights(32, 96, bias=False))
    )
    one, other, matters = rows["bias of q, k, v"]
    assert (one, other) == ("with bias", "without bias")
    assert "192 parameters" in matters
    assert side_by_side(ViT, lambda: ViT(qkv=lambda: Weights(32, 96, bias=True)))["bias of q, k, v"][2] == ""


def test_blocks_without_norms_are_not_called_pre_norm() -> None:
    one, other, matters = side_by_side(lambda: ViT(norm=nn.Identity), ViT)["norms of the blocks"]
    assert (one, other) == ("none", "before attention and MLP (pre-norm)")
    assert "without norms" in matters
    assert side_by_side(lambda: ViT(norm=RootMeanSquare), ViT)["norms of the blocks"][0] == other


@pytest.mark.parametrize(
    ("mlp", "words"),
    [
        (lambda: wide(nn.Mish), "32 → 64 → 32, mish"),
        (lambda: wide(nn.Softplus), "32 → 64 → 32, softplus"),
        (lambda: wide(lambda: nn.ReLU(inplace=True)), "32 → 64 → 32, relu"),
        (lambda: wide(ByHand), "32 → 64 → 32, sigmoid"),
        (lambda: wide(nn.Identity), "32 → 64 → 32, no activation"),
        (lambda: SwiGLU(fused=True), "32 → 64 → 32, gated, silu"),
        (lambda: SwiGLU(fused=False), "32 → 64 → 32, gated, silu"),
        (lambda: nn.Sequential(nn.Linear(32, 128), nn.GLU(), nn.Linear(64, 32)), "32 → 64 → 32, gated, glu"),
    ],
)
def test_an_mlp_says_its_widths_gate_and_activation(mlp: Callable[[], nn.Module], words: str) -> None:
    assert side_by_side(lambda: ViT(mlp=mlp), ViT)["MLP"][0] == words
