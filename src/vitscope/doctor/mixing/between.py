"""Attention between the heads of each token, instead of between tokens. In go blocks, out comes a finding.

A width that was split into heads holds `batch, tokens, heads, width of a head`; without a transpose, products over the last two axes compare the
heads of one token. Tokens then meet in no attention, if anywhere where the heads are put back in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Severity
from vitscope.doctor.mixing.experiments import (
    Tokens,
    changed,
    entering,
    played,
    projected,
    queries_keys_values,
    with_noise,
)
from vitscope.doctor.mixing.heads import put_together
from vitscope.doctor.naming import listed, part_of
from vitscope.lens.attention import Attention
from vitscope.lens.blocks import Block
from vitscope.lens.operations import CONVOLUTIONS
from vitscope.lens.tape import Source, Tape

FEWEST = 4
"""Of fewer tokens than this nothing is said."""
BETWEEN = Fault(
    "attention-between-heads",
    "M6",
    "token-mixing",
    "error",
    Text(
        "Within each head, all tokens should be compared with one another. Here the axis of the heads stands where that of the tokens belongs: each "
        "token compares parts of itself, which is no more than a second MLP, and hears of no other through it.",
        "アテンションは、ヘッドごとに全トークンどうしを比較するものです。ここでは、トークンの軸があるべき位置にヘッドの軸があります。各トークンは自分自身の"
        "一部どうしを比較するだけで（2つ目のMLPと変わりません）、このアテンションを通じてほかのトークンの情報を受け取ることはありません。",
    ),
    Text(
        "bring the heads in front of the tokens with .transpose(1, 2) behind the view that splits the width, and back before they are joined; only "
        "where something else lets the tokens meet may attention between heads be meant",
        "幅をヘッドに分割するviewの後に.transpose(1, 2)を入れて、ヘッドの軸をトークンの軸の前に移し、結合する前に元へ戻してください。ヘッド間の"
        "アテンションを意図的に使ってよいのは、トークンどうしが別の場所で情報をやり取りする場合だけです",
    ),
    "q, k, v = (t.view(B, N, heads, d).transpose(1, 2) for t in (q, k, v))   # batch, heads, tokens, width of a head\n"
    "out = (attn @ v).transpose(1, 2).reshape(B, N, heads * d)",
    explains=(
        "patches-never-meet",
        "heads-split-across-tokens",
        "heads-merged-across-tokens",
        "block-without-meeting",
        "image-never-reaches-the-scores",
        "part-of-the-image-never-read",
        "zero-gradient",
        "position",
        "overfit",
    ),
)


@dataclass(frozen=True)
class Between:
    """An attention whose products compare parts of one token."""

    path: str
    heads: int
    """How many parts of a token are compared."""
    tokens: int
    is_torn: bool
    """Whether what it gives for one token comes back to others."""


def between_heads(tape: Tape, block: Block) -> Between | None:
    """The attention of a block, where each of its products holds queries, keys and values of one token only, and several of them."""
    part = (block.attention.parts or (block.attention,))[0]
    groups, parts = part.map.shape[:2]
    if groups < FEWEST or parts != part.map.shape[-1] or parts < 2:
        return None
    count = 0
    for _, source, _ in queries_keys_values(part):
        start = entering(tape, block) or _projection(tape, source)
        count = 0 if start is None else len(start.of(tape.value(start.call)))
        if start is None or count < FEWEST or groups % count or not _is_of_one_token_each(tape, start, count, source):
            return None
    return Between(part.path, parts, count, groups == count and _is_torn(tape, part, block))


def _projection(tape: Tape, source: Source) -> Tokens | None:
    """The tokens as the projection of an operand gives them, for blocks whose own were not found."""
    made = projected(tape, source)
    return None if made is None else Tokens(made, made.name in CONVOLUTIONS)


def _is_of_one_token_each(tape: Tape, start: Tokens, count: int, source: Source) -> bool:
    """Whether each of a product's operands hangs on one token at most: for each binary digit of their numbers, those that have it are changed, and
    then those that have not."""
    was = tape.value(source)
    if was.ndim < 3 or source.call is None or not tape.is_of_image(source):
        return False
    for digit in range((count - 1).bit_length()):
        moved = [
            _groups(was, played(tape, with_noise(tape, start, _with_digit(count, digit, has), digit), source))
            for has in (0, 1)
        ]
        if bool((moved[0] & moved[1]).any()) or not all(bool(each.any()) for each in moved):
            return False
    return True


def _with_digit(count: int, digit: int, has: int) -> Iterable[int]:
    return [token for token in range(count) if token >> digit & 1 == has]


def _groups(was: Tensor, now: Tensor) -> Tensor:
    """Which operands of a batched product have changed."""
    return changed(*(each.reshape(-1, *each.shape[-2:]).flatten(1) for each in (was, now)))


@torch.no_grad()
def _is_torn(tape: Tape, part: Attention, block: Block) -> bool:
    """Whether noise in what attention gives for one token changes more rows behind it than one."""
    target = put_together(tape, part, block)
    if target is None:
        return False
    source, rows = target
    output, token = part.output.clone(), len(part.output) // 2
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(output.shape[1:], generator=generator, dtype=torch.float64).to(output.dtype)
    output[token] += noise * (output.std() + 1e-3)
    moved = changed(rows(tape.value(source)), rows(played(tape, part.replacing(output), source)))
    return int(moved.sum()) > 1


def told(found: Sequence[Between], blocks: int, severity: Severity, meeting: Text) -> Finding:
    """The finding: what is compared instead of what, and what becomes of it; torn tokens are an error in any case. `meeting` says whether and where
    tokens meet, for attention between heads in all blocks."""
    first, paths = found[0], [each.path or "the model" for each in found]
    heads, tokens = first.heads, first.tokens
    is_torn = any(each.is_torn for each in found)
    if is_torn:
        rest = Text(
            " What it gives for one token is then put back into several others.",
            "さらに、1つのトークンについての結果が、ほかの複数のトークンに戻されています。",
        )
    elif len(found) == blocks:
        rest = meeting
    else:
        rest = Text(
            " Where that is meant, beside attention between the tokens, nothing is wrong.",
            "トークン間のアテンションに加えて意図的に使っているのであれば、問題ありません。",
        )
    return BETWEEN.found(
        Text(
            f"Attention runs between the {heads} heads of each token instead of between the {tokens} tokens: the scores are {heads} × {heads} for "
            f"each token, not {tokens} × {tokens} for each head, in {part_of(len(found), blocks, 'block')} ({listed(paths)}).{rest.en}",
            f"アテンションが、{tokens}個のトークンの間ではなく、各トークンの{heads}個のヘッドの間で計算されています。{blocks}個のブロックのうち{len(found)}個で、"
            f"スコアがヘッドごとの{tokens} × {tokens}ではなく、トークンごとの{heads} × {heads}になっています（{listed(paths)}）。{rest.ja}",
        ),
        {"modules": paths, "blocks": blocks, "heads": heads, "tokens": tokens},
        severity="error" if is_torn else severity,
    )
