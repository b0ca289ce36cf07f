"""Whether queries, keys and values are made of one token each, and what attention gives comes back in one piece. In go a tape and its blocks.

A `view` or `reshape` where a transpose belongs keeps the shape and moves the numbers: what stands in one row then comes from several tokens, and
what stands in one column of it is now this channel, now that. It may be alike in every head, and needs no second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope.doctor.mixing.experiments import SMALL, Tokens, entering, projected, queries_keys_values, with_noise
from vitscope.doctor.mixing.heads import put_together
from vitscope.doctor.mixing.origins import ELSEWHERE, is_the_same, origins
from vitscope.lens.attention import Attention
from vitscope.lens.blocks import Block
from vitscope.lens.operations import CONVOLUTIONS
from vitscope.lens.tape import Call, Tape

Part = Literal["queries", "keys", "values", "output"]


@dataclass(frozen=True)
class Scramble:
    """One attention in which numbers of several tokens stand in one row, or which takes queries, keys and values from different tokens."""

    path: str
    parts: tuple[Part, ...]
    """What holds such rows; `output` where they are made of what attention gives."""
    rows: int
    tokens_in_a_row: int
    """Of how many tokens (or, of the output, places) the numbers in the first such row come."""
    is_chunked: bool = False
    """Whether queries, keys and values are sound rows, but of different tokens."""


@dataclass(frozen=True, eq=False)
class _Traced:
    """One operand: from which row (a token) and column (a channel) of its projection each number comes; counted from one."""

    part: Part
    made: Call
    token: Float[Tensor, "K P C"]
    channel: Float[Tensor, "K P C"]
    size: tuple[int, int]
    """Rows and columns of the projection."""

    @property
    def is_on_its_side(self) -> bool:
        """Whether its rows are channels and its columns tokens, as in attention across channels."""
        return is_the_same(self.token, 1) and not is_the_same(self.channel, 1)

    @property
    def is_scrambled(self) -> bool:
        """Whether a row holds numbers of several tokens, and a column different channels."""
        return not is_the_same(self.channel, 1) and not is_the_same(self.token, 2)


def scrambled(tape: Tape, block: Block) -> Scramble | None:
    """What a block's attention makes its queries, keys and values of, held against one token each; and what becomes of its output."""
    tokens = entering(tape, block)
    for part in block.attention.parts[:1] or (block.attention,):
        traced = [] if tokens is None else _traced(tape, part, tokens)
        sides = {each.part for each in traced if each.is_on_its_side}
        if {"queries", "keys"} <= sides or (sides and len(traced) < 3):
            return None  # channels attend to channels
        bad = [each for each in traced if each.is_scrambled and _holds_several(each.token)]
        if bad:
            rows, first = int(bad[0].token.shape[1]), _holds_several(bad[0].token)
            return Scramble(part.path, tuple(each.part for each in bad), rows, first)
        if _are_chunks(traced):
            return Scramble(part.path, ("queries", "keys", "values"), *_of_first(traced), is_chunked=True)
        found = _put_back(tape, part, block)
        if found is not None:
            return Scramble(part.path, ("output",), *found)
    return None


def keeps_channels(tape: Tape, block: Block) -> bool:
    """Whether each column of queries, keys and values is one channel of their projection, as where heads look at shifted tokens; False also where
    that cannot be followed."""
    tokens = entering(tape, block)
    if tokens is None:
        return False
    traced = [_traced(tape, part, tokens) for part in block.attention.parts or (block.attention,)]
    return all(len(each) == 3 and all(is_the_same(one.channel, 1) for one in each) for each in traced)


