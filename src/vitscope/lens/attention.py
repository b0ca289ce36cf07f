"""The attentions of one forward: queries, keys, values and map of each, found on the tape and proved.

An attention is a softmax whose argument comes from a product of two tensors that were computed, and whose result is multiplied with a
third; or one that the module writes out, exponentials over their sum; or torch's fused operation, which is given all three. The map is made
again from the module's own queries and keys, along the module's own way (its scaling, its mask), and stands only if map · v gives what the
module went on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.flow import is_of_two
from vitscope.lens.operations import FUSED, SOFTMAX, factors
from vitscope.lens.refusals import refuse_foreign, refuse_what_is_left, where_not_finite
from vitscope.lens.tape import Call, Tape
from vitscope.lens.ways import made_again, way_by_hand, way_from_product, way_to_values

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest error of map · v beside the largest number of the module's own result, by its dtype: some ten times its rounding."""


@dataclass(frozen=True, eq=False, repr=False)
class Attention:
    """One attention of one forward of one image, with its proof.

    `map[k, t, u]` is how much of token u's values token t takes in head k. Queries and keys are those that the product is of: turned by a
    rotary position, normalised and scaled where the module does that before.
    """

    path: str
    """The module that ran it."""
    q: Float[Tensor, "K Tq E"]
    k: Float[Tensor, "K T E"]
    v: Float[Tensor, "Kv T Ev"]
    """As many heads as queries, but where two maps of a head were made one (differential attention), which is not proved."""
    map: Float[Tensor, "Kv Tq T"]
    output: Float[Tensor, "Kv Tq Ev"]
    """What the module itself went on with: map · v."""
    error: float
    """Largest difference between our map · v and `output`, beside the largest number of `output`."""
    tolerance: float
    is_fused: bool
    """Whether torch's fused operation ran, which has no map of its own."""
    over_keys: bool
    """Whether the softmax runs along the keys, as it should, and nothing scales the map behind it: each token's row sums to one."""
    is_turned: bool
    """Whether the module made all of it on its side: keys down, queries across."""
    begins: Call
    """The product of queries and keys, or the fused operation."""
    ends: Call
    """The product with the values, or the fused operation."""

    parts: tuple[Attention, ...] = ()
    """Those that it is put together of, where the module computes heads one by one; `begins` is then the first one's, `ends` the last one's."""

    def replacing(self, output: Float[Tensor, "K Tq Ev"]) -> dict[Call | None, Tensor]:
        """Numbers in the place of `output`, for `Tape.play`: what each call that made it is to give, in the shape in which it gives it."""
        if self.parts:
            each = torch.split(output, [len(part.map) for part in self.parts])
            return {
                call: x for part, own in zip(self.parts, each, strict=True) for call, x in part.replacing(own).items()
            }
        return {self.ends: (output.mT if self.is_turned else output).reshape(self.ends.outputs[0].shape)}


def find_attentions(tape: Tape) -> tuple[Attention, ...]:
    """All attentions on a tape, in order, each proved.

    Raises:
        LensError: one whose map does not reproduce what the module went on with, or whose numbers were overwritten.
    """
    refuse_foreign(tape)
    try:
        found = [*_fused(tape), *_explicit(tape)]
        found = sorted([*found, *_by_hand(tape, found)], key=lambda attention: attention.begins.number)
        found += _learned_read_outs(tape, found)
    except RuntimeError as fault:  # shapes that do not fit: something unknown stands between map and values
        raise LensError(
            Text(
                f"an attention of this model is made in a way that the lens cannot make again ({str(fault).splitlines()[0]})",
                f"このモデルには、同じ手順で計算し直せないアテンションがあります: {str(fault).splitlines()[0]}",
            )
        ) from None
    for attention in found:
        if not isfinite(attention.error):
            raise LensError(where_not_finite(tape, attention))
        if attention.error > attention.tolerance:
            raise LensError(
                Text(
                    f"the attention map of {attention.path or 'the model'} does not give what the module went on with: map · v is off by "
                    f"{attention.error:.1e} of its largest number, allowed are {attention.tolerance:.0e}; no picture is drawn of it",
                    f"{attention.path or 'モデル本体'}のアテンションマップを検証できません。マップ・vとモジュール自身の出力の差が、その最大値の"
                    f"{attention.error:.1e}倍あります（許容範囲は{attention.tolerance:.0e}倍以内）。このマップは図に示しません",
                )
            )
    refuse_what_is_left(tape, found)
    return tuple(found)


def _learned_read_outs(tape: Tape, found: list[Attention]) -> Iterator[Attention]:
    """Behind the last attention one may pool the tokens whose queries are a parameter: it has fewer of them than there are tokens."""
    if not found:
        return
    last, tokens = max(attention.ends.number for attention in found), found[0].map.shape[-2]
    for softmax in tape.calls[last + 1 :]:
        shape = softmax.outputs[0].shape if softmax.name in SOFTMAX else ()
        if len(shape) < 2 or not min(shape[-2:]) < min(tokens, max(shape[-2:])):
            continue
        with suppress(RuntimeError, LensError):  # it is no attention, and nothing is drawn of it
            attention = _of_softmax(tape, softmax, learned=True)
            if attention is not None and attention.error <= attention.tolerance:
                yield attention


