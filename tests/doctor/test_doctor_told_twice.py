"""What is said of a parameter that a finding names as its cause is folded under it; what is said of others too stands by itself."""

from __future__ import annotations

import pytest
import torch
from healthy_hosts import Host, N
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole examinations


class NeverAdded(Host):
    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)


class NeverAddedBesideMore(NeverAdded):
    def prepare(self, dim: int) -> None:
        self.old_head = nn.Linear(dim, 10)


class FrozenZero(Host):
    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + N, dim), requires_grad=False)


class FrozenZeroCut(FrozenZero):
    """Cut to the tokens that there are, and another table of frozen zeros beside it."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.shift = nn.Parameter(torch.zeros(dim, dim), requires_grad=False)

    def embed(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        return tokens + self.pos_embed[:, : tokens.shape[1]]

    def read(self, tokens: Tensor) -> Tensor:
        return super().read(tokens + tokens @ self.shift)


class NormNotCalled(Host):
    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class NormAndHeadNotCalled(NormNotCalled):
    def prepare(self, dim: int) -> None:
        self.old_head = nn.Linear(dim, 10)


def found(kind: type[nn.Module]) -> tuple[Finding, ...]:
    torch.manual_seed(0)
    return diagnose(kind(), image_size=32, checks=["position", "residual", "parameters"]).findings


@pytest.mark.parametrize(
    ("kind", "cause", "other", "is_folded"),
    [
        (NeverAdded, "position-blind", "unused-parameters", True),
        (NeverAddedBesideMore, "position-blind", "unused-parameters", False),
        (FrozenZero, "position-blind", "frozen-zeros", True),
        (FrozenZeroCut, "position-blind", "frozen-zeros", False),
        (NormNotCalled, "final-norm-missing", "unused-parameters", True),
        (NormAndHeadNotCalled, "final-norm-missing", "unused-parameters", False),
    ],
)
def test_a_cause_is_told_once(kind: type[nn.Module], cause: str, other: str, is_folded: bool) -> None:
    by_id = {each.id: each for each in found(kind)}
    assert by_id[cause].folded_under is None
    assert by_id[other].folded_under == (cause if is_folded else None)


@pytest.mark.parametrize("kind", [FrozenZero, FrozenZeroCut])
def test_the_fix_for_frozen_zeros_lets_them_learn(kind: type[nn.Module]) -> None:
    blind = next(each for each in found(kind) if each.id == "position-blind")
    assert "(pos_embed) is all zeros, and frozen (requires_grad=False)" in blind.summary.en
    assert "requires_grad=False" in blind.summary.ja
    assert "requires_grad=False" in blind.fault.advice.en
    assert "trunc_normal_(self.pos_embed" in blind.fault.code
