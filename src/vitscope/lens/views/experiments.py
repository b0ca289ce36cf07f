"""What the scores would be, were something else: read out early, a head or a block taken away, patches shuffled. Traces in, scores out.

Each is the model's own tape played again with one thing replaced (`Tape.play`), so nothing of the model is written a second time here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.anatomy import Block
from vitscope.lens.tape import Call
from vitscope.lens.trace import Trace


@dataclass(frozen=True, eq=False, repr=False)
class LogitLens:
    """Class scores read out behind every block, as though the rest were not there (nostalgebraist 2020, "interpreting GPT: the logit lens")."""

    scores: Float[Tensor, "L Y"]
    """By the model's own reading: its class token, or the mean of its patches. The last row is the logits."""
    patches: Float[Tensor, "L N Y"]
    """Of each patch's token, put where the model reads."""
    caveat: ClassVar[Text] = Text(
        "Norm and head were trained for the last block's tokens; before it their reading is a guess, and of a patch's token a guess anywhere.",
        "正規化と分類ヘッドは最終ブロックの出力に合わせて学習されたものです。途中のブロックでの値や、パッチトークンからの値は目安にすぎません。",
    )


def logit_lens(trace: Trace) -> LogitLens:
    """Reads every block's tokens with the model's own norm and head.

    Raises:
        LensError: no sum ends the last block, reading it does not give the logits, or tokens do not stand for one patch each.
    """
    last = _leaves(trace.anatomy.blocks[-1])
    token_of_patch = trace.layout.token_of_patch
    if sorted(token_of_patch) != list(range(trace.layout.grid[0] * trace.layout.grid[1])):
        raise LensError(
            Text(
                "tokens of this model do not stand for one patch each, so there are no patches to read the scores of",
                "このモデルのトークンは1つずつのパッチに対応していないため、パッチごとのスコアは読み出せません",
            )
        )
    scores: list[Tensor] = []
    patches: list[Tensor] = []
    for block in trace.anatomy.blocks:
        tokens = trace.tape.value(_leaves(block))
        scores.append(_scores(trace, {last: tokens}))
        flat = tokens.reshape(len(trace.layout.patch_of_token), -1)
        rows: list[Tensor] = []
        for patch in range(len(token_of_patch)):
            read = flat.clone()
            read[list(trace.reads)] = flat[token_of_patch[patch]]
            rows.append(_scores(trace, {last: read.view_as(tokens)}))
        patches.append(torch.stack(rows))
    if not torch.equal(scores[-1], trace["logits"]):
        raise LensError(
            Text(
                "reading the last block's tokens does not give the model's own scores; the logit lens is not shown",
                "最後のブロックのトークンから読み出した値がモデル自身のスコアと一致しないため、ロジットレンズは示しません",
            )
        )
    return LogitLens(torch.stack(scores), torch.stack(patches))


@dataclass(frozen=True, eq=False, repr=False)
class Removal:
    """What taking a part away does to the score of one class: the score without it, minus the score with it."""

    target: int
    heads: Float[Tensor, "L K"] | None
    """None where only whole blocks were taken away."""
    blocks: Float[Tensor, " L"]
    caveat: ClassVar[Text] = Text(
        "A head is taken away by putting zeros in the place of what it gives, a block by handing its tokens on as they came. What the others would "
        "do, had they been trained without it, is not seen.",
        "ヘッドはその出力をゼロに置き換え、ブロックは入力トークンをそのまま次へ渡すことで取り除いています。取り除いた状態で学習し直した場合のことは分かりません。",
    )


def removal(trace: Trace, *, target: int | None = None, each_head: bool = True) -> Removal:
    """Takes away each head, and each block, by itself: a stretch of the forward for each.

    Args:
        target: the class; left out, the one with the highest score.
        each_head: whether heads are taken away, too; a large model has many.

    Raises:
        LensError: a block whose start or end was not found.
    """
    logits = trace["logits"]
    chosen = int(logits.argmax()) if target is None else target
    heads: list[Tensor] = []
    blocks: list[Tensor] = []
    for block in trace.anatomy.blocks:
        if block.enters is None:
            raise LensError(
                Text(
                    f"the tokens that {block.path} starts from were not found, so it cannot be taken away",
                    f"{block.path}に入るトークンが見つからないため、このブロックを取り除いた結果は求められません",
                )
            )
        attention = block.attention
        row: list[Tensor] = []
        for head in range(len(attention.output)) if each_head else ():
            silent = attention.output.clone()
            silent[head] = 0
            row.append(_scores(trace, attention.replacing(silent))[chosen] - logits[chosen])
        if each_head:
            heads.append(torch.stack(row))
        without = _scores(trace, {_leaves(block): trace.tape.value(block.enters)})
        blocks.append(without[chosen] - logits[chosen])
    return Removal(chosen, torch.stack(heads) if each_head else None, torch.stack(blocks))


@dataclass(frozen=True, eq=False, repr=False)
class Shuffling:
    """The scores of the same patches in another order, with the position embedding and without it."""

    order: tuple[int, ...]
    """The patch that now stands at each place."""
    with_position: Float[Tensor, "two Y"]
    """Scores of the image as it is, and shuffled."""
    without_position: Float[Tensor, "two Y"]
    caveat: ClassVar[Text] = Text(
        "Taking the position embedding from a model that was trained with it shows what it relies on, not how a model without it would do.",
        "位置埋め込みありで学習したモデルから取り除いた結果です。モデルがそれにどれだけ頼っているかは分かりますが、位置埋め込みなしで学習したモデルの性能ではありません。",
    )


def shuffling(trace: Trace, *, seed: int = 0) -> Shuffling:
    """Shuffles the patches of the image.

    Raises:
        LensError: patches that overlap, or a model without a position embedding that is added.
    """
    position, pixels = trace.anatomy.with_position, trace.layout.pixels
    if pixels is None:
        raise LensError(
            Text(
                "the patches of this model overlap, so they cannot be put in another order",
                "このモデルのパッチは重なり合うため、並べ替えることができません",
            )
        )
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    image = trace["image"][None]
    shuffled = image.flatten().clone()
    shuffled[pixels] = image.flatten()[pixels[order]]
    images = (image, shuffled.view_as(image))
    having = torch.stack([_scores(trace, {None: each}) for each in images])
    if position is None:
        return Shuffling(tuple(order.tolist()), having, having)
    tokens = next(s.call for s in position.sources if s.call is not None and trace.tape.is_of_image(s))
    lacking = torch.stack(
        [_scores(trace, {None: each, position: trace.tape.play({None: each}, tokens)}) for each in images]
    )
    return Shuffling(tuple(order.tolist()), having, lacking)


def _scores(trace: Trace, replaced: dict[Call | None, Tensor]) -> Tensor:
    with torch.no_grad():
        return trace.tape.play(replaced, trace.anatomy.logits)[0]


def _leaves(block: Block) -> Call:
    if block.leaves is None:
        raise LensError(
            Text(
                f"no sum brings the branches of {block.path} back to the tokens, so there is nothing to read or replace",
                f"{block.path}には、結果をトークンに足し戻す加算（残差接続）がないため、読み出しや置き換えができません",
            )
        )
    return block.leaves
