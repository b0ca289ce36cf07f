"""The attentions of a model that the lens does not follow, as far as they can be told without a proof. In goes a tape, out come attentions.

An attention is here a product of two computed tensors, whatever stands behind it, and a product of that with a third: a softmax with talking heads,
weights that are no softmax, differences of maps; or keys with values first and queries then, as in linear attention. Their maps prove nothing: they
say where an attention begins and ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope.lens.attention import Attention
from vitscope.lens.flow import is_of_two, products_before, projections
from vitscope.lens.operations import CONVOLUTIONS, DROPOUTS, PRODUCTS, SCALES, SOFTMAX, VIEWS, factors
from vitscope.lens.tape import Call, Tape

HEADS = 64
"""A product with so wide a square of weights at most may mix heads, as talking heads do."""


def unproved_attentions(tape: Tape) -> tuple[Attention, ...]:
    """All attentions on a tape, in order; what scores and weights go through between (talking heads, norms of shares) is not looked at. None where
    the forward computes gradients itself: their products look like attentions."""
    if tape.goes_back:
        return ()
    found = list(_of_softmaxes(tape))
    known = {call.number for each in found for call in (each.begins, each.ends)}
    for ends in tape.calls:
        if ends.number not in known and is_of_two(tape, ends):
            made = _without_softmax(tape, ends, known)
            if made is not None:
                found.append(made)
                known |= {made.begins.number, made.ends.number}
    return tuple(sorted(found, key=lambda each: each.begins.number))


def are_all_known(tape: Tape, attentions: tuple[Attention, ...]) -> bool:
    """Whether each product of two computed tensors belongs to one of these attentions: it begins or ends it, or is of its own queries, keys and
    values. Others may be how a model brings its branches back to the tokens."""
    own = [(each.begins.number, each.ends.number) for whole in attentions for each in whole.parts or (whole,)]
    near = [projections(tape, tape.calls[begins]) | projections(tape, tape.calls[ends]) for begins, ends in own]
    known = {number for pair in own for number in pair}.union(*near)
    for call in tape.calls:
        if call.number not in known and is_of_two(tape, call):
            before = projections(tape, call)
            if not any(before <= each for each in near):
                return False
    return True


def _of_softmaxes(tape: Tape) -> Iterator[Attention]:
    for softmax in tape.calls:
        if softmax.name not in SOFTMAX or not _is_of_image(tape, softmax):
            continue
        begins, ends = scores_before(tape, softmax), _behind(tape, softmax)
        if begins is not None and ends is not None:
            made = _unproved(tape, begins, *ends)
            if made is not None:
                yield made


def _without_softmax(tape: Tape, ends: Call, known: set[int]) -> Attention | None:
    """The attention that a product ends, one of whose factors is made of other products of two computed tensors."""
    for place, source in enumerate(factors(ends)):
        products = [call for call in products_before(tape, source) if call.number not in known]
        if not products or not all(is_of_two(tape, call) for call in products):
            continue
        begins = products[0]
        if is_summed_over_tokens(tape, begins):
            return _linear(tape, begins, ends, is_turned=place == 0) if len(products) == 1 else None
        if all(call.outputs[0].shape[-2:] == source.tensor.shape[-2:] for call in products):
            return _unproved(tape, begins, ends, bool(place))
    return None


def is_summed_over_tokens(tape: Tape, begins: Call) -> bool:
    """Whether a product sums over the rows that its factors' projections have, and keeps none of them: keys with values."""
    rows = {_rows(tape.calls[number]) for number in projections(tape, begins)}
    shape, summed = begins.outputs[0].shape, factors(begins)[0].tensor.shape[-1]
    return summed in rows and not rows & set(shape[-2:])


def _rows(projection: Call) -> int:
    shape = projection.outputs[0].shape
    return int(shape[2:].numel() if projection.name in CONVOLUTIONS else shape[-2])


def _linear(tape: Tape, begins: Call, ends: Call, *, is_turned: bool) -> Attention | None:
    """Queries · (keysᵀ · values); with `is_turned`, all of it on its side."""
    first, second = (tape.value(source) for source in factors(begins))
    left, right = (tape.value(source) for source in factors(ends))
    keys, values = (second.mT, first) if is_turned else (first, second)
    q, v, output = (right.mT, values.mT, tape.value(ends).mT) if is_turned else (left, values, tape.value(ends))
    q, k, v, output = (x.reshape(-1, *x.shape[-2:]) for x in (q, keys.mT, v, output))
    if (len(q), q.shape[-1], k.shape[-2]) != (len(k), k.shape[-1], v.shape[-2]):
        return None
    return _as_attention(begins, ends, q, k, v, q @ k.mT, output, is_turned)


def _is_of_image(tape: Tape, call: Call) -> bool:
    return any(tape.is_of_image(source) for source in call.sources)


def _mixes_heads_only(tape: Tape, call: Call) -> bool:
    """Whether a call may stand between scores and values: number by number, or between heads."""
    if call.name in VIEWS | DROPOUTS or call.name in ("native_batch_norm", "native_layer_norm"):
        return True
    if call.name in CONVOLUTIONS:
        return set(call.args[1].shape[2:]) == {1} and call.args[1].shape[0] <= HEADS
    if call.name in PRODUCTS:
        weights = [factor.tensor for factor in factors(call) if not tape.is_of_image(factor)]
        return len(weights) == 1 and len(set(weights[0].shape[-2:])) == 1 and weights[0].shape[-1] <= HEADS
    return call.name in SCALES and sum(tape.is_of_image(source) for source in call.sources) == 1


def scores_before(tape: Tape, softmax: Call) -> Call | None:
    """The product of two computed tensors whose numbers a softmax takes."""
    call = softmax
    while call is softmax or (_mixes_heads_only(tape, call) and call.name != "native_layer_norm"):
        before = next((s.call for s in call.sources if tape.is_of_image(s)), None)
        if before is None:
            return None
        call = before
    return call if is_of_two(tape, call) else None


def _behind(tape: Tape, softmax: Call) -> tuple[Call, bool] | None:
    """The product of a softmax's numbers with values, and whether the values come first in it."""
    reached = {softmax.number}
    for call in tape.calls[softmax.number + 1 :]:
        own = [source.call is not None and source.call.number in reached for source in call.sources]
        if not any(own):
            continue
        if is_of_two(tape, call):
            first, second = own[-2:]
            return (call, second) if first != second else None
        if _mixes_heads_only(tape, call):
            reached.add(call.number)
    return None


def _unproved(tape: Tape, begins: Call, ends: Call, is_turned: bool) -> Attention | None:
    first, second = (tape.value(source) for source in factors(begins))
    left, right = (tape.value(source) for source in factors(ends))
    map_, v, output = (right.mT, left.mT, tape.value(ends).mT) if is_turned else (left, right, tape.value(ends))
    q, k, v, map_, output = (x.reshape(-1, *x.shape[-2:]) for x in (first, second.mT, v, map_, output))
    if (q.shape[-2], k.shape[-2]) != tuple(map_.shape[-2:]):
        q, k = k, q
    if (q.shape[-2], k.shape[-2]) != tuple(map_.shape[-2:]):
        return None
    return _as_attention(begins, ends, q, k, v, map_, output, is_turned)


def _as_attention(
    begins: Call, ends: Call, q: Tensor, k: Tensor, v: Tensor, map_: Tensor, output: Tensor, is_turned: bool
) -> Attention:
    return Attention(
        begins.path, q, k, v, map_.float(), output, torch.nan, torch.nan, False, True, is_turned, begins, ends
    )
