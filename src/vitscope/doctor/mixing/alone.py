"""Single blocks in which no token hears of another, though in other blocks they do. In go a patient and its blocks, out comes a warning."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.experiments import changed_with, entering, leaving
from vitscope.doctor.mixing.meeting import are_all_alone
from vitscope.doctor.naming import listed, part_of
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.tape import Tape

FEWEST = 4
"""Of fewer tokens than this nothing is said."""
ALONE = Fault(
    "block-without-meeting",
    "M3",
    "token-mixing",
    "warning",
    Text(
        "Attention is there to let tokens hear of one another. Where it compares each token with itself only (its heads with one another, as a "
        "rule), the block is no more than a second MLP, and the model is less deep than it looks.",
        "アテンションは、トークンどうしが情報を交換するためのものです。各トークンがそれ自身としか比較されない場合（多くはヘッドどうしの比較）、そのブロックは2つ目のMLPにすぎず、モデルは見かけほど深くありません。",
    ),
    Text(
        "look at the axes in that block: the last but one of queries, keys and values must be the tokens; if attention along another axis is meant, "
        "nothing is wrong",
        "そのブロックの軸を確認してください。クエリ・キー・バリューの最後から2番目の軸がトークンでなければなりません。別の軸に沿ったアテンションを意図して"
        "いるなら、問題ありません",
    ),
    "F.scaled_dot_product_attention(q, k, v)   # q, k, v: batch, heads, tokens, width",
)


def alone(patient: Patient, blocks: tuple[Block, ...], pairs: list[Tensor]) -> list[int]:
    """The numbers of blocks at whose end each token hangs on itself only, now and after some steps of training."""
    found = [number for number, block in enumerate(blocks) if _is_alone(patient.tape, block, pairs[number])]
    if not patient.is_trained and not all(_is_awake(patient.tape, blocks[number]) for number in found):
        later = patient.trained
        there = later.anatomy.blocks
        found = [n for n in found if n < len(there) and _is_alone(later.tape, there[n], pairs[n])]
    return found


def blocks_alone(
    patient: Patient, blocks: tuple[Block, ...], pairs: list[Tensor], found: list[int]
) -> Iterator[Finding]:
    """The finding of those numbers."""
    if not found:
        return
    first = blocks[found[0]]
    tokens, keys = len(_tokens(patient.tape, first)), int(pairs[found[0]].shape[-1])
    where = listed(blocks[number].attention.path for number in found)
    what = _compared(keys, tokens)
    yield ALONE.found(
        Text(
            f"In {part_of(len(found), len(blocks), 'block')} none of {tokens} tokens hears of another: {what.en} ({where}).",
            f"{len(blocks)}個のブロックのうち{len(found)}個で、{tokens}個のトークンがどれもほかのトークンの情報を受け取りません。{what.ja}（{where}）。",
        ),
        {
            "modules": [blocks[number].attention.path or "the model" for number in found],
            "blocks": len(blocks),
            "tokens": tokens,
            "keys": keys,
        },
    )


def _compared(keys: int, tokens: int) -> Text:
    if keys == tokens:
        return Text("a mask leaves each only itself", "マスクにより、自分自身しか参照できません")
    return Text(
        f"what is compared are {keys} parts of one token (its heads, as a rule)",
        f"比較されているのは、1つのトークンの中の{keys}個の部分どうし（通常はヘッドどうし）です",
    )


def _tokens(tape: Tape, block: Block) -> Tensor:
    start = entering(tape, block)
    assert start is not None
    return start.of(tape.value(start.call))


@torch.no_grad()
def _is_awake(tape: Tape, block: Block) -> bool:
    """Whether a block's tokens hang on what its attention gives: a branch that starts at zero lets nothing meet at first."""
    end, attention = block.leaves, block.attention
    if end is None:
        return False
    other = torch.zeros_like(attention.output) + attention.output.mean() + attention.output.std() + 1
    return not torch.equal(tape.play(attention.replacing(other), end), tape.value(end))


def _is_alone(tape: Tape, block: Block, pairs: Tensor) -> bool:
    start, end = entering(tape, block), leaving(tape, block)
    if start is None or end is None:
        return False
    count, ends = (len(each.of(tape.value(each.call))) for each in (start, end))
    if (
        count != ends or count < FEWEST or pairs.shape[-1] < 2
    ):  # a small image leaves a late stage one token, or a window of one
        return False
    if pairs.shape[-1] == count and int(pairs.any(dim=0).sum()) > count:  # a mask that leaves more than one each
        return False
    probe = changed_with(tape, start, [count // 2], end).nonzero().flatten().tolist()
    return probe == [count // 2] and are_all_alone(tape, start, end, list(range(count)))
