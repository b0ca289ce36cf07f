"""Which part of somebody's ViT is what, found on the tape of one forward: patch embedding, tokens, position, blocks, norm, head.

In go a tape and its scores; out comes an `Anatomy`, whose calls say where on the tape each stands, and sentences on what was not found.
Nothing is asked of a class, a module's name or a layer's order: the image's numbers are followed through the sums, products and norms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.attention import Attention
from vitscope.lens.operations import CONVOLUTIONS, NORMS, POOLINGS, PRODUCTS, SUMS
from vitscope.lens.tape import Call, Source, Tape


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
    flow = Flow(tape)
    blocks = tuple(_blocks(flow, attentions))
    inside = attentions[0].path
    way = flow.way_from_image(blocks[0].enters or attentions[0].begins)
    way = [call for call in way if not inside or call.path != inside]
    embeddings = [call for call in way if call.name in PRODUCTS | CONVOLUTIONS | POOLINGS]
    if not embeddings:
        raise LensError(
            "nothing between the image and the first attention multiplies patches with weights, so no patch embedding was found"
        )
    embedding = embeddings[-1]
    behind = way[way.index(embedding) + 1 :]
    after = flow.way_back(logits, until=blocks[-1].leaves)
    heads = _heads(flow, logits, blocks[-1].leaves)
    norms = [call for call in after if call.name in NORMS]
    joins = [call for call in behind if call.name == "cat"]
    sums = [call for call in behind if call.name in SUMS and flow.has_constant(call)]
    sums = [call for call in sums if call.sources[0].tensor.ndim > 1 and not _is_bias(call)]
    notes = tuple(_notes(blocks, joins, sums, norms, heads))
    return Anatomy(
        embedding,
        joins[-1] if joins else None,
        sums[-1] if sums else None,
        blocks,
        norms[0] if norms else None,
        heads,
        logits,
        notes,
    )


class Flow:
    """What descends from what on a tape."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def is_of_image(self, source: Source) -> bool:
        """Whether the image reaches a source."""
        return self.tape.is_of_image(source)

    def has_constant(self, call: Call) -> bool:
        """Whether one of its sources comes from outside of the image: a parameter, a table."""
        return any(not self.is_of_image(source) for source in call.sources)

    def descendants(self, call: Call) -> set[int]:
        """The numbers of all calls that a call reaches, its own among them."""
        found = {call.number}
        for later in self.tape.calls[call.number + 1 :]:
            if any(source.call is not None and source.call.number in found for source in later.sources):
                found.add(later.number)
        return found

    def ancestors(self, call: Call) -> set[int]:
        """The numbers of all calls that reach a call, its own among them."""
        found, waiting = {call.number}, [call]
        while waiting:
            for source in waiting.pop().sources:
                if source.call is not None and source.call.number not in found:
                    found.add(source.call.number)
                    waiting.append(source.call)
        return found

    def way_back(self, call: Call, until: Call | None) -> list[Call]:
        """From `until` (without it) to a call, along the sources that the image reaches, the first such at each."""
        way: list[Call] = []
        here: Call | None = call
        while here is not None and here is not until:
            way.append(here)
            here = next((source.call for source in here.sources if source.call and self.is_of_image(source)), None)
        return way[::-1]

    def way_from_image(self, call: Call) -> list[Call]:
        """From the image to a call."""
        return self.way_back(call, None)


def _blocks(flow: Flow, attentions: tuple[Attention, ...]) -> Iterator[Block]:
    """The sums behind each attention: first the one that brings its branch back to the tokens, then the MLP's."""
    calls = flow.tape.calls
    ends = [attention.ends.number for attention in attentions[1:]] + [len(calls)]
    for attention, end in zip(attentions, ends, strict=True):
        branch = flow.descendants(attention.ends)
        origin = flow.ancestors(attention.begins)
        enters, after = None, None
        for call in calls[attention.ends.number + 1 : end]:
            tokens = [s.call for s in call.sources if s.call is not None and s.call.number in origin]
            if call.name in SUMS and call.number in branch and tokens:
                enters, after = tokens[0], call
                break
        mlp, inside = None, set[int]()
        if after is not None:
            rest, plain = flow.descendants(after), _without_products(flow, after)
            following = (
                flow.descendants(attentions[attentions.index(attention) + 1].ends) if end < len(calls) else set[int]()
            )
            for call in calls[after.number + 1 : end]:
                makers = [s.call.number for s in call.sources if s.call is not None and flow.is_of_image(s)]
                if (
                    call.name in SUMS
                    and call.number in rest - following
                    and len(makers) == 2
                    and sum(number in plain for number in makers) == 1
                ):
                    mlp = call
                    inside = {n for n in flow.ancestors(call) if n > after.number and n not in plain}
                    break
        yield Block(_path_of(calls, attention, inside), attention, enters, after, mlp)


def _without_products(flow: Flow, call: Call) -> set[int]:
    """What a call reaches without a product in between: views, norms and the like of its own numbers."""
    found = {call.number}
    for later in flow.tape.calls[call.number + 1 :]:
        if later.name not in PRODUCTS and any(s.call is not None and s.call.number in found for s in later.sources):
            others = [
                s for s in later.sources if s.call is not None and s.call.number not in found and flow.is_of_image(s)
            ]
            if not others:
                found.add(later.number)
    return found


def _path_of(calls: list[Call], attention: Attention, mlp: set[int]) -> str:
    """The module that holds both branches: what their paths begin with alike."""
    parts = attention.path.split(".")
    paths = {calls[number].path for number in mlp if calls[number].name in PRODUCTS}
    for path in paths:
        shared = 0
        for one, other in zip(parts, path.split("."), strict=False):
            if one != other:
                break
            shared += 1
        parts = parts[:shared]
    return ".".join(parts) if paths else attention.path


def _heads(flow: Flow, logits: Call, last: Call | None) -> tuple[Call, ...]:
    """The products closest to the scores: one, or several that are added."""
    found: list[Call] = []
    waiting = [logits]
    while waiting:
        call = waiting.pop()
        if call.name in PRODUCTS:
            found.append(call)
        elif call is not last:
            waiting += [s.call for s in call.sources if s.call is not None and flow.is_of_image(s)]
    return tuple(sorted(set(found), key=lambda call: call.number))


def _is_bias(call: Call) -> bool:
    return any(source.tensor.ndim <= 1 for source in call.sources)


def _notes(
    blocks: tuple[Block, ...], joins: list[Call], sums: list[Call], norms: list[Call], heads: tuple[Call, ...]
) -> Iterator[Text]:
    for number, block in enumerate(blocks):
        if block.after_attention is None:
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
