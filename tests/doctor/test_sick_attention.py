"""Each sick attention is scaled, or its softmax runs, as its mode says: axes, sums and ratios to many digits.

Scores and weights are read by a spy in place of softmax and SDPA; queries, keys and values come from the model's own
layers, which a table names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from sickness_experiments import CASES, built, images, of
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")


@contextmanager
def spied() -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The scores and the weights of every softmax and every SDPA that runs inside."""
    seen: list[tuple[Tensor, Tensor]] = []
    softmax, sdpa = torch.softmax, F.scaled_dot_product_attention

    def see_softmax(scores: Tensor, dim: int | None = None, **_: Any) -> Tensor:
        dim = (0 if scores.dim() in (0, 1, 3) else 1) if dim is None else dim
        seen.append((scores, softmax(scores, dim)))
        return seen[-1][1]

    def see_sdpa(q: Tensor, k: Tensor, v: Tensor, *args: Any, scale: float | None = None, **kwargs: Any) -> Tensor:
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        seen.append((scores, softmax(scores, -1)))
        return sdpa(q, k, v, *args, scale=scale, **kwargs)

    with (
        mock.patch.object(torch, "softmax", see_softmax),
        mock.patch.object(F, "softmax", see_softmax),
        mock.patch.object(Tensor, "softmax", see_softmax),
        mock.patch.object(F, "scaled_dot_product_attention", see_sdpa),
    ):
        yield seen


Projections = Callable[[Any, Tensor], tuple[Tensor, ...]]
ATTENTION: dict[str, Projections] = {
    "implicit-softmax": lambda a, x: a.qkv(x).chunk(3, -1),
    "query-softmax": lambda a, x: (a.toqueries(x), a.tokeys(x), a.tovalues(x)),
    "heads-last": lambda a, x: a.in_proj(x).chunk(3, -1),
    "head-list": lambda a, x: tuple(torch.cat([h.get_submodule(n)(x) for h in a.heads], -1) for n in HEAD_LIST),
    "unused-scale": lambda a, x: (a.q(x), a.k(x), a.v(x)),
    "unit-scale": lambda a, x: (a.to_q(x), *a.to_kv(x).chunk(2, -1)),
    "folded-heads": lambda a, x: tuple(F.linear(x, w) for w in a.weight),
    "full-dim-scale": lambda a, x: a.qkv(x).chunk(3, -1),
    "head-count-scale": lambda a, x: (a.queries(x), a.keys(x), a.values(x)),
    "head-count-scale-wide": lambda a, x: (a.queries(x), a.keys(x), a.values(x)),
    "embed-root": lambda a, x: (a.queries(x), a.keys(x), a.values(x)),
    "energy-then-scaling": lambda a, x: rearrange(a.qkv(x), "b n (hd k) -> k b n hd", k=3).unbind(0),
    "scaled-weights": lambda a, x: (a.wq(x), a.wk(x), a.wv(x)),
    "divided-probabilities": lambda a, x: (*a.qk_proj(x).chunk(2, -1), a.v_proj(x)),
    "divided-by-scale": lambda a, x: (a.query(x), a.key(x), a.value(x)),
    "root-scale": lambda a, x: a.to_qkv(x).chunk(3, -1),
    "scaled-queries": lambda a, x: tuple(a.maps[n](x) for n in "qkv"),
    "huge-mha": lambda a, x: F.linear(x, a.mha.in_proj_weight, a.mha.in_proj_bias).chunk(3, -1),
    "unit-normal-init": lambda a, x: (a.q(x), a.k(x), a.v(x)),
    "orthogonal-gain": lambda a, x: (x @ a.wq, x @ a.wk, x @ a.wv),
}
HEAD_LIST = ("query", "key", "value")
"""Queries, keys and values of a case's attention, heads still joined."""
OUT = {"implicit-softmax": "proj", "energy-then-scaling": "projection", "scaled-weights": "wo"}
OUT |= {"divided-probabilities": "c_proj", "scaled-queries": "maps.o", "unused-scale": "o"}


