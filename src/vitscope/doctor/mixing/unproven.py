"""What can be examined where the lens follows a model only in part: attentions without a proved map, and tokens that no attention lets meet.

In go a patient whose inside was not followed, out come findings of experiments that need no map.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.doctor.finding import Skipped
from vitscope.doctor.mixing.experiments import Tokens
from vitscope.doctor.mixing.meeting import are_all_alone, mixes_behind
from vitscope.doctor.patient import Patient, not_followed, scores_of
from vitscope.lens.anatomy import Anatomy, find_anatomy
from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, is_of_two
from vitscope.lens.operations import CONVOLUTIONS, DROPOUTS, FUSED, PRODUCTS, SCALES, SOFTMAX, VIEWS, factors
from vitscope.lens.tape import Call, Tape

HEADS = 64
"""A product with so wide a square of weights at most may mix heads, as talking heads do."""
ROUNDING = 1e-9
"""What changed by less than this, beside what changed most, is rounding of float64."""


def anatomy_as_far_as_followed(patient: Patient) -> Anatomy:
    """The parts of a model around those of its attentions that can be told without their maps.

    Raises:
        Skipped: there are none, or the parts were not found.
    """
    try:
        patient.needs_one_image()
        with torch.no_grad():
            attentions = unproved_attentions(patient.tape)
            return find_anatomy(patient.tape, scores_of(patient._known["answer"], 1), attentions)
    except (LensError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        raise Skipped(not_followed(error)) from None


def unproved_attentions(tape: Tape) -> tuple[Attention, ...]:
    """Attentions as far as they are a product of two computed tensors, a softmax of it, and a product of that with values; what scores and shares
    go through between (talking heads, norms of shares) is not looked at, so that their maps prove nothing."""
    found: list[Attention] = []
    for softmax in tape.calls:
        if softmax.name not in SOFTMAX or not _is_of_image(tape, softmax):
            continue
        begins, ends = _before(tape, softmax), _behind(tape, softmax)
        if begins is not None and ends is not None:
            made = _unproved(tape, begins, *ends)
            found += [made] if made is not None else []
    return tuple(sorted(found, key=lambda each: each.begins.number))


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


def _before(tape: Tape, softmax: Call) -> Call | None:
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
    return Attention(
        begins.path, q, k, v, map_.float(), output, torch.nan, torch.nan, False, True, is_turned, begins, ends
    )


def tokens_without_meeting(patient: Patient) -> tuple[int, int] | None:
    """How many tokens stand apart from a model's first scores of queries and keys to its last tokens, and how many softmaxes are between; None where
    some meet, or where neither was found.

    Tokens are what has the same shape in front of the first such softmax and behind the last.
    """
    tape = patient.tape
    softmaxes = [call for call in tape.calls if call.name in SOFTMAX and _before(tape, call) is not None]
    if not softmaxes or patient.dtype != torch.float64 or any(call.name.startswith(FUSED) for call in tape.calls):
        return None
    scores, last = _before(tape, softmaxes[0]), softmaxes[-1]
    assert scores is not None
    front = [tape.calls[number] for number in sorted(ancestors(scores)) if _is_row_of_tokens(tape, tape.calls[number])]
    behind = [call for call in tape.calls[last.number + 1 :] if _is_row_of_tokens(tape, call)]
    shapes = Counter(call.outputs[0].shape for call in behind)
    start = next((call for call in front if call.outputs[0].shape in shapes), None)
    if start is None:
        return None
    end = next(call for call in reversed(behind) if call.outputs[0].shape == start.outputs[0].shape)
    ways = Tokens(start, False), Tokens(end, False)
    if mixes_behind(tape, ways[1]) or any(is_of_two(tape, call) for call in tape.calls[end.number + 1 :]):
        return None
    count = len(ways[0].of(tape.value(start)))
    moved = _moves_itself(tape, *ways)
    return (count, len(softmaxes)) if moved and are_all_alone(tape, *ways, list(range(count)), least=ROUNDING) else None


def _is_row_of_tokens(tape: Tape, call: Call) -> bool:
    """1 T D or T 1 D, of the image."""
    if not call.outputs or not _is_of_image(tape, call):
        return False
    shape = call.outputs[0].shape
    return len(shape) == 3 and 1 in shape[:2] and max(shape[:2]) >= 4 and call.outputs[0].is_floating_point()


def _moves_itself(tape: Tape, start: Tokens, end: Tokens) -> bool:
    """Whether noise in place of all tokens changes all of them at the end."""
    was: Tensor = end.of(tape.value(end.call))
    given = start.of(tape.value(start.call))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(given.shape, generator=generator, dtype=torch.float64)
    now = end.of(tape.play({start.call: start.as_given(noise)}, end.call))
    return bool((now != was).any(dim=1).all())
