"""Whom a token may attend to, whatever queries and keys are: what a mask leaves open. In go a tape and an attention, out come pairs; and the fix
that leaves the mask out.

A map holds zeros also where scores are far apart; a mask does where all scores are the same. So the product of queries and keys is played as
zeros (of an attention without a proof, as ones too), and what has no share then is forbidden.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import isfinite

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from vitscope.doctor.finding import Fault
from vitscope.doctor.mixing.experiments import played
from vitscope.lens.attention import Attention
from vitscope.lens.operations import factors
from vitscope.lens.tape import Call, Tape

_WITHOUT = {
    nn.TransformerEncoder: "x = self.{name}(x)   # no mask, no is_causal",
    nn.TransformerEncoderLayer: "x = layer(x)   # no src_mask, no is_causal",
    nn.MultiheadAttention: "self.{name}(x, x, x, need_weights=False)[0]   # no attn_mask, no is_causal",
}
"""How torch's modules are called without a mask, the outermost first."""
FORBIDDEN = 1e-30
"""A share below this is none: masks of -100 count as well."""


@torch.no_grad()
def allowed(tape: Tape, attention: Attention) -> Bool[Tensor, "K Tq T"]:
    """Which keys (across) each query (down) may attend to, by head.

    Raises:
        LensError: the model writes over what is played.
    """
    if attention.parts:
        return torch.cat([allowed(tape, part) for part in attention.parts])
    if attention.is_fused:
        return left_by_arguments(attention.begins).reshape(attention.map.shape)
    map_source = next((s for s in factors(attention.ends) if _comes_from(s.call, attention.begins)), None)
    if map_source is None:
        return torch.ones(attention.map.shape, dtype=torch.bool)
    pairs = torch.zeros(attention.map.shape, dtype=torch.bool)
    for score in (
        (0.0,) if isfinite(attention.error) else (0.0, 1.0)
    ):  # weights that are no softmax may be zero for scores of zero
        weights = played(tape, {attention.begins: _even(tape, attention.begins) + score}, map_source)
        weights = weights.mT if attention.is_turned else weights
        pairs |= weights.reshape(attention.map.shape).abs() > FORBIDDEN
    return pairs


def unmasked(fault: Fault, model: nn.Module, path: str) -> Fault:
    """The fault with the line that gives an attention no mask: by the argument of torch's module that it is in, where it is in one."""
    steps = path.split(".")
    paths = [".".join(steps[:depth]) for depth in range(1, len(steps) + 1)]
    for kind, code in _WITHOUT.items():
        for each in paths:
            with suppress(AttributeError):
                if isinstance(model.get_submodule(each), kind):
                    return replace(fault, code=code.format(name=each.rpartition(".")[2]))
    return fault


def _comes_from(call: Call | None, begins: Call) -> bool:
    """Whether the first of two factors is the map: it is made of the product of queries and keys."""
    waiting, seen = [call], set[int]()
    while waiting:
        here = waiting.pop()
        if here is begins:
            return True
        if here is not None and here.number > begins.number and here.number not in seen:
            seen.add(here.number)
            waiting += [source.call for source in here.sources]
    return False


def _even(tape: Tape, product: Call) -> Tensor:
    """What the product would give if queries were zero: what it adds, where it adds something (torch's own puts its mask there)."""
    even = torch.zeros_like(product.outputs[0])
    if product.name in ("baddbmm", "addmm"):
        even = even + tape.value(product.sources[0]) * product.kwargs.get("beta", 1)
    return even


def left_by_arguments(call: Call) -> Bool[Tensor, "*batch Tq T"]:
    """The pairs that the fused operation is told to leave open."""
    names = (argument.name for argument in call.op._schema.arguments)
    given = dict(zip(names, call.args, strict=False)) | call.kwargs
    q, k = call.sources[0].tensor, call.sources[1].tensor
    pairs = torch.ones(*q.shape[:-1], k.shape[-2], dtype=torch.bool)
    if given.get("is_causal"):
        pairs = pairs.tril()
    mask = given.get("attn_mask", given.get("attn_bias"))
    if mask is not None:
        # what is added to scores forbids where it leaves no share
        kept = mask if mask.dtype == torch.bool else torch.softmax(mask.double().expand(pairs.shape), -1) > FORBIDDEN
        pairs = pairs & kept
    return pairs


def is_triangular(pairs: Bool[Tensor, "K Tq T"]) -> str | None:
    """`later` where no token may attend to one behind it, `earlier` where to none before it, in any head, and to most of the others; None
    otherwise."""
    rows, columns = pairs.shape[-2:]
    if rows != columns or rows < 4:
        return None
    any_head, half = pairs.any(dim=0), rows * (rows - 1) / 2
    above, below = int(any_head.triu(1).sum()), int(any_head.tril(-1).sum())
    if not above and below > half / 2:
        return "later"
    return "earlier" if not below and above > half / 2 else None
