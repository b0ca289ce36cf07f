"""Attention that tears tokens apart is named, in which block and what of it; what only folds, merges or shifts them is healthy."""

from __future__ import annotations

import pytest
import sick_torn
import torch
import torch.nn.functional as F
from einops import rearrange
from examined_sick import by_the_check_concerned
from sick_case import Case
from test_doctor_mixing import DIM, HEADS, SIDE, Attending, Forward, findings, full, merged, named
from torch import Tensor

NAMED = {
    "viewed-keys": ("rows-of-several-tokens", ["keys"]),
    "one-head-viewed-keys": ("rows-of-several-tokens", ["keys"]),
    "values-of-no-token": ("rows-of-several-tokens", ["values"]),
    "normed-viewed-keys": ("rows-of-several-tokens", ["keys"]),
    "one-head-back": ("heads-merged-across-tokens", ["output"]),
    "three-in-front": ("chunked-along-the-tokens", ["queries", "keys", "values"]),
    "chunked-tokens": ("chunked-along-the-tokens", ["queries", "keys", "values"]),
}


@pytest.mark.parametrize("case", sick_torn.CASES, ids=lambda case: case.name)
def test_what_is_torn_is_named(case: Case) -> None:
    found = by_the_check_concerned(case).findings
    assert [(each.id, each.evidence["of"]) for each in found] == [NAMED[case.name]]


def viewed_keys(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.heads(x)
    return merged(self, (q @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2]) / 4).softmax(-1) @ v)


def test_one_block_of_three_is_enough() -> None:
    (found,) = findings(full, viewed_keys, full)
    assert (found.id, found.severity) == ("rows-of-several-tokens", "error")
    assert found.evidence["modules"] == ["attns.1"]


def folded_queries(self: Attending, x: Tensor) -> Tensor:
    """One head of keys and values for all: the heads of the queries stand among the tokens."""
    q, (k, v) = self.heads(x)[0], (each[:, 0] for each in self.heads(x)[1:])
    weights = torch.einsum("bhnd,bmd->bhnm", q / 4, k).softmax(-1)
    return merged(self, torch.einsum("bhnm,bmd->bhnd", weights, v))


def heads_as_tokens(self: Attending, x: Tensor) -> Tensor:
    """Each head of each token is a token of its own, and all of them meet."""
    q, k, v = (each.reshape(len(x), -1, DIM // HEADS) for each in self.qkv(x).chunk(3, dim=-1))
    return self.out(F.scaled_dot_product_attention(q, k, v).reshape(x.shape))


def four_at_once(self: Attending, x: Tensor) -> Tensor:
    """Keys and values of four tokens each, side by side, and queries alike."""
    cut = "b (h p w q) (t c) -> t b (h w) (p q c)"
    q, k, v = rearrange(self.qkv(x), cut, h=SIDE // 2, w=SIDE // 2, p=2, q=2, t=3)
    y = F.scaled_dot_product_attention(q, k, v)
    return self.out(rearrange(y, "b (h w) (p q c) -> b (h p w q) c", h=SIDE // 2, p=2, q=2))


def shifted(self: Attending, x: Tensor) -> Tensor:
    """Half of the channels of keys and values come from the token before."""
    q, k, v = self.qkv(x).chunk(3, dim=-1)
    k, v = (torch.cat([each[..., : DIM // 2], each.roll(1, 1)[..., DIM // 2 :]], dim=-1) for each in (k, v))
    q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (q, k, v))
    return merged(self, F.scaled_dot_product_attention(q, k, v))


def across_channels(self: Attending, x: Tensor) -> Tensor:
    q, k, v = (each.mT for each in self.heads(x))
    weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1)
    return self.out((weights @ v).permute(0, 3, 1, 2).flatten(2))


def first_asks_the_rest(self: Attending, x: Tensor) -> Tensor:
    """Two groups of tokens share one projection: those in front ask, those behind answer."""
    y = self.out(x)
    front, behind = y[:, :4], y[:, 4:]
    told = F.scaled_dot_product_attention(front, behind, behind)
    return torch.cat([told, torch.zeros_like(behind)], dim=1)


@pytest.mark.parametrize(
    "run", [folded_queries, heads_as_tokens, four_at_once, shifted, across_channels, first_asks_the_rest]
)
def test_what_only_folds_merges_or_shifts_tokens_is_healthy(run: Forward) -> None:
    assert named(findings(full, run)) == []
