"""Heads that a model computes one by one, in a loop, as the one attention that they are. In go proved attentions, out come fewer.

So are attentions side by side whose branches come back in one sum: they are one with all their heads.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from vitscope.lens.attention import Attention
from vitscope.lens.blocks import comes_back
from vitscope.lens.flow import ancestors, projections, unviewed
from vitscope.lens.operations import NORMS
from vitscope.lens.tape import Tape


def with_heads_together(tape: Tape, attentions: tuple[Attention, ...]) -> tuple[Attention, ...]:
    """Attentions that work on the same tokens, none on what another gives, and come back to them in one sum, are heads of one."""
    groups: list[list[Attention]] = []
    for attention in attentions:
        if groups and _is_another_head(tape, groups[-1], attention):
            groups[-1].append(attention)
        else:
            groups.append([attention])
    return tuple(group[0] if len(group) == 1 else _together(tuple(group)) for group in groups)


def _is_another_head(tape: Tape, group: list[Attention], attention: Attention) -> bool:
    first, before = group[0], ancestors(attention.ends)
    return (
        (first.q.shape, first.map.shape, first.v.shape) == (attention.q.shape, attention.map.shape, attention.v.shape)
        and _inputs(tape, first) == _inputs(tape, attention)
        and not any(other.ends.number in before for other in group)
        and comes_back(tape, first) == comes_back(tape, attention)
    )  # fmt: skip


def _inputs(tape: Tape, attention: Attention) -> set[int]:
    """What the projections of queries and keys work on, before its norm: the numbers of the calls that gave it."""
    sources = [s for number in projections(tape, attention.begins) for s in tape.calls[number].sources]
    given = [unviewed(tape, s.call) for s in sources if s.call is not None and tape.is_of_image(s)]
    normed = [call.sources[0].call for call in given if call.name in NORMS]
    return {unviewed(tape, c).number for c in [*normed, *(c for c in given if c.name not in NORMS)] if c is not None}


def _together(heads: tuple[Attention, ...]) -> Attention:
    first, paths = heads[0], [head.path.split(".") for head in heads]
    shared = next((i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), min(map(len, paths)))
    return replace(
        first,
        path=".".join(paths[0][:shared]),
        q=torch.cat([head.q for head in heads]),
        k=torch.cat([head.k for head in heads]),
        v=torch.cat([head.v for head in heads]),
        map=torch.cat([head.map for head in heads]),
        output=torch.cat([head.output for head in heads]),
        error=max(head.error for head in heads),
        over_keys=all(head.over_keys for head in heads),
        ends=heads[-1].ends,
        parts=heads,
    )
