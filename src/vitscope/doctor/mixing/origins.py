"""Where in an earlier call's result the numbers of a later tensor stood: what views, transposes and joins have made of the order.

In go a tape and two places on it, out come numbers of places. Only what moves numbers about is played again; what changes them one by one (a
norm, a rotation, a scale) leaves them where they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from vitscope.lens.flow import ancestors
from vitscope.lens.operations import CONVOLUTIONS, MOVES, PRODUCTS, VIEWS
from vitscope.lens.tape import Call, Source, Tape

ELSEWHERE = 0.0
"""The place of what comes from somewhere else; places count from one."""
_Known = dict[tuple[int, int], Tensor]


def origins(tape: Tape, made: Call, places: Float[Tensor, ...], source: Source) -> Float[Tensor, ...] | None:
    """For each number of a source its place in what `made` gave, where each number of that stands at one of `places`; None where the way between
    them does more than move numbers."""
    if source.call is None:
        return None
    known: _Known = {(made.number, 0): places}
    between = ancestors(source.call)
    for call in tape.calls[made.number + 1 : source.call.number + 1]:
        if call.number not in between or not any(_key(s) in known for s in call.sources):
            continue
        moved = _moved(call, known)
        if moved is None:
            return None
        known.update(((call.number, index), each) for index, each in enumerate(moved))
    found = known.get((source.call.number, source.index))
    return found if found is not None and found.shape == source.tensor.shape else None


def _key(source: Source) -> tuple[int, int]:
    return (-1, 0) if source.call is None else (source.call.number, source.index)


def _moved(call: Call, known: _Known) -> list[Tensor] | None:
    """The places of each of a call's results."""
    before = [known.get(_key(source)) for source in call.sources]
    if any(here is not None and here.shape != s.tensor.shape for here, s in zip(before, call.sources, strict=True)):
        return None  # written into through a view
    if call.name in ("cat", "stack"):
        values = iter([_or_elsewhere(here, s) for here, s in zip(before, call.sources, strict=True)])
    elif call.name in VIEWS | MOVES and call.name not in ("_to_copy", "as_strided"):
        if before[0] is None:
            return None
        values = iter([before[0].contiguous(), *(source.tensor for source in call.sources[1:])])
    else:
        same = next((here for here in before if here is not None and here.shape == call.outputs[0].shape), None)
        return None if same is None or call.name in PRODUCTS | CONVOLUTIONS else [same]
    args, kwargs = tree_map(lambda x: next(values) if isinstance(x, Tensor) else x, (call.args, call.kwargs))
    op = torch.ops.aten.reshape.default if call.name in ("view", "_unsafe_view") else call.op
    return [each for each in tree_leaves(op(*args, **kwargs)) if isinstance(each, Tensor)]


def _or_elsewhere(here: Tensor | None, source: Source) -> Tensor:
    return torch.full(source.tensor.shape, ELSEWHERE, dtype=torch.float64) if here is None else here


def is_the_same(places: Float[Tensor, "K P C"], axis: int) -> bool:
    """Whether along an axis there is one number only, everywhere, whatever stands `ELSEWHERE`."""
    known = places != ELSEWHERE
    least = places.masked_fill(~known, torch.inf).amin(dim=axis)
    return bool((places.amax(dim=axis) <= least).all())