def _traced(tape: Tape, attention: Attention, tokens: Tokens) -> list[_Traced]:
    """Queries, keys and values, as far as each is a projection of single tokens that is only moved about."""
    found: list[_Traced] = []
    by_rows: dict[int, bool | None] = {}
    for part, source, is_turned in queries_keys_values(attention):
        made = projected(tape, source)
        if made is None or not tape.is_of_image(source) or made.number <= tokens.call.number:
            continue
        if made.number not in by_rows:
            by_rows[made.number] = _has_tokens_in_rows(tape, tokens, made)
        is_by_rows = by_rows[made.number]
        if is_by_rows is None:
            continue
        table = _table(made)
        rows, columns = table.of(made.outputs[0]).shape
        numbers = torch.arange(1, rows * columns + 1, dtype=torch.float64).view(rows, columns)
        places = origins(tape, made, table.as_given(numbers), source)
        if places is None or not bool((places != ELSEWHERE).any()):
            continue
        places = places.mT if is_turned else places
        places = places.reshape(-1, *places.shape[-2:])
        row, column = torch.ceil(places / columns), torch.where(places > 0, (places - 1) % columns + 1, 0)
        token, channel = (row, column) if is_by_rows else (column, row)
        found.append(_Traced(part, made, token, channel, (rows, columns) if is_by_rows else (columns, rows)))
    return found


def _table(made: Call) -> Tokens:
    """What a projection gives, as rows and columns."""
    return Tokens(made, made.name in CONVOLUTIONS)


@torch.no_grad()
def _has_tokens_in_rows(tape: Tape, tokens: Tokens, made: Call) -> bool | None:
    """Whether one token that the block takes changes some rows of a projection (True) or some columns (False); None where all of both."""
    table, count = _table(made), len(tokens.of(tape.value(tokens.call)))
    was = table.of(tape.value(made))
    apart = (table.of(tape.play(with_noise(tape, tokens, [count // 2], 0), made)) - was).abs()
    changed = apart > max(SMALL * float(apart.max()), 1e-300)
    rows, columns = changed.any(dim=1), changed.any(dim=0)
    if not bool(rows.any()) or bool(rows.all()) == bool(columns.all()):
        return None
    return bool(columns.all())


def _holds_several(tokens: Float[Tensor, "K P C"]) -> int:
    """Of how many tokens the first row is made that is made of several; 0 where none is."""
    several = (tokens != tokens[..., :1]).any(dim=-1)
    return len(set(tokens[several][0].tolist())) if bool(several.any()) else 0


def _are_chunks(traced: list[_Traced]) -> bool:
    """Whether queries, keys and values share out one projection among them, so that the same channels are queries of one token and keys of
    another."""
    if len(traced) < 3 or len({each.made.number for each in traced}) > 1:
        return False
    shares = torch.zeros(len(traced), *traced[0].size, dtype=torch.bool)
    for share, each in zip(shares, traced, strict=True):
        known = each.token != ELSEWHERE
        share[each.token[known].long() - 1, each.channel[known].long() - 1] = True
    if not bool((shares.sum(dim=0) == 1).all()):
        return False
    return bool((shares.any(dim=1).sum(dim=0) > 1).any())


def _of_first(traced: list[_Traced]) -> tuple[int, int]:
    """How many queries there are, and of how many tokens they are made."""
    return int(traced[0].token.shape[1]), len(set(traced[0].token[traced[0].token != ELSEWHERE].tolist()))


def _put_back(tape: Tape, part: Attention, block: Block) -> tuple[int, int] | None:
    """Whether tokens are made of numbers of several places of attention's output: how many tokens, and of how many places the first such."""
    target = put_together(tape, part, block)
    if target is None:
        return None
    source, rows = target
    count, places, width = part.output.shape
    numbers = torch.arange(1, part.output.numel() + 1, dtype=torch.float64).view(count, places, width)
    (made,) = part.replacing(numbers)
    assert made is not None
    found = origins(tape, made, part.replacing(numbers)[made], source)
    if found is None:
        return None
    tokens = rows(found)[None]
    if len(rows(tape.value(source))) < places or not bool((tokens != ELSEWHERE).all()):
        return None
    place, column = (tokens - 1) // width % places + 1, (tokens - 1) % width + 1
    if is_the_same(column, 1) or is_the_same(place, 2):
        return None
    return int(tokens.shape[1]), _holds_several(place)
