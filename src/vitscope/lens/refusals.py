"""What the lens refuses for what is on a tape: attentions in one operation, numbers that are none, products that it does not know.

In go a tape and the attentions that were found; out comes nothing, or one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.flow import ancestors
from vitscope.lens.operations import FUSED, PRODUCTS, factors
from vitscope.lens.tape import Call, Tape

if TYPE_CHECKING:
    from vitscope.lens.attention import Attention


def refuse_foreign(tape: Tape) -> None:
    """Refuses attentions that are one operation and not torch's documented one: their maps cannot be made again; and gradients within a forward,
    whose products look like attentions."""
    if tape.goes_back:
        raise LensError(
            Text(
                "the forward of this model computes gradients itself, and what is computed on the way back is not followed",
                "このモデルは順伝播の中で勾配を計算しており、逆向きの計算は追跡できません",
            )
        )
    for call in tape.calls:
        name = str(call.op)
        if not call.name.startswith(FUSED) and ("attention" in name or "attn" in name):
            raise LensError(
                Text(
                    f"{call.path or 'the model'} computes its attention in one operation that the lens does not know ({name}); choose torch's own "
                    "(scaled_dot_product_attention, or attn_implementation='sdpa' or 'eager' in transformers) to look at it",
                    f"{call.path or 'モデル本体'}のアテンションが、対応していない単一の演算（{name}）で計算されています。内部を調べるには、"
                    "torch標準の演算（scaled_dot_product_attention、transformersではattn_implementation='sdpa'または'eager'）を使ってください",
                )
            )


def refuse_not_finite(tape: Tape, scores: Tensor) -> None:
    """Refuses scores that hold no numbers."""
    if not bool(scores.isfinite().all()):
        where = Text("what the model gives", "モデルの出力")
        raise LensError(_not_finite(tape.calls, tape, where, scores.dtype))


def where_not_finite(tape: Tape, attention: Attention) -> Text:
    """The sentence for an attention that holds no numbers."""
    where = Text(f"the attention of {attention.path or 'the model'}", f"{attention.path or 'モデル本体'}のアテンション")
    return _not_finite(tape.calls[: attention.ends.number + 1], tape, where, attention.output.dtype)


def _not_finite(calls: list[Call], tape: Tape, where: Text, dtype: torch.dtype) -> Text:
    for call in calls:
        for source in call.sources:
            if source.call is None and source.tensor.is_floating_point() and bool(source.tensor.isnan().any()):
                what = (
                    Text("the image", "入力画像")
                    if tape.is_of_image(source)
                    else Text(f"a parameter of {call.path or 'the model'}", f"{call.path or 'モデル本体'}のパラメータ")
                )
                return Text(
                    f"{where.en} is NaN, since {what.en} holds NaN, so nothing can be proved; mend that first",
                    f"{what.ja}にNaNが含まれているため、{where.ja}がNaNになり、検証できません。まずこのNaNを取り除いてください",
                )
    advice = Text("look at the size of the weights", "重みの大きさを確認してください")
    if dtype not in (torch.float32, torch.float64):
        advice = Text(
            f"{advice.en}, or give model and image as float32 instead of {dtype}",
            f"重みの大きさを確認するか、モデルと画像を{dtype}ではなくfloat32にしてください",
        )
    return Text(
        f"{where.en} is NaN or infinite, so nothing can be proved; {advice.en}",
        f"{where.ja}がNaNまたは無限大のため、検証できません。{advice.ja}",
    )


def refuse_what_is_left(tape: Tape, found: list[Attention]) -> None:
    """Refuses products of two tensors that the image reaches and that are no attention's: without them, blocks would go missing and the
    rest be numbered wrongly. Behind the last attention a product may pool the tokens to fewer; and what nothing is made of in the end (maps that are
    computed once more, to be looked at) is no part of the model."""
    used = ancestors(tape.calls[-1]) if tape.calls else set()
    known = {call.number for attention in found for call in (attention.begins, attention.ends)}
    last = max((attention.ends.number for attention in found), default=len(tape.calls))
    tokens = found[0].map.shape[-2] if found else 0
    for call in tape.calls:
        if call.name not in PRODUCTS or call.number in known or not all(tape.is_of_image(x) for x in factors(call)):
            continue
        if call.number in used and (call.number < last or call.outputs[0].shape[-2] == tokens):
            raise LensError(
                Text(
                    f"{call.path or 'the model'} multiplies two computed tensors in a way that is no attention the lens knows "
                    "(linear or talking-heads attention, weights that are no softmax); a model is followed whole or not at all",
                    f"{call.path or 'モデル本体'}に、計算で得た2つのテンソルの積のうち、対応しているどのアテンションにも当てはまらないものがあります"
                    "（線形アテンション、talking-headsアテンション、softmax以外の重みなど）。モデルの一部だけを追跡することはしません",
                )
            )
