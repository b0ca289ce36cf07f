"""Which part of somebody's ViT is what, found on the tape of one forward: patch embedding, tokens, position, blocks, norm, head.

In go a tape and its scores; out comes an `Anatomy`, whose calls say where on the tape each stands, and sentences on what was not found.
Nothing is asked of a class, a module's name or a layer's order: the image's numbers are followed through the sums, products and norms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, closed, descendants, has_constant, mixes_channels, way_to, without_products
from vitscope.lens.operations import CONVOLUTIONS, NORMS, POOLINGS, PRODUCTS, SUMS
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

    @property
    def leaves(self) -> Call | None:
        """The last of its sums."""
        return self.after_mlp or self.after_attention


@dataclass(frozen=True, eq=False, repr=False)
class Anatomy:
    """Where on a tape each part of a ViT stands. A call that is None was not found, or the model has none: `notes` say which."""

    patch_embedding: Call
    """The convolution or product that gives a token for each patch, or the last of them."""
    with_class: Call | None
    """Where tokens that are not patches join."""
    with_position: Call | None
    """The sum with the position embedding."""
    blocks: tuple[Block, ...]
    final_norm: Call | None
    head: tuple[Call, ...]
    """The product that gives the scores; several where heads are averaged."""
    logits: Call
    notes: tuple[Text, ...]


def find_anatomy(tape: Tape, scores: Tensor, attentions: tuple[Attention, ...]) -> Anatomy:
    """Follows the image through the tape.

    Raises:
        LensError: the scores do not come from the image, or no patch embedding or attention is on the way.
    """
    logits = tape.maker(scores)
    if logits is None:
        raise LensError("the model gives back something that it did not compute; there is nothing to follow")
    if not attentions:
        raise LensError(
            "there is no attention in this model: no softmax between two products, and no fused attention; the lens is for ViTs"
        )
    blocks = tuple(_blocks(tape, attentions))
    _refuse_side_by_side(tape, blocks)
    way = way_to(tape, blocks[0].enters or attentions[0].begins, start=None)
    if blocks[0].enters is None:  # what makes queries and keys is no embedding
        projected = closed(tape, _projections(tape, attentions[0])) | {attentions[0].begins.number}
        way = [call for call in way if call.number not in projected]
    embeddings = [call for call in way if call.name in PRODUCTS | CONVOLUTIONS | POOLINGS]
    if not embeddings:
        raise LensError(
            "nothing between the image and the first attention multiplies patches with weights, so no patch embedding was found"
        )
    embedding = embeddings[-1]
    behind = way[way.index(embedding) + 1 :]
    after = way_to(tape, logits, start=blocks[-1].leaves)
    heads = _heads(tape, logits, blocks[-1].leaves)
    products = [number for number, call in enumerate(after) if call.name in PRODUCTS]
    norms = [call for call in after[: products[0] if products else len(after)] if call.name in NORMS]
    joins = [call for call in behind if call.name == "cat" and has_constant(tape, call) and _adds_tokens(call)]
    sums = [call for call in behind if call.name in SUMS and has_constant(tape, call)]
    sums = [call for call in sums if call.sources[0].tensor.ndim > 1 and not _is_bias(call)]
    notes = tuple(_notes(blocks, joins, sums, norms, heads))
    return Anatomy(
        embedding,
        joins[-1] if joins else None,
        sums[-1] if sums else None,
        blocks,
        norms[-1] if norms else None,
        heads,
        logits,
        notes,
    )


def _blocks(tape: Tape, attentions: tuple[Attention, ...]) -> Iterator[Block]:
    """The sums behind each attention: the one that brings its branch back to the tokens, and the last of those that add an MLP's."""
    calls = tape.calls
    for attention, following in zip_longest(attentions, attentions[1:]):
        end = len(calls) if following is None else following.ends.number
        branch, origin = descendants(tape, attention.ends), _origin(tape, attention)
        enters, after = None, None
        for call in calls[attention.ends.number + 1 : end]:
            tokens = [s.call for s in call.sources if s.call is not None and s.call.number in origin]
            if call.name in SUMS and call.number in branch and tokens:
                enters, after = tokens[0], call
                break
        mlp, inside = None, set[int]()
        if after is not None:
            next_branch = set[int]() if following is None else descendants(tape, following.ends)
            found = _sum_with_products(tape, after, end, next_branch)
            while found is not None:
                mlp, plain = found
                inside |= {n for n in ancestors(mlp) if n > after.number and n not in plain}
                found = _sum_with_products(tape, mlp, end, next_branch)
                if found is not None and found[0].path != mlp.path:
                    found = None  # what another module adds is the next block's, or stands between
            if mlp is None and enters is not None:
                inside = _beside(tape, attention, enters, after)
                after, mlp = (None, after) if inside else (after, None)
        yield Block(_path_of(calls, attention, inside), attention, enters, after, mlp)