def first_attention(name: str) -> tuple[nn.Module, int, int, bool]:
    """The attention of the first block, width, heads, and whether the sequence stands first."""
    model = built(name)
    for path, sequence_first in (("blocks.0.attn", False), ("layers.0.1", False), ("attns.0", True)):
        try:
            attention: Any = model.get_submodule(path)
        except AttributeError:
            continue
        count = {"heads", "num_heads", "n_heads", "h"} & set(vars(attention))
        if name == "head-list":
            return attention, 32, 2, False
        width = {"ConvHost": 64, "LinearHost": 48, "RegisterHost": 64}[type(model).__name__]
        heads = attention.mha.num_heads if name == "huge-mha" else getattr(attention, count.pop())
        return attention, 96 if name == "head-count-scale-wide" else width, heads, sequence_first
    raise AssertionError(name)


def scale_ratio(name: str) -> float:
    """The scores against q·k/√d."""
    attention, width, heads, sequence_first = first_attention(name)
    x = torch.randn(64, 3, width, dtype=torch.double) if sequence_first else torch.randn(3, 64, width).double()
    with spied() as seen:
        attention(x)
    assert len(seen) == (heads if name == "head-list" else 1)
    scores = torch.stack([scores for scores, _ in seen])
    q, k, _ = (t.transpose(0, 1) if sequence_first else t for t in ATTENTION[name](attention, x))
    q, k = (rearrange(t, "b n (h d) -> b h n d", h=heads) for t in (q, k))
    return (scores.std() / (q @ k.mT / q.shape[-1] ** 0.5).std()).item()


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("unused-scale", 16**0.5),
        ("unit-scale", 24**0.5),
        ("folded-heads", 32**0.5),
        ("full-dim-scale", 4**-0.5),
        ("head-count-scale", (24 / 2) ** 0.5),
        ("head-count-scale-wide", (48 / 2) ** 0.5),
        ("embed-root", 4**-0.5),
        ("energy-then-scaling", 16**0.5),
        ("scaled-weights", 24**0.5),
        ("divided-probabilities", 32**0.5),
        ("divided-by-scale", 16.0),
        ("root-scale", 24.0),
        ("scaled-queries", 32.0),
        *[(case.name, 1.0) for case in CASES.values() if case.mode in {"M7", "I5"}],
    ],
)
def test_m8_m9_m10_m11_scale_of_the_scores(name: str, ratio: float) -> None:
    assert scale_ratio(name) == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "ran_over", "keys"),
    [("implicit-softmax", 1, 3), ("query-softmax", 2, 3), ("heads-last", 3, 2), ("head-list", 1, 2)],
)
def test_m7_weights_sum_to_one_over_the_wrong_axis(name: str, ran_over: int, keys: int) -> None:
    with spied() as seen:
        built(name)(images(name, 2))
    for _, weights in seen:
        assert torch.allclose(weights.sum(ran_over), weights.new_ones(()))
        assert (weights.sum(keys) - 1).abs().max() > 0.01
        assert weights.shape[keys] >= 64


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("energy-then-scaling", 64**-0.5),
        ("scaled-weights", 24**-0.5),
        ("divided-probabilities", 32**-0.5),
        ("unused-scale", 1.0),
        ("scaled-queries", 1.0),
    ],
)
def test_m10_equal_tokens_come_out_scaled(name: str, total: float) -> None:
    """Of equal tokens every average is the token's value, times whatever the weights sum to."""
    attention, width, _, sequence_first = first_attention(name)
    x = torch.randn(width).double().expand((64, 2, width) if sequence_first else (2, 64, width))
    averaged: list[Tensor] = []
    attention.get_submodule(OUT[name]).register_forward_pre_hook(lambda _, args: averaged.append(args[0]))
    attention(x)
    value = ATTENTION[name](attention, x)[2]
    if name == "energy-then-scaling":
        value = value.reshape_as(averaged[0])
    torch.testing.assert_close(averaged[0], value * total)


@of("I5")
def test_i5_attention_is_one_hot(name: str) -> None:
    with spied() as seen:
        built(name)(images(name, 2))
    for _, weights in seen:
        entropy = torch.special.entr(weights).sum(-1).mean() / math.log(weights.shape[-1])
        assert entropy < 0.15
        assert weights.amax(-1).median() > 0.9
