"""A picture that fades from layer to layer is told as that, not as one that is cut off; what follows is folded beneath."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from healthy_hosts import DIM, Host, MeanHost, Split
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations


class Squeezed(nn.Module):
    """Attention and sigmoids one behind the other, and nothing round them."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Split(DIM, 4)
        self.mlp = nn.Sequential(nn.Linear(DIM, DIM), nn.Sigmoid(), nn.Linear(DIM, DIM), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.attn(x))


class Sigmoids(Host):
    def __init__(self) -> None:
        super().__init__(Squeezed, depth=8)


class SmallAndBare(nn.Module):
    """Weights of 0.01 and large biases, and no skip."""

    def __init__(self, depth: int = 8, *, skips: bool = False) -> None:
        super().__init__()
        self.stem, self.skips = nn.Conv2d(3, 32, 4, 4), skips
        self.place = nn.Parameter(torch.randn(64, 32))
        self.attentions = nn.ModuleList(nn.MultiheadAttention(32, 2, batch_first=True) for _ in range(depth))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 32)) for _ in range(depth))
        for p in (*self.attentions.parameters(), *self.mlps.parameters()):
            nn.init.trunc_normal_(p, std=0.01 if p.ndim > 1 else 0.5)
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).mT + self.place
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            y = attention(x, x, x, need_weights=False)[0]
            x = x + y if self.skips else y
            x = x + mlp(x) if self.skips else mlp(x)
        return self.fc(x.mean(1))


@pytest.mark.parametrize("build", [Sigmoids, SmallAndBare])
def test_a_picture_that_fades_is_told_first_and_as_that(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    found = diagnose(build(), image_size=32, checks=["input-blindness", "residual", "gradient"])
    first = found.findings[0]
    assert (first.id, first.severity) == ("picture-fades-on-the-way", "error")
    assert "no residual connection in 8 of 8 blocks" in first.summary.en
    assert {each.folded_under for each in found.findings[1:]} == {first.id}
    assert "skip-missing" in [each.id for each in found.findings]


class Overwritten(Host):
    def read(self, tokens: Tensor) -> Tensor:
        return self.head(torch.zeros_like(tokens[:, 0]))


def test_what_is_cut_off_at_once_does_not_fade() -> None:
    torch.manual_seed(0)
    found = diagnose(Overwritten(), image_size=32, checks=["input-blindness"])
    assert [each.id for each in found.findings] == ["image-never-reaches-the-scores"]


@pytest.mark.parametrize("build", [MeanHost, lambda: SmallAndBare(skips=True)])
def test_what_is_carried_past_does_not_fade(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert diagnose(build(), image_size=32, checks=["input-blindness"]).findings == ()
