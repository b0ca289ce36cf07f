"""Weights that all start too large are one cause; what they lead to is folded beneath. Weights that are scaled in the forward are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, Block, Host, MeanHost, Split
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def findings(model: nn.Module) -> list[Finding]:
    found = diagnose(model, image_size=32, checks=["attention", "gradient", "initial-loss"]).findings
    return [each for each in found if each.id != "heads-too-narrow"]


class AllOfOne(Host):
    def prepare(self, dim: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight)


class EveryMatrix(MeanHost):
    """A loop over all parameters, as is often copied, with the wrong function."""

    def __init__(self) -> None:
        super().__init__()
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.uniform_(p, -2, 2)


@pytest.mark.parametrize("build", [AllOfOne, EveryMatrix])
def test_large_weights_are_the_cause_of_all_that_follows(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    first, *rest = findings(build())
    assert (first.id, first.severity, first.folded_under) == ("weights-start-too-large", "warning", None)
    assert "trunc_normal_(m.weight, std=0.02)" in first.fault.code
    assert "heads-collapsed" in [each.id for each in rest]
    assert {each.folded_under for each in rest} == {first.id}


class Scaled(nn.Linear):
    """Weights of one, divided by the root of the width in the forward (equalised learning rate)."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.in_features**-0.5, self.bias)


class Equalised(Split):
    def prepare(self, dim: int, heads: int) -> None:
        self.q, self.k, self.v, self.out = (Scaled(dim, dim) for _ in range(4))


class ScaledBlock(Block):
    def __init__(self) -> None:
        super().__init__(Equalised)
        self.mlp = nn.Sequential(Scaled(DIM, 2 * DIM), nn.GELU(), Scaled(2 * DIM, DIM))


class LargeHead(Host):
    def prepare(self, dim: int) -> None:
        nn.init.normal_(self.head.weight)


def test_weights_that_are_scaled_in_the_forward_are_left_alone() -> None:
    torch.manual_seed(0)
    assert findings(Host(ScaledBlock)) == []


def test_a_large_head_alone_is_told_as_that() -> None:
    torch.manual_seed(0)
    assert [each.id for each in findings(LargeHead())] == ["first-loss-too-high"]