def _fused(tape: Tape) -> Iterator[Attention]:
    for call in tape.calls:
        if call.name.startswith(FUSED):
            names = (argument.name for argument in call.op._schema.arguments)
            given = dict(zip(names, call.args, strict=False)) | call.kwargs
            q, k, v = (tape.value(source) for source in call.sources[:3])
            if q.ndim > 2 and k.shape[-3] != q.shape[-3]:  # grouped queries: several heads share keys and values
                k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], dim=-3) for x in (k, v))
            yield _proved(call, call, q, k, v, _map_of_fused(q, k, given), tape.value(call), is_fused=True)


def _map_of_fused(q: Tensor, k: Tensor, given: dict[str, Any]) -> Tensor:
    """softmax(q kᵀ · scale + mask), as torch documents `scaled_dot_product_attention`, in float64."""
    scale, mask = given.get("scale"), given.get("attn_mask", given.get("attn_bias"))
    scores = q.double() @ k.double().mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if given.get("is_causal"):
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1)


def _explicit(tape: Tape) -> Iterator[Attention]:
    for softmax in tape.calls:
        if softmax.name in SOFTMAX:
            found = _of_softmax(tape, softmax)
            if found is not None:
                yield found


def _of_softmax(tape: Tape, softmax: Call, *, learned: bool = False) -> Attention | None:
    """The attention that is written out around a softmax, if it is one; with `learned`, one whose queries or keys are a parameter."""
    way, use = way_from_product(tape, softmax.sources[0], learned), way_to_values(tape, softmax)
    if way is None or use is None:
        return None
    between, ends = use
    return _of_calls(tape, [*way, softmax, *between], ends)


def _by_hand(tape: Tape, found: list[Attention]) -> Iterator[Attention]:
    """Those whose weights are made of a product of two computed tensors by any operations but products, and sum to the same along an
    axis."""
    ends = {attention.ends.number for attention in found}
    for call in tape.calls:
        if call.number in ends or not is_of_two(tape, call):
            continue
        for source in factors(call):
            way = way_by_hand(tape, source)
            if way and _are_shares(tape.value(source)):
                attention = _of_calls(tape, way, call)
                if attention is not None:
                    yield attention
                break


def _are_shares(weights: Tensor) -> bool:
    """Whether weights sum to the same along one of their axes: to one, or less where something scales them behind."""
    sums = [weights.double().sum(dim=axis) for axis in range(weights.ndim)]
    near = 2e-2 if weights.dtype in (torch.bfloat16, torch.float16) else 1e-3
    return bool((weights >= 0).all()) and any(
        float(each.max() - each.min()) < near * float(each.max()) and float(each.max()) < 1 + near for each in sums
    )


def _of_calls(tape: Tape, whole: list[Call], ends: Call) -> Attention | None:
    """The attention whose map all these calls make, the product of queries and keys first, and which `ends` multiplies with values."""
    first, second = (tape.value(source) for source in factors(whole[0]))
    is_turned = factors(ends)[1].call is whole[-1] and factors(ends)[0].call is not whole[-1]  # valuesᵀ · mapᵀ
    map_, output = made_again(tape, whole), tape.value(ends)
    v = tape.value(factors(ends)[0 if is_turned else 1])
    if is_turned:
        v, map_, output = v.mT, map_.mT, output.mT
    q, k = first, second.mT
    if q.shape[-2] != map_.shape[-2] or not _asks(tape, whole, map_, is_turned=is_turned):
        q, k = k, q
    if (q.shape[-2], k.shape[-2]) != tuple(map_.shape[-2:]):
        return None
    found = _proved(whole[0], ends, q, k, v, map_, output, is_turned=is_turned)
    if found.error <= found.tolerance:
        return found
    own = made_again(
        tape, whole, is_exact=False
    )  # scores may be so large that the map hangs on how the module rounds them
    return _proved(whole[0], ends, q, k, v, own.mT if is_turned else own, output, is_turned=is_turned)


def _asks(tape: Tape, whole: list[Call], map_: Tensor, *, is_turned: bool) -> bool:
    """Whether the first factor's rows are those that ask: changing the product's first row changes one row of the map. Else it changes a
    column, and with it, by the softmax, all rows. The product is one of zeros, where no softmax is at its end."""
    even = torch.zeros_like(made_again(tape, whole[:1]))
    product = even.clone()
    product[..., 0, :] += torch.linspace(0, 1, product.shape[-1], dtype=product.dtype, device=product.device)
    was, changed = (made_again(tape, whole, start) for start in (even, product))
    differs = (changed.mT != was.mT) if is_turned else (changed != was)
    rows = differs.any(dim=-1).reshape(-1, map_.shape[-2]).any(dim=0)
    return int(rows.sum()) <= 1 or map_.shape[-1] == 1


def _proved(
    begins: Call,
    ends: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    map_: Tensor,
    output: Tensor,
    *,
    is_fused: bool = False,
    is_turned: bool = False,
) -> Attention:
    """An attention as heads × tokens × width, and how far our map · v is from the module's own."""
    q, k, v, map_, output = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v, map_, output))
    largest = float(output.double().abs().max())
    error = float((map_.double() @ v.double() - output.double()).abs().max()) / (largest or 1.0)
    apart = float((map_.double().sum(dim=-1) - 1).abs().max())
    over_keys = apart <= (2e-2 if map_.dtype in (torch.bfloat16, torch.float16) else 1e-3)
    tolerance = TOLERANCE.get(output.dtype, TOLERANCE[torch.bfloat16])
    return Attention(
        begins.path, q, k, v, map_.float(), output, error, tolerance, is_fused, over_keys, is_turned, begins, ends
    )
