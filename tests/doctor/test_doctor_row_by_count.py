"""A table of positions that is read at the row of the batch size is named, with its fix; other uses of the batch size are not taken for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from healthy_hosts import DIM, Host, MeanHost, N
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole examinations


def findings(build: Callable[[], nn.Module]) -> list[Finding]:
    torch.manual_seed(0)
    return list(diagnose(build(), image_size=32, checks=["batch-independence", "position"]).findings)


class OneRow(Host):
    """The mean of the tokens, and what `place` gives added before the blocks."""

    def prepare(self, dim: int) -> None:
        self.pos = nn.Parameter(torch.randn(1, N, dim) * 0.02)
        del self.pos_embed, self.cls_token

    def place(self, x: Tensor) -> Tensor:
        return self.pos[:, x.shape[0]]

    def embed(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        return x + self.place(x)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class Zeros(OneRow):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        nn.init.zeros_(self.pos)


class Looked(OneRow):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        del self.pos
        self.rows = nn.Embedding(N, dim)

    def place(self, x: Tensor) -> Tensor:
        return self.rows(torch.tensor(len(x) - 1))


class Shifted(OneRow):
    """Each token has a row, of which the batch size says where they begin."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.pos = nn.Parameter(torch.randn(1, 2 * N, dim) * 0.02)

    def place(self, x: Tensor) -> Tensor:
        return self.pos[:, len(x) : len(x) + x.shape[1]]


class SequenceFirst(nn.Module):
    """The layers of torch as they are by default, and a table made for tokens in front."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(48, DIM)
        self.register_buffer("pe", torch.randn(N, DIM) * 0.02)
        layer = nn.TransformerEncoderLayer(DIM, 4, 96, 0.0, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.unfold(images, 4, stride=4).permute(2, 0, 1)
        x = self.patch(x)
        x = x + self.pe[x.size(1)]
        return self.head(self.norm(self.blocks(x)).mean(0))


@pytest.mark.parametrize(
    ("build", "table", "code"),
    [
        (OneRow, "pos", "self.pos[:, :x.shape[1]]"),
        (Zeros, "pos", "self.pos[:, :x.shape[1]]"),
        (Looked, "rows.weight", "self.rows(torch.arange(x.shape[1], device=x.device))"),
        (Shifted, "pos", "self.pos[:, :x.shape[1]]"),
        (SequenceFirst, "pe", "self.pe[:x.shape[0], None]"),
    ],
)
def test_the_table_is_named(build: Callable[[], nn.Module], table: str, code: str) -> None:
    first, *rest = findings(build)
    assert (first.id, first.severity, first.folded_under) == ("position-row-by-batch-size", "error", None)
    assert f"of {table} is added" in first.summary["en"]
    assert table in first.summary["ja"]
    assert code in first.fault.code
    assert [each.id for each in rest] == ([] if build is Shifted else ["position-blind"])
    assert all(each.folded_under == first.id for each in rest)


class Divided(OneRow):
    def place(self, x: Tensor) -> Tensor:
        return self.pos / len(x)


def test_a_table_that_is_divided_is_another_fault() -> None:
    assert [each.id for each in findings(Divided)] == ["scores-by-batch-size"]


class Cut(OneRow):
    def place(self, x: Tensor) -> Tensor:
        return self.pos[:, : x.shape[1]]


class CutZeros(Zeros):
    def place(self, x: Tensor) -> Tensor:
        return self.pos[:, : x.shape[1]]


@pytest.mark.parametrize("build", [Cut, CutZeros, Host, MeanHost])
def test_a_table_that_is_cut_along_the_tokens_is_none(build: Callable[[], nn.Module]) -> None:
    assert [each.id for each in findings(build) if each.id != "position-starts-at-zero"] == []


def test_a_layers_bias_is_no_vector_that_was_added_for_the_place() -> None:
    torch.manual_seed(0)
    found = diagnose(SequenceFirst(), image_size=32, num_classes=10, checks=["position"])
    assert [each.evidence.get("same_for_all_tokens") for each in found.findings] != ["patch.bias"]
