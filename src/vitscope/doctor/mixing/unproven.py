"""What can be examined where the lens follows a model only in part: attentions without a proved map, and tokens that no attention lets meet.

In go a patient whose inside was not followed, out come findings of experiments that need no map.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from vitscope.doctor.finding import Skipped
from vitscope.doctor.mixing.experiments import Tokens
from vitscope.doctor.mixing.meeting import are_all_alone, mixes_behind
from vitscope.doctor.patient import Patient
from vitscope.doctor.unproved import is_summed_over_tokens, scores_before
from vitscope.lens.anatomy import Anatomy
from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, is_of_two
from vitscope.lens.operations import FUSED, SOFTMAX
from vitscope.lens.tape import Call, Tape

ROUNDING = 1e-9
"""What changed by less than this, beside what changed most, is rounding of float64."""


def anatomy_as_far_as_followed(patient: Patient) -> Anatomy:
    """The parts of a model around those of its attentions that can be told without their maps, if each is of queries with keys.

    Raises:
        Skipped: there are none, or the parts were not found.
    """
    loose = patient.loose
    if any(is_summed_over_tokens(loose.tape, each.begins) for each in loose.attentions):
        return patient.anatomy  # and says why not
    return loose.anatomy


def tokens_without_meeting(patient: Patient) -> tuple[int, int, int] | None:
    """How many tokens stand apart from a model's first scores of queries and keys to its last tokens, how many softmaxes are between, and how many
    attentions where there is no softmax; None where some meet, or where neither was found.

    Tokens are what has the same shape in front of the first of these and behind the last.
    """
    tape = patient.tape
    softmaxes = [call for call in tape.calls if call.name in SOFTMAX and scores_before(tape, call) is not None]
    if patient.dtype != torch.float64 or any(call.name.startswith(FUSED) for call in tape.calls):
        return None
    attentions = () if softmaxes else _attentions(patient)
    if not softmaxes and not attentions:
        return None
    scores = scores_before(tape, softmaxes[0]) if softmaxes else attentions[0].begins
    last = softmaxes[-1] if softmaxes else attentions[-1].ends
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
    is_apart = moved and are_all_alone(tape, *ways, list(range(count)), least=ROUNDING)
    return (count, len(softmaxes), len(attentions)) if is_apart else None


def _attentions(patient: Patient) -> tuple[Attention, ...]:
    try:
        return patient.loose.attentions
    except Skipped:
        return ()


def _is_row_of_tokens(tape: Tape, call: Call) -> bool:
    """1 T D or T 1 D, of the image."""
    if not call.outputs or not any(tape.is_of_image(source) for source in call.sources):
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
