"""Groups of patches that no block lets meet: an error only where nothing behind the blocks lets them meet either."""

from __future__ import annotations

from typing import Any

import healthy_behind as behind
import pytest
import torch
from healthy_case import Healthy
from healthy_hosts import DIM, MeanHost, N, Split
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole examinations


def found(build: Any) -> list[Finding]:
    torch.manual_seed(0)
    return list(diagnose(build(), image_size=32, checks=["token-mixing", "patch-layout"]).findings)


def named(build: Any) -> list[tuple[str, str]]:
    return [(each.id, each.severity) for each in found(build)]


@pytest.mark.parametrize("case", behind.CASES, ids=lambda case: case.name)
def test_what_meets_behind_the_blocks_is_healthy(case: Healthy) -> None:
    assert named(case.build) == []


class Alone(Split):
    """Along an axis of length one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, 1, DIM)).view(x.shape)


class DeepHead(MeanHost):
    def __init__(self) -> None:
        super().__init__(Alone)
        self.classifier = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 64), nn.GELU(), nn.Linear(64, 10))


class FlatHead(behind.RowsOnly):
    """Each token has weights of its own in one linear map: what each says is added."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(N * dim, 10))

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens)


class LinearFourier(behind.RowsOnly):
    def encode(self, tokens: Tensor) -> Tensor:
        tokens = super().encode(tokens)
        return tokens + torch.fft.fft(tokens, dim=1).real / 8


class AveragedCrops(behind.Crops):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        del self.gate

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.encode(self.embed(self.quarters(x)))).unflatten(0, (-1, 4)).mean(dim=1)


@pytest.mark.parametrize(
    "build", [lambda: MeanHost(Alone), behind.RowsOnly, FlatHead, AveragedCrops], ids=["mean", "rows", "flat", "crops"]
)
def test_a_sum_of_what_each_group_says_is_an_error(build: Any) -> None:
    assert named(build) == [("patches-never-meet", "error")]


@pytest.mark.parametrize(("build", "how"), [(DeepHead, "pooled"), (LinearFourier, "linear")])
def test_a_deep_head_of_the_mean_or_a_linear_mixture_is_a_warning(build: Any, how: str) -> None:
    (only,) = found(build)
    assert (only.id, only.severity) == ("patches-never-meet", "warning")
    assert how in only.summary.en
