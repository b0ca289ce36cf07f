"""The ways on a tape between the product of queries and keys, the map, and the product with values. In go calls, out come lists of calls, and what
these give when they are made again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from vitscope.lens.flow import ancestors, descendants, is_of_two, products_before
from vitscope.lens.operations import (
    DROPOUTS,
    EXPONENTIALS,
    PRODUCTS,
    RESIDUALS,
    SCALES,
    VIEWS,
    factors,
)
from vitscope.lens.tape import Call, Source, Tape


def way_from_product(tape: Tape, source: Source, learned: bool) -> list[Call] | None:
    """The calls from a product of two computed tensors (with `learned`, of one) to this source, product first; None where it comes from none."""
    call = source.call
    if call is None:
        return None
    if call.name in PRODUCTS:
        return [call] if sum(tape.is_of_image(factor) for factor in factors(call)) == (1 if learned else 2) else None
    if call.name in VIEWS | SCALES:
        for before in call.sources:
            way = way_from_product(tape, before, learned)
            if way is not None:
                return [*way, call]
    return None


def way_to_values(tape: Tape, softmax: Call) -> tuple[list[Call], Call] | None:
    """The calls from a softmax's result to the product with the values, and that product."""
    waiting, seen = [[softmax]], {softmax.number}
    while waiting:
        way = waiting.pop(0)
        for user in tape.users(way[-1]):
            if user.number in seen:
                continue
            seen.add(user.number)
            if user.name in PRODUCTS:
                first, second = factors(user)
                if way[-1] in (first.call, second.call) and tape.is_of_image(first) and tape.is_of_image(second):
                    return way[1:], user
            elif user.name in VIEWS | SCALES - RESIDUALS | DROPOUTS:  # behind a sum it is no map any more
                waiting.append([*way, user])
    return None


def way_by_hand(tape: Tape, source: Source) -> list[Call]:
    """All calls from the one product of two computed tensors that a source is made of, without another on the way; empty where it is not, or
    nothing raises e to anything in between."""
    products = products_before(tape, source)
    if source.call is None or len(products) != 1 or not is_of_two(tape, products[0]):
        return []
    between = descendants(tape, products[0]) & ancestors(source.call)
    way = [tape.calls[number] for number in sorted(between)]
    return way if any(call.name in EXPONENTIALS for call in way) else []


def made_again(tape: Tape, way: list[Call], start: Tensor | None = None, *, is_exact: bool | None = None) -> Tensor:
    """What the last of these calls gives, each made from those before it: from the factors of the first, or from `start` in the place of
    what the first gave. In float64, or as the module rounds: left out, where the product is in half precision."""
    if is_exact is None:
        is_exact = way[0].outputs[0].dtype not in (torch.bfloat16, torch.float16)
    made: dict[int, tuple[Tensor, ...]] = {} if start is None else {way[0].number: (start,)}
    for call in way if start is None else way[1:]:
        values = [
            made[source.call.number][source.index] if source.call and source.call.number in made else tape.value(source)
            for source in call.sources
        ]
        given = iter([x.double() if is_exact and x.is_floating_point() else x for x in values])
        args, kwargs = tree_map(
            lambda x, given=given: next(given) if isinstance(x, Tensor) else x,
            (call.args, {key: x for key, x in call.kwargs.items() if not (is_exact and key == "dtype")}),
        )
        made[call.number] = tuple(x for x in tree_leaves(call.op(*args, **kwargs)) if isinstance(x, Tensor))
    return made[way[-1].number][0]
