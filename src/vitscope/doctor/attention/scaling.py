"""By what constants queries, keys, scores and maps are multiplied. In go a tape and an attention, out comes a `Scaling`.

The factors are collected on the tape, from the product of queries and keys back to what projects them, and from the map back to that product. Where a
norm, a learned number or anything unknown stands between, there is no saying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, descendants
from vitscope.lens.operations import (
    CONVOLUTIONS,
    DROPOUTS,
    EXPONENTIALS,
    MOVES,
    PRODUCTS,
    SOFTMAX,
    SUMS,
    VIEWS,
    factors,
)
from vitscope.lens.tape import Call, Source, Tape

ALIKE = 2e-3
"""How far apart two factors may be, beside one of them, to be the same."""
_PASSES = (
    VIEWS
    | MOVES
    | DROPOUTS
    | SUMS
    | {"sub", "sub_", "cat", "stack", "neg", "view_as_real", "view_as_complex", "constant_pad_nd"}
    | {"masked_fill", "masked_fill_", "where", "amax", "max", "logsumexp"}
)
TIMES, OVER = frozenset({"mul", "mul_"}), frozenset({"div", "div_"})


@dataclass(frozen=True)
class Scaling:
    """The constants of one attention."""

    before: float | None
    """By which scores are multiplied, before the softmax, together; None: it cannot be told."""
    behind: float | None
    """By which the map is multiplied behind the softmax."""
    output: float
    """By which the module multiplies map · v, before anything is projected."""
    steps: tuple[float, ...] = ()
    """The constants other than one that make up `before`, each as it stands in the forward."""


def are_alike(one: float, other: float) -> bool:
    """Whether two factors are the same, as they are written in code."""
    return abs(one - other) <= ALIKE * abs(other)


def scaling_of(tape: Tape, attention: Attention) -> Scaling:
    """The constants of an attention; of its first head, where heads are computed one by one."""
    attention = attention.parts[0] if attention.parts else attention
    begins = attention.begins
    projected = Way(tape, PRODUCTS | CONVOLUTIONS)
    if attention.is_fused:
        own = _argument(begins, "scale")
        sides = begins.sources[:2]
        between: float | None = attention.q.shape[-1] ** -0.5 if own is None else abs(float(own))
        behind: float | None = 1.0
        steps = [] if between is None else [between]
    else:
        sides = factors(begins)
        between, behind, steps = _around_softmax(tape, attention)
        alpha = abs(float(begins.kwargs.get("alpha", 1)))
        between, steps = None if between is None else between * alpha, [*steps, alpha]
    parts = [between, *(projected.factor(side) for side in sides)]
    before = None if any(part is None for part in parts) else _product([part for part in parts if part is not None])
    steps += [step for side in sides for step in projected.steps(side)]
    written = tuple(step for step in steps if not are_alike(step, 1.0))
    return Scaling(before, behind, _output_factor(tape, attention.ends), written)


def _argument(call: Call, name: str) -> Any:
    names = (argument.name for argument in call.op._schema.arguments)
    return (dict(zip(names, call.args, strict=False)) | call.kwargs).get(name)


def _around_softmax(tape: Tape, attention: Attention) -> tuple[float | None, float | None, list[float]]:
    """The factors between the product and the softmax, and between the softmax and the values; and what makes up the first."""
    behind = Way(tape, SOFTMAX)
    for source in factors(attention.ends):
        found = behind.factor(source)
        if behind.reached:
            softmax = behind.reached[0]
            before = Way(tape, frozenset({attention.begins.name}), only=attention.begins)
            return before.factor(softmax.sources[0]), found, before.steps(softmax.sources[0])
    between = descendants(tape, attention.begins) & ancestors(attention.ends)
    raised = next((tape.calls[n] for n in sorted(between) if tape.calls[n].name in EXPONENTIALS), None)
    sums = attention.map.double().sum(dim=-1)
    if raised is None or float(sums.max() - sums.min()) > ALIKE * float(sums.max()):
        return None, None, []
    before = Way(tape, frozenset({attention.begins.name}), only=attention.begins)  # a softmax that is written out
    return before.factor(raised.sources[0]), float(sums.mean()), before.steps(raised.sources[0])


def _output_factor(tape: Tape, ends: Call) -> float:
    here, found = ends, 1.0
    while True:
        users = tape.users(here)
        if len(users) != 1 or users[0].name not in VIEWS | TIMES | OVER:
            return found
        own = own_factor(tape, users[0]) if users[0].name in TIMES | OVER else 1.0
        if own is None:
            return found
        found, here = found * own, users[0]


class Way:
    """Backwards from a source to the nearest calls of some names (or the one call `only`): the product of the constants on the way; one where there
    are none."""

    def __init__(self, tape: Tape, stops: frozenset[str], only: Call | None = None) -> None:
        self.tape, self.stops, self.only = tape, stops, only
        self.reached: list[Call] = []
        self._known: dict[int, float | None] = {}
        self._steps: dict[int, list[float]] = {}

    def steps(self, source: Source) -> list[float]:
        """The constants other than one that a factor is made of, along one of the ways."""
        return [] if source.call is None else self._steps.get(source.call.number, [])

    def factor(self, source: Source) -> float | None:
        """None: it cannot be told, or two ways that meet have different ones."""
        call = source.call
        if call is None:
            return None if source.tensor is self.tape.image else 1.0
        if call.number not in self._known:
            self._known[call.number] = self._factor(call)
        return self._known[call.number]

    def _factor(self, call: Call) -> float | None:
        if call is self.only or (self.only is None and call.name in self.stops):
            self.reached.append(call)
            return 1.0
        if call.name in TIMES | OVER:
            own = own_factor(self.tape, call)
        else:
            own = 1.0 if call.name in _PASSES else None
        if own is None:
            return None
        before = [self.factor(source) for source in call.sources if self.tape.is_of_image(source)]
        known = [each for each in before if each is not None]
        if len(known) < len(before) or not known or not all(are_alike(each, known[0]) for each in known):
            return None
        behind = next(self.steps(source) for source in call.sources if self.tape.is_of_image(source))
        self._steps[call.number] = behind if are_alike(own, 1.0) else [*behind, own]
        return own * known[0]


def own_factor(tape: Tape, call: Call) -> float | None:
    """The constant that a call multiplies or divides by: one for a table with a number for each place (rotary positions turn, they do not scale);
    None for what is learned, or made of the image."""
    operands = list(call.args[:2])
    ours = [each for each in operands if isinstance(each, Tensor) and _is_of_image(tape, call, each)]
    if len(ours) != 1 or len(operands) != 2:
        return None
    place = 1 if operands[0] is ours[0] else 0
    if call.name in OVER and place == 0:
        return None
    value = _constant(tape, call, operands[place])
    if value is None or value == 0:
        return None
    return value if call.name in TIMES else 1 / value


def _is_of_image(tape: Tape, call: Call, tensor: Tensor) -> bool:
    return any(source.tensor is tensor and tape.is_of_image(source) for source in call.sources)


def _constant(tape: Tape, call: Call, operand: Any) -> float | None:
    if not isinstance(operand, Tensor):
        return None if isinstance(operand, complex) else abs(float(operand))
    source = next(source for source in call.sources if source.tensor is operand)
    if is_learned(source):
        return None
    value = tape.value(source)
    if value.numel() == 0 or value.is_complex():
        return 1.0
    least, most = float(value.min()), float(value.max())
    if least == most:
        return abs(most)
    return 1.0 if value.shape[-1] > 1 else None


def is_learned(source: Source) -> bool:
    """Whether a parameter goes into a number."""
    waiting, seen = [source], set[int]()
    while waiting:
        here = waiting.pop()
        if here.call is None:
            if isinstance(here.tensor, torch.nn.Parameter) or here.tensor.requires_grad:
                return True
        elif here.call.number not in seen:
            seen.add(here.call.number)
            waiting += here.call.sources
    return False


def _product(values: list[float]) -> float:
    found = 1.0
    for value in values:
        found *= value
    return found
