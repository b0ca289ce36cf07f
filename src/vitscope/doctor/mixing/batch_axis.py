"""Which attentions run along the batch instead of along the tokens. In goes a patient, out come the paths of the modules that run them."""

from __future__ import annotations

from vitscope.doctor.patient import Patient
from vitscope.lens.operations import FUSED, SOFTMAX
from vitscope.lens.tape import Call, Tape

SIZES = (3, 5)
"""Two batches, whose sizes hardly anything else in a model has."""


def attentions_along_the_batch(patient: Patient) -> tuple[str, ...]:
    """The modules (empty: the model itself) whose attention compares images of a batch with one another, in order.

    The forward is recorded at two batch sizes. An attention along the tokens is as long at both; one along the batch is as long as the batch.
    """
    known = patient._known.get("along_the_batch")
    if not isinstance(known, tuple):
        known = patient._known["along_the_batch"] = _found(patient)
    return known


def _found(patient: Patient) -> tuple[str, ...]:
    if patient.batch is not None:  # there are no two batch sizes
        return ()
    few, many = (_lengths(patient.tape_of(patient.images[:size])) for size in SIZES)
    if len(few) != len(many):
        return ()
    paths = [path for (path, a), (_, b) in zip(few, many, strict=True) if (a, b) == SIZES]
    return tuple(dict.fromkeys(path or "the model" for path in paths))


def _lengths(tape: Tape) -> list[tuple[str, int]]:
    """Each attention's module and how many keys each of its queries is compared with."""
    return [(call.path, length) for call in tape.calls for length in [_length(call)] if length is not None]


def _length(call: Call) -> int | None:
    if call.name in SOFTMAX:
        return int(call.outputs[0].shape[int(call.args[1])]) if call.outputs[0].ndim else None
    if call.name.startswith(FUSED):
        return int(call.sources[1].tensor.shape[-2])
    return None
