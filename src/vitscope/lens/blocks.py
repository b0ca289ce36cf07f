"""The encoder blocks of one forward: where the attention's branch, and then the MLP's, comes back to the tokens.

In go a tape and its attentions; out comes a `Block` for each. Behind the last block an attention may pool the tokens: it is a read-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, zip_longest

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.attention import Attention
from vitscope.lens.flow import (
    ancestors,
    closed,
    descendants,
    mixes_channels,
    projections,
    unviewed,
    way_to,
    without_products,
)
from vitscope.lens.operations import DROPOUTS, NORMS, RESIDUALS, VIEWS
from vitscope.lens.tape import Call, Tape


@dataclass(frozen=True, eq=False, repr=False)
class Block:
    """One encoder block: where its two branches come back to the tokens."""

    path: str
    """The smallest module that holds both, or the attention's own where there is no MLP."""
    attention: Attention
    enters: Call | None
    """What gave the tokens that it starts from; None where they were not found."""
    after_attention: Call | None
    """The sum behind the attention; None where there is none."""
    after_mlp: Call | None
    """The sum behind the MLP; None where there is none."""
    is_post_norm: bool = False
    """Whether what the MLP's branch is added to is a norm of the sum before it."""

    @property
    def leaves(self) -> Call | None:
        """The last of its sums."""
        return self.after_mlp or self.after_attention


def find_blocks(tape: Tape, attentions: tuple[Attention, ...]) -> tuple[tuple[Block, ...], tuple[Attention, ...]]:
    """The blocks, and the attentions behind them that read the tokens out.

    Raises:
        LensError: blocks that do not stand one behind the other.
    """
    outs = _read_outs(attentions)
    kept = attentions[: len(attentions) - len(outs)]
    blocks = tuple(
        _block(tape, each, following) for each, following in zip_longest(kept, attentions[1 : len(kept) + 1])
    )
    stages: list[Block | Attention] = [*blocks, *outs]
    for block, later in pairwise(stages):
        _refuse_side_by_side(block, later.attention if isinstance(later, Block) else later)
    return blocks, outs


def _read_outs(attentions: tuple[Attention, ...]) -> tuple[Attention, ...]:
    """The last attentions, as far as they have fewer queries than keys, and than the first has tokens."""
    tokens, count = attentions[0].map.shape[-1], 0
    for attention in reversed(attentions[1:]):
        asking, answering = attention.map.shape[-2:]
        if not asking < min(tokens, answering):
            break
        count += 1
    return attentions[len(attentions) - count :]


def _block(tape: Tape, attention: Attention, following: Attention | None) -> Block:
    """The sums behind an attention: the one that brings its branch back to the tokens, and the last of those that add an MLP's."""
    calls = tape.calls
    end = len(calls) if following is None else following.ends.number
    back = comes_back(tape, attention, end)
    if back is None:
        return _block_that_adds_its_mlp_first(tape, attention, end)
    enters, after = back
    after_attention: Call | None = after
    mlp, inside = None, set[int]()
    next_branch = set[int]() if following is None else descendants(tape, following.ends)
    is_post_norm, before = False, after
    found = _sum_with_products(tape, after, end, next_branch)
    while found is not None:
        mlp, plain, skip = found
        skip, mlp = _outermost(tape, skip, mlp, plain, end)
        is_post_norm |= any(call.name in NORMS for call in way_to(tape, skip, start=before))
        before = mlp
        inside |= {n for n in ancestors(mlp) if n > after.number and n not in plain}
        found = _sum_with_products(tape, mlp, end, next_branch)
        if found is not None and found[0].path != mlp.path:
            found = None  # what another module adds is the next block's, or stands between
    if mlp is None:
        inside = _beside(tape, attention, enters, after)
        after_attention, mlp = (None, after) if inside else (after, None)
    return Block(_path_of(calls, attention, inside), attention, enters, after_attention, mlp, is_post_norm)


def comes_back(tape: Tape, attention: Attention, end: int | None = None) -> tuple[Call, Call] | None:
    """What gave the tokens that an attention starts from, and the sum that brings its branch back to them."""
    branch, origin = descendants(tape, attention.ends), _origin(tape, attention)
    for call in tape.calls[attention.ends.number + 1 : end]:
        tokens = [s.call for s in call.sources if s.call is not None and s.call.number in origin]
        if call.name in RESIDUALS and call.number in branch and tokens:
            return _outermost(tape, tokens[0], call, origin, end)
    return None


