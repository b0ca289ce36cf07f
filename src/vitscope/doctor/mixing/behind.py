"""Whether groups of patches that no block lets meet do so behind the last one. In go the tape of one forward and a group, out comes how.

What each group says by itself adds up: of two groups a and b, f(a, b) + f(0, 0) = f(a, 0) + f(0, b). Where that holds of the scores, whatever
stands behind the blocks, no group's word is weighed by another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitscope._core.errors import LensError
from vitscope.doctor.copying import without_reentrant_checkpoints
from vitscope.doctor.mixing.experiments import Tokens, with_noise
from vitscope.doctor.patient import SEED, Patient
from vitscope.lens.operations import SOFTMAX
from vitscope.lens.randomness import seed_cpu
from vitscope.lens.tape import Call, Tape

Meeting = Literal["not at all", "linearly", "pooled", "in order", "unknown"]
"""How groups meet behind the blocks: `pooled`, in what is left of them where their order is gone; `in order`, in something that tells them apart."""
_CLOSER: tuple[Meeting, ...] = ("unknown", "not at all", "linearly", "pooled", "in order")
EXACT, SINGLE = 1e-6, 1e-3
"""How far a sum may be off beside the smaller of its parts, to be rounding: in float64, and in float32."""
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}
"""The same, beside the larger one."""
_ROOTS = frozenset({"sqrt", "rsqrt", "linalg_vector_norm"})
_EMPTY = {torch.ops.aten.detach.default, torch.ops.aten.alias.default}
"""Nothing is done; torch calls them where it will."""
_LAST = SOFTMAX | {"_log_softmax", "sigmoid"}


def meeting_behind(patient: Patient, door: Tokens, groups: Sequence[list[int]], left: list[int]) -> Meeting:
    """How the first two of some groups of tokens, as `door` gives them, meet all that are left on the way to the scores: the closer way of the two. A
    norm of what is left of all tokens together makes none meet, nor does a softmax of the scores."""
    ways: list[Meeting] = ["unknown"]
    for group in groups[:2]:
        with suppress(LensError, RuntimeError):  # it does something else the next time
            ways.append(_meeting(patient, door, group, [token for token in left if token not in group]))
    return max(ways, key=_CLOSER.index)


@torch.no_grad()
def _meeting(patient: Patient, door: Tokens, group: list[int], others: list[int]) -> Meeting:
    tape, scores = patient.tape, _scores(patient)
    a, b = (with_noise(tape, door, each, seed) for seed, each in enumerate((group, others)))
    both = _joined(door, a, b, others)
    as_it_was: dict[Call | None, Tensor] = {door.call: tape.value(door.call)}
    none, one, other, together = (_scored(patient, door, given, scores) for given in (as_it_was, a, b, both))
    sizes = [float((each - none).abs().max()) for each in (one, other)]
    least = max(min(sizes) * (EXACT if none.dtype == torch.float64 else SINGLE), max(sizes) * ROUNDING[none.dtype])
    if float((together + none - one - other).abs().max()) <= least:
        return "linearly" if _are_mixed(tape, door, a, others) else "not at all"
    places = torch.arange(len(door.of(tape.value(door.call))))
    places[group + others] = places[others + group]
    moved: dict[Call | None, Tensor] = {door.call: door.as_given(door.of(both[door.call])[places])}
    return "pooled" if float((_scored(patient, door, moved, scores) - together).abs().max()) <= least else "in order"


def _scores(patient: Patient) -> Call:
    """The scores, before they are made shares."""
    call = patient.anatomy.logits
    while call.name in _LAST and call.sources[0].call is not None:
        call = call.sources[0].call
    return call


def _joined(
    door: Tokens, a: dict[Call | None, Tensor], b: dict[Call | None, Tensor], others: list[int]
) -> dict[Call | None, Tensor]:
    tokens = door.of(a[door.call]).clone()
    tokens[others] = door.of(b[door.call])[others]
    return {door.call: door.as_given(tokens)}


def _scored(patient: Patient, door: Tokens, given: dict[Call | None, Tensor], wanted: Call) -> Tensor:
    """The wanted numbers of a forward that is run again, with other tokens at the door, and norms behind it that divide by what they divided by
    before. A tape cannot be played where a model writes into parts of a tensor, as recurrent layers do."""
    image, is_fast = patient.images[:1].clone(), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # as on the tape
    try:
        with without_reentrant_checkpoints(), _Again(patient.tape, door.call) as again:
            seed_cpu(SEED)
            again.given, again.wanted = given[door.call], wanted
            patient.model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
    if again.found is None:
        raise LensError("the model does not do the same twice")
    return again.found


class _Again(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs a model as its tape has it, but for the tokens at the door and the norms behind them."""

    def __init__(self, tape: Tape, door: Call) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape, self.door, self.number = tape, door, -1
        self.given: Tensor | None = None
        self.wanted: Call | None = None
        self.found: Tensor | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As the tape's."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _EMPTY:
            return result
        self.number += 1
        while self.number < len(self.tape.calls) and self.tape.calls[self.number].op in _EMPTY:
            self.number += 1
        if self.number >= len(self.tape.calls) or self.tape.calls[self.number].op is not func:
            raise LensError("the model does not do the same twice")
        call = self.tape.calls[self.number]
        if call is self.door:
            result = _instead(result, self.given, is_written=call.writes)
        elif call.number > self.door.number and any(self.tape.is_of_image(source) for source in call.sources):
            if call.name in _ROOTS:
                result = _instead(result, self.tape.value(call), is_written=call.writes)
            elif call.name == "native_layer_norm":
                result = _instead(result, _divided_as_before(call, args), is_written=False)
        if call is self.wanted:
            self.found = result[0] if isinstance(result, tuple) else result
        return result


def _instead(result: Any, value: Any, *, is_written: bool) -> Any:
    if isinstance(result, tuple):
        return _instead(result[0], value, is_written=is_written), *result[1:]
    if is_written:
        return result.copy_(value)
    return torch.empty_like(result).copy_(value)  # laid out in memory as what it replaces: views ask for it


def _divided_as_before(call: Call, args: Any) -> Tensor:
    """A LayerNorm of other numbers, by the spread of those on the tape."""
    x, axes = args[0], tuple(range(-len(args[1]), 0))
    normed = (x - x.mean(dim=axes, keepdim=True)) * call.outputs[2]
    normed = normed if args[2] is None else normed * args[2]
    return normed if args[3] is None else normed + args[3]


def _are_mixed(tape: Tape, door: Tokens, given: dict[Call | None, Tensor], others: list[int]) -> bool:
    """Whether behind the door as many tokens stand of which more change than those that were given."""
    was = door.of(tape.value(door.call))
    most = len(was) - len(others)
    for call in tape.calls[door.call.number + 1 :]:
        is_of_image = any(tape.is_of_image(source) for source in call.sources)
        if not call.outputs or not is_of_image or call.outputs[0].numel() != was.numel():
            continue
        shape = call.outputs[0].shape
        if shape[-1] != was.shape[1] or not call.outputs[0].is_floating_point():
            continue
        rows = Tokens(call, False)
        changed = (rows.of(tape.play(given, call)) != rows.of(tape.value(call))).any(dim=1)
        if int(changed.sum()) > most:
            return True
    return False