def _beside(tape: Tape, attention: Attention, enters: Call, after: Call) -> set[int]:
    """The products that go into a sum beside an attention: those of an MLP, where a block's two branches come back together."""
    around = ancestors(attention.ends) | descendants(tape, attention.ends) | ancestors(enters)
    return {n for n in ancestors(after) - around if mixes_channels(tape.calls[n])}


def _sum_with_products(tape: Tape, start: Call, end: int, not_in: set[int]) -> tuple[Call, set[int]] | None:
    """The first sum of a call's own numbers with what products made of them, and all that is its own without a product."""
    plain, rest = without_products(tape, start), descendants(tape, start)
    for call in tape.calls[start.number + 1 : end]:
        makers = [s.call.number for s in call.sources if s.call is not None and tape.is_of_image(s)]
        fits = len(makers) == 2 and sum(number in plain for number in makers) == 1
        if (
            call.name in SUMS
            and call.number in rest - not_in
            and fits
            and call.outputs[0].shape == start.outputs[0].shape
        ):
            return call, plain
    return None


def _origin(tape: Tape, attention: Attention) -> set[int]:
    """The calls whose numbers are the tokens that an attention starts from: what leads to it and what becomes of that without a product
    (scaled, cast, turned), but not its own queries, keys and values."""
    before = ancestors(attention.begins) - {attention.begins.number}
    return closed(tape, before) - closed(tape, _projections(tape, attention))


def _projections(tape: Tape, attention: Attention) -> set[int]:
    """The products nearest before an attention, which make its queries and keys."""
    nearest, seen, waiting = set[int](), set[int](), [attention.begins]
    while waiting:
        for source in waiting.pop().sources:
            call = source.call
            if call is not None and call.number not in seen and tape.is_of_image(source):
                seen.add(call.number)
                if call.name in PRODUCTS | CONVOLUTIONS:
                    nearest.add(call.number)
                else:
                    waiting.append(call)
    return nearest


def _refuse_side_by_side(tape: Tape, blocks: tuple[Block, ...]) -> None:
    """Blocks must stand one behind the other: what an ensemble or a second pass computes is no further layer."""
    for block, following in pairwise(blocks):
        if block.leaves is not None and block.leaves.number not in ancestors(following.attention.begins):
            raise LensError(
                f"the attention of {following.attention.path or 'the model'} does not work on what {block.path or 'the one before it'} gives: "
                "there are several models or passes in one here; look at each by itself"
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


def _heads(tape: Tape, logits: Call, last: Call | None) -> tuple[Call, ...]:
    """The products closest to the scores: one, or several that are added."""
    found: list[Call] = []
    waiting = [logits]
    while waiting:
        call = waiting.pop()
        if call.name in PRODUCTS:
            found.append(call)
        elif call is not last:
            waiting += [s.call for s in call.sources if s.call is not None and tape.is_of_image(s)]
    return tuple(sorted(set(found), key=lambda call: call.number))


def _adds_tokens(call: Call) -> bool:
    """Whether a join makes more tokens of the same width, not wider ones."""
    widths = {source.tensor.shape[-1] for source in call.sources if source.tensor.ndim == call.outputs[0].ndim}
    joined = [source for source in call.sources if source.tensor.numel()]
    return widths == {call.outputs[0].shape[-1]} and len(joined) > 1


def _is_bias(call: Call) -> bool:
    return any(source.tensor.ndim <= 1 for source in call.sources)


def _notes(
    blocks: tuple[Block, ...], joins: list[Call], sums: list[Call], norms: list[Call], heads: tuple[Call, ...]
) -> Iterator[Text]:
    for number, block in enumerate(blocks):
        if block.after_attention is None and block.after_mlp is not None:
            yield Text(
                f"block {number}: attention and MLP come back to the tokens in one sum (a parallel block)",
                f"ブロック{number}: attentionとMLPの出力が1つの加算でトークンに足されています（並列ブロック）",
            )
        elif block.after_attention is None:
            yield Text(
                f"block {number}: no sum brings the attention back to the tokens (no residual connection)",
                f"ブロック{number}: attentionの出力をトークンに足し戻す加算（残差接続）が見つかりません",
            )
        elif block.after_mlp is None:
            yield Text(f"block {number}: no MLP was found", f"ブロック{number}: MLPが見つかりません")
    if not joins:
        yield Text("no token joins the patches", "パッチ以外に加わるトークンはありません")
    if not sums:
        yield Text("no position embedding is added to the tokens", "トークンに足される位置埋め込みは見つかりません")
    if not norms:
        yield Text("no norm behind the last block", "最後のブロックの後に正規化はありません")
    if not heads:
        yield Text("no head was found: the scores come from no product", "分類ヘッドが見つかりません")


def as_tokens(x: Tensor) -> Tensor:
    """Tokens × width of one image, from 1 T D, T 1 D or T D."""
    return x.reshape(-1, x.shape[-1])
