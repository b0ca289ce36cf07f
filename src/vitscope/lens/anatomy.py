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
from vitscope.lens.blocks import Block as Block
from vitscope.lens.blocks import find_blocks
from vitscope.lens.flow import closed, has_constant, projections, way_to
from vitscope.lens.operations import CONVOLUTIONS, NORMS, POOLINGS, PRODUCTS, SUMS, VIEWS
from vitscope.lens.tape import Call, Tape

NOT_COMPUTED = Text(
    "the model gives back something that it did not compute; there is nothing to follow",
    "モデルが返す値は順伝播の中で計算されたものではないため、追跡できません",
)


@dataclass(frozen=True, eq=False, repr=False)
class Anatomy:
    """Where on a tape each part of a ViT stands. A call that is None was not found, or the model has none: `notes` say which."""

    patch_embedding: Call
    """The convolution or product that gives a token for each patch, or the last of them."""
    embedded: Call
    """The same, or where a bias is added by an operation of its own, that sum."""
    with_class: Call | None
    """Where tokens that are not patches join."""
    with_position: Call | None
    """The sum with the position embedding."""
    blocks: tuple[Block, ...]
    read_outs: tuple[Attention, ...]
    """Attentions behind the blocks that pool the tokens: they have fewer queries than there are tokens."""
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
        raise LensError(NOT_COMPUTED)
    if not attentions:
        raise LensError(
            Text(
                "there is no attention in this model: no softmax between two products, and no fused attention; the lens is for ViTs",
                "このモデルにはアテンションがありません（2つの積に挟まれたsoftmaxも、1つの演算にまとめられたアテンションもありません）。"
                "追跡できるのはViTだけです",
            )
        )
    blocks, read_outs = find_blocks(tape, attentions)
    way = way_to(tape, blocks[0].enters or attentions[0].begins, start=None)
    if blocks[0].enters is None:  # what makes queries and keys is no embedding
        projected = closed(tape, projections(tape, attentions[0].begins)) | {attentions[0].begins.number}
        way = [call for call in way if call.number not in projected]
    embeddings = [call for call in way if call.name in PRODUCTS | CONVOLUTIONS | POOLINGS]
    if not embeddings:
        raise LensError(
            Text(
                "nothing between the image and the first attention multiplies patches with weights, so no patch embedding was found",
                "画像から最初のアテンションまでの間に、パッチに重みを掛ける演算がなく、パッチ埋め込みが見つかりません",
            )
        )
    embedding = embeddings[-1]
    behind = way[way.index(embedding) + 1 :]
    width = embedding.outputs[0].shape[1 if embedding.name in CONVOLUTIONS | POOLINGS else -1]
    after = way_to(tape, logits, start=blocks[-1].leaves)
    heads = _heads(tape, logits, blocks[-1].leaves)
    products = [number for number, call in enumerate(after) if call.name in PRODUCTS]
    norms = [call for call in after[: products[0] if products else len(after)] if call.name in NORMS]
    joins = [call for call in behind if call.name == "cat" and has_constant(tape, call) and _adds_tokens(call)]
    sums = [call for call in behind if call.name in SUMS and has_constant(tape, call)]
    sums = [call for call in sums if call.sources[0].tensor.ndim > 1 and not _is_bias(tape, call, width)]
    notes = tuple(_notes(blocks, read_outs, joins, sums, norms, heads))
    return Anatomy(
        embedding,
        _with_bias(tape, embedding, behind, width),
        joins[-1] if joins else None,
        sums[-1] if sums else None,
        blocks,
        read_outs,
        norms[-1] if norms else None,
        heads,
        logits,
        notes,
    )


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


def _is_bias(tape: Tape, call: Call, width: int) -> bool:
    """Whether a sum adds the same to each token: a number, or one for each of a token's and no other axis."""
    added = [source.tensor for source in call.sources if not tape.is_of_image(source)]
    return any(x.numel() == 1 or (x.numel() == width and width in x.shape) for x in added)


def _with_bias(tape: Tape, embedding: Call, behind: list[Call], width: int) -> Call:
    """The sum of the embedding with its bias, where that is the first thing that happens to its numbers; else the embedding."""
    for call in behind:
        if call.name in SUMS and has_constant(tape, call) and _is_bias(tape, call, width):
            is_map = embedding.name in CONVOLUTIONS | POOLINGS and call.outputs[0].shape == embedding.outputs[0].shape
            return call if is_map or call.outputs[0].shape[-1] == width else embedding
        if call.name not in VIEWS:
            break
    return embedding


def _notes(
    blocks: tuple[Block, ...],
    read_outs: tuple[Attention, ...],
    joins: list[Call],
    sums: list[Call],
    norms: list[Call],
    heads: tuple[Call, ...],
) -> Iterator[Text]:
    for number, block in enumerate(blocks):
        if block.after_attention is None and block.after_mlp is not None:
            yield Text(
                f"block {number}: attention and MLP come back to the tokens in one sum (a parallel block)",
                f"ブロック{number}: アテンションとMLPの出力が1つの加算でトークンに足されています（並列ブロック）",
            )
        elif block.after_attention is None:
            yield Text(
                f"block {number}: no sum brings the attention back to the tokens (no residual connection)",
                f"ブロック{number}: アテンションの出力をトークンに足し戻す加算（残差接続）が見つかりません",
            )
        elif block.after_mlp is None:
            yield Text(f"block {number}: no MLP was found", f"ブロック{number}: MLPが見つかりません")
        if block.attention.parts and len(block.attention.parts[0].map) > 1:
            count = len(block.attention.parts)
            yield Text(
                f"block {number}: {count} attentions stand side by side and come back to the tokens in one sum; they are shown as one",
                f"ブロック{number}: {count}個のアテンションが並列に計算され、1つの加算でトークンに足されています。まとめて1つとして示します",
            )
    if any(block.is_post_norm for block in blocks):
        yield Text(
            "the norms of the blocks stand behind the sums (post-norm): after_attention and after_mlp are the sums before their norm",
            "ブロックの正規化は加算の後にあります（post-norm）。after_attentionとafter_mlpは、正規化する前の和です",
        )
    for attention in read_outs:
        asking, answering = attention.map.shape[-2:]
        yield Text(
            f"behind the blocks an attention of its own reads the tokens out ({asking} for {answering}): it is no block and has no names here",
            f"ブロックの後に、トークンを読み出す独立したアテンションがあります（クエリ{asking}個、キー{answering}個）。ブロックではないので、名前は付けていません",
        )
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
