"""A table of positions that is cut along the batch is one fault, told with the cut that was meant."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from healthy_hosts import Host
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


class Sinusoids(nn.Module):
    """torch's tutorial, whose tokens stand in front of the batch."""

    def __init__(self, dim: int, longest: int = 500) -> None:
        super().__init__()
        place, rate = torch.arange(longest)[:, None], torch.exp(torch.arange(0, dim, 2) * (-math.log(1e4) / dim))
        table = torch.zeros(longest, 1, dim)
        table[:, 0, 0::2], table[:, 0, 1::2] = (place * rate).sin(), (place * rate).cos()
        self.register_buffer("pe", table)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[: x.size(0)]  # type: ignore[index]


class Tutorial(Host):
    def prepare(self, dim: int) -> None:
        del self.pos_embed
        self.place = Sinusoids(dim)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return self.place(torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1))


class LookedUp(Host):
    """Rows of an `nn.Embedding`, counted along the wrong axis."""

    def prepare(self, dim: int) -> None:
        del self.pos_embed
        self.place = nn.Embedding(128, dim)

    def embed(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        return tokens + self.place(torch.arange(tokens.shape[0]))[:, None]


class Repeated(Host):
    """The row of each image, repeated for its tokens."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        return tokens + self.pos_embed[0, : len(x), None].repeat(1, tokens.shape[1], 1)


class SequenceFirst(nn.Module):
    """A table that stands with the batch in front, for tokens that do not."""

    def __init__(self, *, right: bool = False) -> None:
        super().__init__()
        self.stem, self.table, self.right = nn.Conv2d(3, 32, 4, 4), nn.Parameter(0.02 * torch.randn(1, 100, 32)), right
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
        self.fc = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).permute(2, 0, 1)
        x = x + (self.table[:, : x.size(0)].mT.permute(2, 0, 1) if self.right else self.table[:, : x.size(1)])
        return self.fc(self.layers(x).mean(0))


@pytest.mark.parametrize(
    ("build", "name", "code"),
    [
        (Tutorial, "place.pe", "self.pe[:, :x.size(1)]"),
        (LookedUp, "place.weight", "self.pe[:, :x.size(1)]"),
        (Repeated, "pos_embed", "self.pe[:, :x.size(1)]"),
        (SequenceFirst, "table", "self.pe[:x.size(0)]"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_one_finding_names_the_table_and_the_cut(build: Callable[[], nn.Module], name: str, code: str) -> None:
    torch.manual_seed(0)
    first, blind = diagnose(build(), image_size=32, checks=["batch-independence", "position"]).findings
    assert (first.id, first.severity, first.folded_under) == ("position-cut-along-the-batch", "error", None)
    assert (blind.id, blind.folded_under) == ("position-blind", first.id)
    assert "added for the place" not in blind.summary.en
    assert first.evidence["per_place"] == [name]
    assert code in first.fault.code


class SlotsOfAll(Host):
    """A row of each place in the batch, and of each token."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(torch.randn(64, 65, dim) / 2)

    def embed(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        return tokens + self.pos_embed[: len(x)]


class SlotsOfClassTokens(Host):
    def prepare(self, dim: int) -> None:
        self.cls_token = nn.Parameter(torch.randn(64, 1, dim))

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token[: len(x)], self.patch(x).flatten(2).mT], dim=1) + self.pos_embed


@pytest.mark.parametrize("build", [SlotsOfAll, SlotsOfClassTokens])
def test_other_rows_of_the_batch_are_told_as_such(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    (found,) = diagnose(build(), image_size=32, checks=["batch-independence", "position"]).findings
    assert found.id == "scores-by-place-in-the-batch"


def test_the_right_cut_is_left_alone() -> None:
    torch.manual_seed(0)
    assert diagnose(SequenceFirst(right=True), image_size=32, checks=["batch-independence", "position"]).findings == ()
