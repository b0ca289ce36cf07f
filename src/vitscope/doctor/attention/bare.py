"""Attentions that multiply values with the scores themselves: the softmax was forgotten. In go weights on a tape, out come findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.attention.weights import Weights
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed, part_of
from vitscope.lens.operations import factors
from vitscope.lens.tape import Tape

ALIKE = 1e-3
"""Norms that differ by less, as a part of their mean, were made alike."""
MISSING = Fault(
    "softmax-missing",
    "M7",
    "attention",
    "warning",
    Text(
        "A softmax turns scores into shares that sum to one. Without it they stay what they are, of either sign and of any size: what a token takes "
        "grows with the third power of the tokens and with their number, nothing is chosen among them, and training is slow or unstable.",
        "softmaxは、スコアを合計1の重みに変えるものです。なければスコアがそのまま重みになり、符号も大きさも制限されません。トークンが受け取る値はトークンの"
        "大きさの3乗とトークン数に比例して増え、どのトークンも選び出されず、学習が遅いか不安定になります。",
    ),
    Text(
        "take the softmax of the scores before they are multiplied with the values",
        "値（v）を掛ける前に、スコアのsoftmaxを取ってください",
    ),
    "attn = (q @ k.transpose(-2, -1) * head_dim**-0.5).softmax(dim=-1)",
    explains=("overfit",),
)


def softmax_missing(tape: Tape, found: Sequence[Weights]) -> Iterator[Finding]:
    """Weights that are queries times keys and a number, where nothing has been done to queries and keys that would take a softmax's place."""
    bare = [each for each in found if _are_the_scores(tape, each) and not _are_made_for_it(tape, each)]
    if bare:
        sums = torch.cat([each.of(tape.value(each.source)).sum(dim=-1).flatten() for each in bare if each.source])
        least, most, modules = float(sums.min()), float(sums.max()), [each.path for each in bare]
        yield MISSING.found(
            Text(
                f"There is no softmax between scores and values in {part_of(len(bare), len(found), 'attention')} ({listed(modules)}): twice the "
                f"scores are twice the weights, and what a token gives to all others sums to between {least:.3g} and {most:.3g} instead of 1. "
                "Where that is meant, as in linear attention, nothing is wrong.",
                f"{len(found)}個中{len(bare)}個のアテンションで、スコアと値（v）の間にsoftmaxがありません（{listed(modules)}）。スコアを2倍にすると重みも"
                f"2倍になり、1つのトークンが配る重みの合計は1ではなく{least:.3g}〜{most:.3g}です。線形アテンションのように意図した設計であれば、問題ありません。",
            ),
            {"lowest_sum": least, "highest_sum": most, "modules": modules},
        )


def _are_the_scores(tape: Tape, weights: Weights) -> bool:
    """Whether weights are in proportion to the scores, and are not divided by the number of tokens."""
    try:
        one, twice, turned = (weights.where_scores_are(tape, scale) for scale in (1.0, 2.0, -1.0))
    except (LensError, RuntimeError):
        return False
    if not bool(one.isfinite().all()) or not bool(one.any()):
        return False
    if not torch.allclose(twice, 2 * one, rtol=1e-6) or not torch.allclose(turned, -one, rtol=1e-6):
        return False
    size = float(one.std()) * one.shape[-1]
    return abs(size - 1) > 0.02


def _are_made_for_it(tape: Tape, weights: Weights) -> bool:
    """Whether queries or keys were made such that no softmax is needed: of one sign, or of one size along tokens or channels."""
    return any(_is_normed(tape.value(source)) for source in factors(weights.begins))


def _is_normed(x: Tensor) -> bool:
    if bool((x >= 0).all()):
        return True
    sizes = [x.norm(p=p, dim=dim) for p in (1, 2) for dim in (-1, -2)]
    return any(float(size.std()) < ALIKE * float(size.mean()) for size in sizes)
