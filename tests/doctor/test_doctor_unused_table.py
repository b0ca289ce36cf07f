"""A position table that is held and never added is named; a layer's weight that only has its shape is not (M21)."""

from __future__ import annotations

import pytest
import torch
from healthy_hosts import DIM, Host, N
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


class NoPlaces(Host):
    """The mean of tokens without a position."""

    def prepare(self, dim: int) -> None:
        del self.pos_embed, self.cls_token

    def embed(self, x: Tensor) -> Tensor:
        return self.patch(x).flatten(2).mT

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class UnusedLinear(NoPlaces):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.old_embed = nn.Linear(48, N)


class UnusedConvolution(NoPlaces):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.local = nn.Conv1d(DIM, DIM, N)
        self.local.weight = nn.Parameter(torch.randn(DIM, N, DIM))


class UnusedTable(UnusedLinear):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.table = nn.Parameter(torch.randn(1, N, dim))


class UnusedEmbedding(UnusedLinear):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.table = nn.Embedding(N, dim)


def only(kind: type[nn.Module]) -> Finding:
    torch.manual_seed(0)
    (finding,) = diagnose(kind(), image_size=32, checks=["position"]).findings
    assert finding.id == "position-blind"
    return finding


@pytest.mark.parametrize("kind", [UnusedLinear, UnusedConvolution])
def test_a_layer_that_is_not_called_is_no_table(kind: type[nn.Module]) -> None:
    assert "nothing is added for the place" in only(kind).summary.en


@pytest.mark.parametrize(("kind", "name"), [(UnusedTable, "table"), (UnusedEmbedding, "table.weight")])
def test_a_table_is_named_beside_it(kind: type[nn.Module], name: str) -> None:
    assert f"; {name} is held and never added" in only(kind).summary.en
