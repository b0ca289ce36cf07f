"""Experiments on a tape, of which several checks are made: which tokens change with which, on what way an attention's numbers come.

In go a tape and calls on it, out come tokens T D, and which of them changed. Nothing on the tape changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitscope.lens.attention import Attention
from vitscope.lens.blocks import Block
from vitscope.lens.flow import projections
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, factors
from vitscope.lens.tape import Call, Source, Tape

SMALL = 1e-6
"""What changed by less than this, beside what changed most, is rounding."""

FAINT = 1e-20
"""A gradient of less than this, beside the largest, is none: a mask of -100 leaves e**-100."""

Operand = Literal["queries", "keys", "values"]
OPERANDS: tuple[Operand, ...] = ("queries", "keys", "values")


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one image that a call gives: 1 T D, T 1 D, 1 H W D, or as a map 1 D H W."""

    call: Call
    is_map: bool

    def of(self, value: Float[Tensor, ...]) -> Float[Tensor, "T D"]:
        """T D, of numbers as the call gives them."""
        value = value.movedim(1, -1) if self.is_map else value
        return value.reshape(-1, value.shape[-1])

    def as_given(self, tokens: Float[Tensor, "T D"]) -> Float[Tensor, ...]:
        """The other way round."""
        shape = self.call.outputs[0].shape
        if not self.is_map:
            return tokens.reshape(shape)
        return tokens.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def tokens_of(call: Call, width: int) -> Tokens:
    """The tokens that a call gives, so wide."""
    shape = call.outputs[0].shape
    return Tokens(call, len(shape) == 4 and shape[1] == width and shape[-1] != width)


def width_of(tape: Tape, attention: Attention) -> int:
    """How wide the tokens are of which an attention makes its queries and keys; its heads together where it makes none."""
    for number in sorted(projections(tape, attention.begins)):
        call = tape.calls[number]
        if call.name in CONVOLUTIONS:
            return int(call.sources[0].tensor.shape[1])
        given = next((factor.tensor for factor in factors(call) if tape.is_of_image(factor)), None)
        if given is not None:
            return int(given.shape[-1])
    return int(attention.q.shape[0] * attention.q.shape[-1])


def heads_of(tape: Tape, attention: Attention) -> int:
    """How many heads an attention has: windows stand beside them in its first axis. So many rows of queries, keys or values are made of each row
    that is projected; the least of these where they differ (pooled or handed on behind the projection), one where it comes out even for none."""
    rows, found = int(attention.q.shape[0]), list[int]()
    for source, width in _made_of(attention):
        made = projected(tape, source)
        if made is None or source.tensor.shape[:-2].numel() != rows:  # groups of keys are no heads
            continue
        shape = made.outputs[0].shape
        heads, rest = divmod(
            source.tensor.numel() // width, shape.numel() // shape[1 if made.name in CONVOLUTIONS else -1]
        )
        if 0 < heads <= rows and not rest and not rows % heads:
            found.append(heads)
    return min(found, default=1)


def _made_of(attention: Attention) -> list[tuple[Source, int]]:
    """Where queries, keys and values come from, and how wide each is."""
    width, value = int(attention.q.shape[-1]), int(attention.v.shape[-1])
    if attention.is_fused:
        return list(zip(attention.begins.sources[:3], (width, width, value), strict=True))
    values = factors(attention.ends)[0 if attention.is_turned else 1]
    return [*((source, width) for source in factors(attention.begins)), (values, value)]


def queries_keys_values(attention: Attention) -> Iterator[tuple[Operand, Source, bool]]:
    """Where queries, keys and values come from, and whether they lie on their side there."""
    if attention.is_fused:
        yield from ((name, source, False) for name, source in zip(OPERANDS, attention.begins.sources[:3], strict=True))
        return
    first, second = factors(attention.begins)
    yield "queries", first, False
    yield "keys", second, True
    yield "values", factors(attention.ends)[0 if attention.is_turned else 1], attention.is_turned


def projected(tape: Tape, source: Source) -> Call | None:
    """The product or convolution that a source's numbers come from, nearest before it."""
    call = source.call
    while call is not None and call.name not in PRODUCTS | CONVOLUTIONS:
        call = next((each.call for each in call.sources if tape.is_of_image(each)), None)
    return call


def entering(tape: Tape, block: Block) -> Tokens | None:
    """The tokens that a block takes; None where they were not found."""
    return None if block.enters is None else tokens_of(block.enters, width_of(tape, block.attention))


def leaving(tape: Tape, block: Block) -> Tokens | None:
    """The tokens that a block gives; None where they were not found."""
    return None if block.leaves is None else tokens_of(block.leaves, width_of(tape, block.attention))


@torch.no_grad()
def with_noise(tape: Tape, tokens: Tokens, which: Iterable[int], seed: int) -> dict[Call | None, Tensor]:
    """For `Tape.play`: noise, as large as the tokens are, in place of some of them."""
    was = tokens.of(tape.value(tokens.call)).clone()
    places = list(which)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(places), was.shape[1], generator=generator, dtype=torch.float64).to(was.dtype)
    was[places] = noise * (was.std() + 1e-3)
    return {tokens.call: tokens.as_given(was)}


@torch.no_grad()
def played(tape: Tape, replaced: dict[Call | None, Tensor], source: Source) -> Tensor:
    """What a source would have held, had some calls given other numbers."""
    return source.tensor if source.call is None else tape.play(replaced, source.call, source.index)


def changed(was: Tensor, now: Tensor) -> Bool[Tensor, ...]:
    """Which rows differ by more than rounding, beside the row that differs most."""
    apart = (now - was).abs().amax(dim=-1)
    return apart > max(SMALL * float(apart.max()), 1e-300)


@torch.no_grad()
def changed_with(
    tape: Tape, start: Tokens, which: Iterable[int], end: Tokens, *, seeds: int = 1, least: float = 0.0
) -> Bool[Tensor, " T"]:
    """The tokens at the end that are not what they were, when some at the start are others: also if by the least, or by more than this share of
    what changed most."""
    was = end.of(tape.value(end.call))
    which = list(which)
    found = torch.zeros(len(was), dtype=torch.bool)
    for seed in range(seeds):
        now = end.of(tape.play(with_noise(tape, start, which, seed), end.call))
        apart = (now - was).abs().amax(dim=1)
        found |= (now != was).any(dim=1) & (apart > least * float(apart.max()) if least else True)
    return found


def hear(tape: Tape, start: Tokens, end: Tokens, which: Iterable[int]) -> Bool[Tensor, " T"]:
    """The tokens at the start that some at the end hang on, by the gradient."""
    with torch.enable_grad():
        given = tape.value(start.call).detach().clone().requires_grad_(True)
        tokens = end.of(tape.play({start.call: given}, end.call))[list(which)]
        if not tokens.requires_grad:
            return torch.zeros(len(start.of(given)), dtype=torch.bool)
        weights = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        (gradient,) = torch.autograd.grad((tokens * weights.to(tokens.dtype)).sum(), given)
    size = start.of(gradient).abs().amax(dim=1)
    return size > FAINT * float(size.max())