def _outermost(tape: Tape, skip: Call, added: Call, own: set[int], end: int | None) -> tuple[Call, Call]:
    """A skip and its sum, or those round them: what a branch adds to its own result (the tokens that it was given, normed, pooled or shifted) is no
    skip. Up to one product, but no MLP, stands between the two sums."""
    earlier = own & (ancestors(skip) - _shown_in(tape, skip) | {skip.number})
    for call in tape.calls[added.number + 1 : end]:
        skips = [s.call for s in call.sources if s.call is not None and s.call.number in earlier]
        if call.name in RESIDUALS and skips and added.number in ancestors(call):
            between = descendants(tape, added) & ancestors(call) - {added.number}
            if sum(mixes_channels(tape.calls[n]) for n in between) <= 1:
                return _outermost(tape, skips[0], call, own, end)
    return skip, added


def _shown_in(tape: Tape, call: Call) -> set[int]:
    """The calls whose numbers a call still holds, in another shape, scaled or in a sum: not those that a norm stands behind."""
    found, waiting = {call.number}, [call]
    while waiting:
        here = waiting.pop()
        of_image = [source.call for source in here.sources if source.call and tape.is_of_image(source)]
        is_scaled = here.name in ("mul", "mul_", "div", "div_") and len(of_image) == 1
        if is_scaled or here.name in VIEWS | RESIDUALS | DROPOUTS:
            waiting += [each for each in of_image if each.number not in found]
            found |= {each.number for each in of_image}
    return found


def _block_that_adds_its_mlp_first(tape: Tape, attention: Attention, end: int) -> Block:
    """A parallel block that adds the tokens and the MLP, and then the attention; or one without a sum."""
    branch, origin = descendants(tape, attention.ends), _origin(tape, attention)
    for call in tape.calls[attention.ends.number + 1 : end]:
        others = [s.call for s in call.sources if s.call is not None and s.call.number not in branch]
        if call.name not in RESIDUALS or call.number not in branch or len(others) != 1:
            continue
        first = unviewed(tape, others[0])
        tokens = [s.call for s in first.sources if s.call is not None and s.call.number in origin]
        if first.name in RESIDUALS and tokens and first.outputs[0].shape == tokens[0].outputs[0].shape:
            inside = {n for n in ancestors(first) - ancestors(tokens[0]) if mixes_channels(tape.calls[n])}
            if inside:
                return Block(_path_of(tape.calls, attention, inside), attention, tokens[0], None, call)
    return Block(attention.path, attention, None, None, None)


def _beside(tape: Tape, attention: Attention, enters: Call, after: Call) -> set[int]:
    """The products that go into a sum beside an attention: those of an MLP, where a block's two branches come back together."""
    around = ancestors(attention.ends) | descendants(tape, attention.ends) | ancestors(enters)
    return {n for n in ancestors(after) - around if mixes_channels(tape.calls[n])}


def _sum_with_products(tape: Tape, start: Call, end: int, not_in: set[int]) -> tuple[Call, set[int], Call] | None:
    """The first sum of a call's own numbers with what products made of them, all that is its own without a product, and which of that the
    sum takes."""
    plain, rest = without_products(tape, start), descendants(tape, start)
    for call in tape.calls[start.number + 1 : end]:
        if call.name not in RESIDUALS or call.number not in rest - not_in:
            continue
        makers = [s.call for s in call.sources if s.call is not None and tape.is_of_image(s)]
        skips = [maker for maker in makers if maker.number in plain]
        if len(makers) > 1 and len(skips) == 1 and call.outputs[0].shape == start.outputs[0].shape:
            return call, plain, skips[0]
    return None


def _origin(tape: Tape, attention: Attention) -> set[int]:
    """The calls whose numbers are the tokens that an attention starts from: what leads to it and what becomes of that without a product
    (scaled, cast, turned), but not its own queries, keys and values."""
    before = ancestors(attention.begins) - {attention.begins.number}
    return closed(tape, before) - closed(tape, projections(tape, attention.begins))


def _refuse_side_by_side(block: Block | Attention, following: Attention) -> None:
    """Blocks must stand one behind the other: what an ensemble or a second pass computes is no further layer."""
    leaves = block.leaves if isinstance(block, Block) else block.ends
    if leaves is not None and leaves.number not in ancestors(following.begins):
        raise LensError(
            Text(
                f"the attention of {following.path or 'the model'} does not work on what {block.path or 'the one before it'} gives: "
                "there are several models or passes in one here; look at each by itself",
                f"{following.path or 'モデル本体'}のアテンションが、{block.path or '1つ前のブロック'}の出力を使っていません。"
                "複数のモデル、または複数回の順伝播がまとめられています。それぞれを個別に調べてください",
            )
        )


def _path_of(calls: list[Call], attention: Attention, mlp: set[int]) -> str:
    """The module that holds both branches: what their paths begin with alike."""
    parts = attention.path.split(".")
    paths = {calls[number].path for number in mlp if mixes_channels(calls[number])}
    for path in paths:
        shared = 0
        for one, other in zip(parts, path.split("."), strict=False):
            if one != other:
                break
            shared += 1
        parts = parts[:shared]
    return ".".join(parts) if paths else attention.path
