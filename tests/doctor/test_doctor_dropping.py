"""A drop path whose probability reaches 1 keeps its block from learning, though evaluation mode shows nothing of it (L11)."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from healthy_hosts import Block, Host
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations

Drop = Callable[[Tensor, float], Tensor]


def scaled(x: Tensor, p: float) -> Tensor:
    """timm's."""
    kept = x.new_empty(len(x), 1, 1).bernoulli_(1 - p)
    return x * (kept.div_(1 - p) if p < 1 else kept)


def compared(x: Tensor, p: float) -> Tensor:
    return x * (torch.rand(len(x), 1, 1) >= p).to(x.dtype)


def whole_batch(x: Tensor, p: float) -> Tensor:
    return 0 * x if random.random() < p else x


class DropBlock(Block):
    def __init__(self, drop: Drop, rates: Any, attention_only: bool = False) -> None:
        super().__init__()
        self.drop, self.p, self.attention_only = drop, next(rates), attention_only

    def dropped(self, x: Tensor) -> Tensor:
        return self.drop(x, self.p) if self.training and self.p else x

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropped(self.attn(self.norm1(x)))
        y = self.mlp(self.norm2(x))
        return x + (y if self.attention_only else self.dropped(y))


def examined(block: Callable[[], nn.Module]) -> Examination:
    torch.manual_seed(0)
    return diagnose(Host(block, depth=3), image_size=32, checks=["parameters"])


@pytest.mark.parametrize("drop", [scaled, compared, whole_batch])
@pytest.mark.parametrize("attention_only", [False, True])
def test_a_branch_that_is_dropped_each_time_is_found(drop: Drop, attention_only: bool) -> None:
    (found,) = examined(partial(DropBlock, drop, iter([0.0, 0.5, 1.0]), attention_only)).findings
    assert (found.severity, found.id) == ("error", "zero-gradient")
    assert found.evidence["whole_branches"] == ["blocks.2"]
    assert any("mlp" in name for name in found.evidence["matrices"]) == (not attention_only)
    assert "linspace(0, 0.1, depth)" in found.fault.code


@pytest.mark.parametrize("drop", [scaled, compared, whole_batch])
def test_one_that_comes_through_now_and_then_is_left_alone(drop: Drop) -> None:
    assert not examined(partial(DropBlock, drop, iter([0.0, 0.3, 0.6]))).findings


class TorchDropout(Block):
    """torch's own with a probability of 1, which the check `determinism` names."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.mlp(self.norm2(x))


class AsksForLabels(Block):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise TypeError("labels are needed")
        return super().forward(x)


@pytest.mark.parametrize("block", [TorchDropout, AsksForLabels])
def test_what_is_told_elsewhere_or_cannot_be_tried_is_not_told(block: type[nn.Module]) -> None:
    assert not examined(block).findings
