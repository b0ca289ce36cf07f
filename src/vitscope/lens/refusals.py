"""What the lens refuses for what is on a tape: attentions in one operation, numbers that are none, products that it does not know.

In go a tape and the attentions that were found; out comes nothing, or one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.lens.operations import FUSED, PRODUCTS, factors
from vitscope.lens.tape import Call, Tape

if TYPE_CHECKING:
    from vitscope.lens.attention import Attention


def refuse_foreign(tape: Tape) -> None:
    """Refuses attentions that are one operation and not torch's documented one: their maps cannot be made again."""
    for call in tape.calls:
        name = str(call.op)
        if not call.name.startswith(FUSED) and ("attention" in name or "attn" in name):
            raise LensError(
                f"{call.path or 'the model'} computes its attention in one operation that the lens does not know ({name}); choose torch's own "
                "(scaled_dot_product_attention, or attn_implementation='sdpa' or 'eager' in transformers) to look at it"
            )


def refuse_not_finite(tape: Tape, scores: Tensor) -> None:
    """Refuses scores that hold no numbers."""
    if not bool(scores.isfinite().all()):
        raise LensError(_not_finite(tape.calls, tape, "what the model gives", scores.dtype))


def where_not_finite(tape: Tape, attention: Attention) -> str:
    """The sentence for an attention that holds no numbers."""
    where = f"the attention of {attention.path or 'the model'}"
    return _not_finite(tape.calls[: attention.ends.number + 1], tape, where, attention.output.dtype)


def _not_finite(calls: list[Call], tape: Tape, where: str, dtype: torch.dtype) -> str:
    for call in calls:
        for source in call.sources:
            if source.call is None and source.tensor.is_floating_point() and bool(source.tensor.isnan().any()):
                what = "the image" if tape.is_of_image(source) else f"a parameter of {call.path or 'the model'}"
                return f"{where} is NaN, since {what} holds NaN, so nothing can be proved; mend that first"
    return f"{where} is NaN or infinite, so nothing can be proved; look at the size of the weights" + (
        "" if dtype in (torch.float32, torch.float64) else f", or give model and image as float32 instead of {dtype}"
    )


def refuse_what_is_left(tape: Tape, found: list[Attention]) -> None:
    """Refuses products of two tensors that the image reaches and that are no attention's: without them, blocks would go missing and the
    rest be numbered wrongly. Behind the last attention a product may pool the tokens to fewer."""
    known = {call.number for attention in found for call in (attention.begins, attention.ends)}
    last = max((attention.ends.number for attention in found), default=len(tape.calls))
    tokens = found[0].map.shape[-2] if found else 0
    for call in tape.calls:
        if call.name not in PRODUCTS or call.number in known or not all(tape.is_of_image(x) for x in factors(call)):
            continue
        if call.number < last or call.outputs[0].shape[-2] == tokens:
            raise LensError(
                f"{call.path or 'the model'} multiplies two computed tensors in a way that is no attention the lens knows "
                "(a softmax by hand, linear or talking-heads attention); it would be left out, so nothing is shown"
            )
