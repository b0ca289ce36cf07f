"""Mends of attention: scale, softmax, heads, patches reshaped in the middle of a forward; each gives the healthy twin's scores and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from mending_case import IMAGES, is_the_twin, mended_copy
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.examine import diagnose
from vitscope.race.repair import tried

pytestmark = pytest.mark.e2e  # whole examinations


class Fused(nn.Module):
    """Queries, keys and values of one product, heads as in timm."""

    def __init__(self, *, scale: float = 0.25, axis: int = -1, drop: float = 0.0) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.scale, self.axis, self.drop = scale, axis, drop

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 16).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=self.axis)
        return self.out((shares @ v).transpose(1, 2).reshape(x.shape))


class Summed(nn.Module):
    """Three products, einsum and a functional softmax."""

    def __init__(self, *, scale: float = 0.25, axis: int = -1) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.scale, self.axis = scale, axis

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (each(x).view(len(x), -1, 2, 16) for each in (self.q, self.k, self.v))
        shares = F.softmax(torch.einsum("bihd,bjhd->bhij", q, k) * self.scale, dim=self.axis)
        return self.out(torch.einsum("bhij,bjhd->bihd", shares, v).flatten(2))


class OfTorch(Fused):
    """torch's own operation, which scales itself; `times` stands before it."""

    def __init__(self, *, times: float = 1.0, own: float | None = None, drop: float = 0.0) -> None:
        super().__init__(drop=drop)
        self.times, self.own = times, own

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 16).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q * self.times, k, v, None, self.drop, scale=self.own)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Cut(Summed):
    """Heads by a view; `torn` where it cuts across tokens, and where it puts them back."""

    def __init__(self, *, torn: str = "") -> None:
        super().__init__()
        self.torn = torn

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        made = (each(x) for each in (self.q, self.k, self.v))
        if "cut" in self.torn:
            q, k, v = (each.view(batch, 2, count, 16) for each in made)
        else:
            q, k, v = (each.view(batch, count, 2, 16).transpose(1, 2) for each in made)
        mixed = (q @ k.transpose(-2, -1) * 0.25).softmax(-1) @ v
        if "merged" in self.torn:
            return self.out(mixed.reshape(batch, count, width))
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width))


class ViT(nn.Module):
    """Two blocks of attention and MLP with a mean at the end; `is_reshaped` where the forward itself reshapes the patches."""

    def __init__(
        self, attention: Callable[[], nn.Module] = Fused, *, is_reshaped: bool = False, has_place: bool = True
    ) -> None:
        super().__init__()
        self.patches, self.is_reshaped = nn.Conv2d(3, 32, 4, 4), is_reshaped
        self.place = nn.Parameter(torch.randn(1, 16, 32) * 0.02) if has_place else None
        self.attentions = nn.ModuleList(attention() for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(5))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        x = x.view(len(x), 16, 32) if self.is_reshaped else x.flatten(2).transpose(1, 2)
        if self.place is not None:
            x = x + self.place
        for number, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * number](x))
            x = x + mlp(self.norms[2 * number + 1](x))
        return self.head(self.norms[4](x).mean(1))


@pytest.mark.parametrize(
    ("sick", "sound", "fault"),
    [
        (lambda: Fused(scale=1.0), Fused, "attention-not-scaled"),
        (lambda: Summed(scale=1.0), Summed, "attention-not-scaled"),
        (lambda: OfTorch(own=1.0), OfTorch, "attention-not-scaled"),
        (lambda: Fused(scale=4.0), Fused, "scaled-by-the-reciprocal"),
        (lambda: OfTorch(times=0.25), OfTorch, "scaled-twice"),
        (lambda: Fused(axis=-2), Fused, "softmax-over-the-wrong-axis"),
        (lambda: Fused(axis=1), Fused, "softmax-over-the-wrong-axis"),
        (lambda: Summed(axis=2), Summed, "softmax-over-the-wrong-axis"),
    ],
)
def test_scores_are_scaled_and_shared_as_in_the_twin(
    sick: Callable[[], nn.Module], sound: Callable[[], nn.Module], fault: str
) -> None:
    is_the_twin(lambda: ViT(sick), lambda: ViT(sound), "attention", fault, tolerance=1e-5)


@pytest.mark.parametrize(
    ("torn", "fault"),
    [
        ("cut, merged", "heads-split-across-tokens"),
        ("cut", "heads-split-across-tokens"),
        ("merged", "heads-merged-across-tokens"),
    ],
)
def test_heads_are_cut_out_of_the_width_and_put_back_there(torn: str, fault: str) -> None:
    is_the_twin(lambda: ViT(lambda: Cut(torn=torn)), lambda: ViT(Cut), "token-mixing", fault)


def test_patches_that_the_model_s_own_forward_reshapes_are_put_in_order() -> None:
    is_the_twin(lambda: ViT(is_reshaped=True), ViT, "patch-layout", "patches-cut-wrong")


def test_torch_s_own_attention_drops_in_training_only() -> None:
    done = mended_copy(lambda: ViT(lambda: OfTorch(drop=0.3)), "determinism", "random-in-evaluation")
    trained = done.model.train()
    assert not torch.equal(trained(IMAGES), trained(IMAGES))


def test_without_a_table_there_is_nothing_to_add() -> None:
    model = ViT(has_place=False)
    finding = next(iter(diagnose(model, image_size=16, checks=["position"]).findings))
    assert finding.id == "position-blind"
    why = tried(model, finding, IMAGES)
    assert isinstance(why, Text)
    assert why.en.startswith("the model holds no table of positions")
    assert "表がモデルにありません" in why.ja
