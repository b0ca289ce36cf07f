"""Branches that add something without weights to their own result: the skip is the sum round them, and it is not taken for one behind a norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, Block, Host, MeanHost, Split
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.lens.trace import trace

BYPASSES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "pooled": lambda x: F.avg_pool1d(x.mT, 3, 1, 1).mT,
    "largest": lambda x: F.max_pool1d(x.mT, 3, 1, 1).mT,
    "spectrum": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1), n=x.shape[1], dim=1),
    "mean": lambda x: x.mean(1, keepdim=True),
    "shifted": lambda x: x.roll(1, 1),
    "bent": F.gelu,
    "running mean": lambda x: x.cumsum(1) / torch.arange(1, x.shape[1] + 1).view(1, -1, 1),
    "two of them": lambda x: F.avg_pool1d(x.mT, 3, 1, 1).mT + x,
}


class Beside(nn.Module):
    """A branch, and what it adds to its own result."""

    def __init__(self, branch: nn.Module, bypass: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.branch, self.bypass = branch, bypass

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.bypass(x)


class BesideBoth(Block):
    def __init__(self, bypass: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.attn, self.mlp = Beside(self.attn, bypass), Beside(self.mlp, bypass)


class NormedStream(BesideBoth):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x)
        x = self.norm2(x)
        return x + self.mlp(x)


def found(model: nn.Module) -> list[tuple[str, str]]:
    return [(each.severity, each.id) for each in diagnose(model, image_size=32, checks=["residual"]).findings]


@pytest.mark.parametrize("name", BYPASSES)
def test_a_raw_skip_round_a_bypass_is_a_raw_skip(name: str) -> None:
    torch.manual_seed(0)
    model = Host(partial(BesideBoth, BYPASSES[name]), depth=3)
    assert found(model) == []
    traced = trace(model, torch.rand(3, 32, 32))
    with torch.no_grad():
        block, x = model.blocks[0], traced["with_position"][None]
        middle = x + block.attn(block.norm1(x))
        assert torch.allclose(traced["block00/after_attention"], middle[0], atol=1e-5)
        assert torch.allclose(traced["block00/after_mlp"], block(x)[0], atol=1e-5)


class PooledInside(Split):
    """The bypass joins the heads, and the output projection stands behind it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        mixed = (self.weights(self.scores(q, k)) @ v).transpose(1, 2).flatten(2)
        return self.out(mixed + F.avg_pool1d(x.mT, 3, 1, 1).mT)


def test_an_output_projection_may_stand_behind_the_bypass() -> None:
    torch.manual_seed(0)
    assert found(MeanHost(PooledInside, depth=3)) == []


class NormedEachTime(MeanHost):
    """The stream itself is normed, in a model of which the parts stand in lists of modules."""

    def __init__(self, bypass: Callable[[Tensor], Tensor]) -> None:
        super().__init__(depth=0)
        self.norms = nn.ModuleList(nn.RMSNorm(DIM) for _ in range(3))
        self.attends = nn.ModuleList(Beside(Split(), bypass) for _ in range(3))

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patch_embedding(F.unfold(img, 4, stride=4).mT) + self.place(self.ids)
        for norm, attend in zip(self.norms, self.attends, strict=True):
            x = norm(x)
            x = attend(x) + x
        return self.classifier(x.mean(dim=1))


@pytest.mark.parametrize("name", ["identity", "pooled", "bent"])
def test_a_normed_stream_is_found_whatever_the_branch_adds(name: str) -> None:
    torch.manual_seed(0)
    assert found(Host(partial(NormedStream, BYPASSES[name]), depth=3)) == [("warning", "skip-behind-the-norm")]


@pytest.mark.parametrize("name", ["identity", "pooled", "bent"])
def test_blocks_in_lists_are_traced_to_the_outer_sum(name: str) -> None:
    torch.manual_seed(0)
    model = NormedEachTime(BYPASSES[name])
    traced = trace(model, torch.rand(3, 32, 32))
    with torch.no_grad():
        x = model.norms[0](traced["with_position"][None])
        assert torch.allclose(traced["block00/after_attention"], (x + model.attends[0](x))[0], atol=1e-5)
