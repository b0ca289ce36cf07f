"""A read-out over the width is named, and told from a head or branches that start at zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, Block, Host, MeanHost, N
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def findings(model: nn.Module) -> list[Finding]:
    return list(diagnose(model, image_size=32, checks=["input-blindness", "position", "gradient"]).findings)


class OverTheWidth(nn.Module):
    """Tokens by a convolution; as many of them as the width is wide, so that the head fits."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 64, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 64, 64) * 0.02)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, 10)

    def read(self, x: Tensor) -> Tensor:
        return x.mean(-1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).mT + self.pos
        return self.head(self.read(self.norm(self.blocks(x))))


class Pooled(OverTheWidth):
    """The pooling layer of a convolutional network, which takes the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool1d(1)

    def read(self, x: Tensor) -> Tensor:
        return self.pool(x).flatten(1)


class Summed(Host):
    """Another number of tokens than channels, and a norm without factors, by hand."""

    def prepare(self, dim: int) -> None:
        self.norm, self.head = nn.Identity(), nn.Linear(1 + N, 10)

    def read(self, tokens: Tensor) -> Tensor:
        x = (tokens - tokens.mean(-1, keepdim=True)) / tokens.std(-1, keepdim=True)
        return self.head(x.sum(2) / DIM)


@pytest.mark.parametrize("build", [OverTheWidth, Pooled, Summed])
def test_a_mean_over_the_width_is_named(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    first, *rest = findings(build())
    assert (first.id, first.severity, first.folded_under) == ("read-out-over-the-width", "error", None)
    assert first.evidence["width"] == (DIM if build is Summed else 64)
    assert "averages over the width" in first.summary["en"]
    assert "幅の方向に平均" in first.summary["ja"]
    assert all(each.folded_under == first.id for each in rest)


@pytest.mark.parametrize("build", [OverTheWidth, Pooled])
def test_it_is_named_also_where_the_factors_of_the_norm_differ(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    nn.init.normal_(model.get_parameter("norm.weight"), mean=1.0, std=0.05)
    first = findings(model)[0]
    assert (first.id, first.severity) == ("read-out-over-the-width", "warning")
    assert "do not depend" not in first.summary["en"]


class OverTheTokens(OverTheWidth):
    def read(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Weighed(OverTheWidth):
    """Each token by its own mean over the width, beside the mean over tokens: of the scores, that is not all."""

    def read(self, x: Tensor) -> Tensor:
        return x.mean(1) * (1 + x.mean(-1)[:, :1])


@pytest.mark.parametrize("build", [OverTheTokens, Weighed])
def test_a_mean_over_the_tokens_is_none(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    assert findings(model) == []
    nn.init.normal_(model.get_parameter("norm.weight"), mean=1.0, std=0.05)
    assert findings(model) == []


class ZeroHead(MeanHost):
    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.classifier[1].weight)


class Rezero(Block):
    """Branches behind factors that start at zero: the class token hears of no patch at first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(DIM))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.a * self.attn(self.norm1(x))
        return x + self.b * self.mlp(self.norm2(x))


@pytest.mark.parametrize("build", [ZeroHead, lambda: Host(Rezero)])
def test_zeros_at_the_start_stay_a_note(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    (found,) = [each for each in findings(build()) if each.check == "input-blindness"]
    assert (found.id, found.severity) == ("scores-start-at-zero", "note")


class Lengths(OverTheWidth):
    """Each token's length, which is one, but for factors that start at one."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(64))

    def read(self, x: Tensor) -> Tensor:
        return (F.normalize(x, dim=-1) * self.factor).pow(2).sum(-1)


def test_no_zero_is_blamed_where_there_is_none() -> None:
    torch.manual_seed(0)
    found = findings(Lengths())[0]
    assert (found.id, found.severity) == ("scores-start-alike", "warning")
    assert "(sum)" in found.summary["en"]
    assert "starts at zero (the head" not in found.summary["en"]
