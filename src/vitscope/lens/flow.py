"""What descends from what on a tape, and by what kind of operation. In go calls, out come sets of their numbers."""

from __future__ import annotations

from vitscope.lens.operations import CONVOLUTIONS, FUSED, PRODUCTS, VIEWS, factors
from vitscope.lens.tape import Call, Source, Tape


def has_constant(tape: Tape, call: Call) -> bool:
    """Whether one of a call's sources comes from outside of the image: a parameter, a table."""
    return any(not tape.is_of_image(source) for source in call.sources)


def descendants(tape: Tape, call: Call) -> set[int]:
    """The numbers of all calls that a call reaches, its own among them."""
    found = {call.number}
    for later in tape.calls[call.number + 1 :]:
        if any(source.call is not None and source.call.number in found for source in later.sources):
            found.add(later.number)
    return found


def ancestors(call: Call) -> set[int]:
    """The numbers of all calls that reach a call, its own among them."""
    found, waiting = {call.number}, [call]
    while waiting:
        for source in waiting.pop().sources:
            if source.call is not None and source.call.number not in found:
                found.add(source.call.number)
                waiting.append(source.call)
    return found


def way_to(tape: Tape, call: Call, *, start: Call | None) -> list[Call]:
    """From `start` (without it; None: the image) to a call, along the sources that the image reaches, the first such at each."""
    way: list[Call] = []
    here: Call | None = call
    while here is not None and here is not start:
        way.append(here)
        here = next((source.call for source in here.sources if source.call and tape.is_of_image(source)), None)
    return way[::-1]


def closed(tape: Tape, numbers: set[int]) -> set[int]:
    """These calls, and all that are made of nothing but them without a product."""
    found = set(numbers)
    for call in tape.calls:
        if call.name not in PRODUCTS | CONVOLUTIONS and not call.name.startswith(FUSED):
            makers = [s.call for s in call.sources if tape.is_of_image(s)]
            if makers and all(maker is not None and maker.number in found for maker in makers):
                found.add(call.number)
    return found


def without_products(tape: Tape, call: Call) -> set[int]:
    """What a call reaches without a product in between: views, norms and the like of its own numbers."""
    found = {call.number}
    for later in tape.calls[call.number + 1 :]:
        if not mixes_channels(later) and any(s.call is not None and s.call.number in found for s in later.sources):
            others = [
                s for s in later.sources if s.call is not None and s.call.number not in found and tape.is_of_image(s)
            ]
            if not others:
                found.add(later.number)
    return found


def projections(tape: Tape, begins: Call) -> set[int]:
    """The products nearest before an attention's own, which make its queries and keys."""
    nearest, seen, waiting = set[int](), set[int](), [begins]
    while waiting:
        for source in waiting.pop().sources:
            call = source.call
            if call is not None and call.number not in seen and tape.is_of_image(source):
                seen.add(call.number)
                if call.name in PRODUCTS | CONVOLUTIONS:
                    nearest.add(call.number)
                else:
                    waiting.append(call)
    return nearest


def products_before(tape: Tape, source: Source) -> list[Call]:
    """The products, convolutions and fused attentions nearest before a source, in order."""
    found, seen, waiting = set[int](), set[int](), [source]
    while waiting:
        call = waiting.pop().call
        if call is None or call.number in seen:
            continue
        seen.add(call.number)
        if call.name in PRODUCTS | CONVOLUTIONS or call.name.startswith(FUSED):
            found.add(call.number)
        else:
            waiting += [each for each in call.sources if tape.is_of_image(each)]
    return [tape.calls[number] for number in sorted(found)]


def unviewed(tape: Tape, call: Call) -> Call:
    """What gave the numbers that a call only shows in another shape, or a part of them."""
    while call.name in VIEWS:
        before = next((source.call for source in call.sources if tape.is_of_image(source)), None)
        if before is None:
            return call
        call = before
    return call


def is_of_two(tape: Tape, call: Call) -> bool:
    """Whether a call is a product of two tensors that were both computed from the image, as scores and weighted values are."""
    return call.name in PRODUCTS and all(tape.is_of_image(factor) for factor in factors(call))


def mixes_channels(call: Call) -> bool:
    """A product, or a convolution that is one: of one pixel."""
    return call.name in PRODUCTS or (call.name in CONVOLUTIONS and set(call.args[1].shape[2:]) == {1})
