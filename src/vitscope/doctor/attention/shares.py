"""What the rows, columns and heads of attention maps sum to, and how they are spread. In go attentions, out come numbers."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope.lens.attention import Attention

SUM = 1e-3
"""How far a sum may be from what it is to be, beside that: maps are kept in single precision."""
Axis = Literal["queries", "heads", "length one"]


def constant_row_sum(map_: Float[Tensor, "K Tq T"]) -> float | None:
    """What every row of every head sums to, where that is one number."""
    sums = map_.double().sum(dim=-1)
    mean = float(sums.mean())
    return mean if float((sums - mean).abs().max()) <= SUM * abs(mean) else None


def wrong_axis(map_: Float[Tensor, "K Tq T"], heads: int) -> Axis | None:
    """Along which axis other than the keys the shares sum to one; None where along none."""
    shares = map_.double()
    if shares.numel() == 0 or not bool((shares >= 0).all()) or shares.shape[-1] < 2:
        return None
    if sum_to_one(shares):
        return "length one"
    if sum_to_one(shares.sum(dim=-1)):
        return None
    if shares.shape[-2] > 1 and sum_to_one(shares.sum(dim=-2)):
        return "queries"
    rows = len(shares)
    for together in (
        heads,
        *range(2, rows + 1),
    ):  # windows stand beside heads, and groups of heads that share their keys
        if together > 1 and rows % together == 0:
            beside = shares.view(-1, together, *shares.shape[1:]).sum(dim=1)
            if sum_to_one(beside) or sum_to_one(shares.view(together, -1, *shares.shape[1:]).sum(dim=0)):
                return "heads"
    return None


def sum_to_one(sums: Tensor) -> bool:
    """Whether all of some sums are one."""
    return float((sums - 1).abs().max()) <= SUM


def entropies(map_: Float[Tensor, "K Tq T"]) -> Float[Tensor, " K"]:
    """How spread each head's rows are, from 0 (one key has all) to 1 (all have the same), on average over its rows."""
    shares = map_.double()
    spread = -(shares * shares.clamp(min=1e-300).log()).sum(dim=-1).mean(dim=-1)
    return spread / log(shares.shape[-1])


def uniform_heads(attention: Attention) -> list[int]:
    """The heads whose queries or keys are exactly zero, so that all keys get the same share."""
    zero = (attention.q == 0).flatten(1).all(dim=1) | (attention.k == 0).flatten(1).all(dim=1)
    flat = (attention.map.amax(dim=(1, 2)) - attention.map.amin(dim=(1, 2))) < 1e-6
    if attention.map.shape[-1] < 2:
        return []
    return [int(head) for head in torch.nonzero(zero & flat).flatten()]
