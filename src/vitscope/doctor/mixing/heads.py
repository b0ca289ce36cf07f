"""Whether heads are cut out of the width of each token, and put back there. In go a tape and its blocks, out comes what differs between heads.

What becomes of one token must stand at the same place in every head's queries, keys and values; what one head gives at a place must go to the
same token as what every other gives there. A `view` where a transpose belongs breaks both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from vitscope.doctor.mixing.experiments import (
    Tokens,
    changed,
    entering,
    heads_of,
    leaving,
    played,
    queries_keys_values,
    with_noise,
)
from vitscope.lens.attention import Attention
from vitscope.lens.blocks import Block
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS
from vitscope.lens.tape import Call, Source, Tape

Rows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Across:
    """Heads of one attention between which something differs."""

    path: str
    heads: int
    token: int
    """Which token was changed; for heads put back, at which place of their output."""
    places: tuple[tuple[int, ...], ...]
    """For each head the places that changed with it: in its queries, keys or values; for heads put back, among the tokens."""


def cut_across_tokens(tape: Tape, block: Block, *, seeds: int = 2) -> Across | None:
    """Changes a token that a block takes and looks which rows of queries, keys and values change in each head."""
    tokens = entering(tape, block)
    if tokens is None:
        return None
    count = len(tokens.of(tape.value(tokens.call)))
    probes = sorted({0, count // 2, count - 1})
    given = {token: [with_noise(tape, tokens, [token], seed) for seed in range(seeds)] for token in probes}
    for part in block.attention.parts or (block.attention,):
        heads = heads_of(tape, part)
        if heads < 2:
            continue
        for _, source, is_turned in queries_keys_values(part):
            if source.call is None or not tape.is_of_image(source):
                continue
            was = _rows(tape.value(source), is_turned)
            patterns: list[Tensor] = []
            for token in probes:
                now = [changed(was, _rows(played(tape, each, source), is_turned)) for each in given[token]]
                patterns.append(torch.stack(now).any(dim=0))
            number = _differing(torch.stack(patterns), heads)
            if number is not None:
                return _across(part.path, heads, probes[number], patterns[number])
    return None


def put_across_tokens(tape: Tape, block: Block) -> Across | None:
    """Changes one place of one head's output and looks which tokens change."""
    for part in block.attention.parts or (block.attention,):
        # two maps of one head's values (differential attention) come out as one
        heads, rest = divmod(heads_of(tape, part) * len(part.output), len(part.q))
        target = put_together(tape, part, block)
        if heads < 2 or rest or target is None:
            continue
        source, rows = target
        was, output, groups = rows(tape.value(source)), part.output, len(part.output) // heads
        if len(was) < output.shape[1] or (groups > 1 and len(was) < output.shape[1] * groups):
            continue  # no rows of tokens
        for token in sorted({0, output.shape[1] // 2, output.shape[1] - 1}):
            orders = [range(heads), range(0, len(output), groups)] if groups > 1 else [range(heads)]
            found = [torch.stack([_moved(tape, part, n, token, source, rows, was) for n in order]) for order in orders]
            alive = [each[each.any(dim=1)] for each in found]
            if all(len(each) > 1 and bool((each != each[0]).any()) for each in alive):
                return _across(part.path, heads, token, found[0])
    return None


def _rows(value: Tensor, is_turned: bool) -> Tensor:
    value = value.mT if is_turned else value
    return value.reshape(-1, *value.shape[-2:])


def _differing(patterns: Bool[Tensor, "P K T"], heads: int) -> int | None:
    """The first changed token of which heads hold different places; None where all that hold anything hold the same. Windows stand before heads,
    or heads before windows."""
    probes, rows, places = patterns.shape
    if rows < heads or rows % heads:
        return None
    groups = rows // heads
    orders = [patterns.view(probes, groups, heads, places).transpose(1, 2).reshape(probes, heads, -1)]
    if groups > 1:
        orders.append(patterns.view(probes, heads, -1))
    found: list[int] = []
    for order in orders:
        alive = order[:, order.any(dim=-1).any(dim=0)]
        differs = (alive != alive[:, :1]).flatten(1).any(dim=1)
        if not bool(differs.any()):
            return None
        found.append(int(differs.nonzero()[0]))
    return found[0]


def _across(path: str, heads: int, token: int, patterns: Tensor) -> Across:
    first = patterns[:heads]
    return Across(path, heads, token, tuple(tuple(row.nonzero().flatten().tolist()) for row in first))


def put_together(tape: Tape, attention: Attention, block: Block) -> tuple[Source, Rows] | None:
    """What the product behind the heads takes, as rows of tokens; where each head has a product of its own, the tokens behind them."""
    reached = {attention.ends.number}
    for call in tape.calls[attention.ends.number + 1 :]:
        own = next((s for s in call.sources if s.call is not None and s.call.number in reached), None)
        if own is None:
            continue
        if call.name in CONVOLUTIONS and set(call.args[1].shape[2:]) == {1}:
            return own, _pixels
        if call.name == "bmm" and call.outputs[0].shape[0] > 1:
            break
        if call.name in PRODUCTS:
            return own, _last
        if call.name in CONVOLUTIONS:
            break
        reached.add(call.number)
    tokens = leaving(tape, block)
    first = block.after_attention
    if tokens is None or first is None or first.outputs[0].shape != tokens.call.outputs[0].shape:
        return None
    return _as_source(first), Tokens(first, tokens.is_map).of


def _as_source(call: Call) -> Source:
    return Source(call.outputs[0], call, 0, call.written)


def _pixels(value: Tensor) -> Tensor:
    value = value.movedim(1, -1)
    return value.reshape(-1, value.shape[-1])


def _last(value: Tensor) -> Tensor:
    return value.reshape(-1, value.shape[-1])


@torch.no_grad()
def _moved(tape: Tape, part: Attention, head: int, token: int, source: Source, rows: Rows, was: Tensor) -> Tensor:
    """The tokens that change with one place of one head's output."""
    output = part.output.clone()
    generator = torch.Generator().manual_seed(head)
    noise = torch.randn(output.shape[-1], generator=generator, dtype=torch.float64).to(output.dtype)
    output[head, token] += noise * (output.std() + 1e-3)
    return changed(was, rows(played(tape, part.replacing(output), source)))
