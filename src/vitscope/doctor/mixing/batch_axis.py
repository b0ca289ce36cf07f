"""Which attentions run along the batch instead of along the tokens. In goes a patient, out come the paths of the modules that run them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitscope.doctor.forward.shapes import empty_images, without_numbers
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import FUSED, SOFTMAX
from vitscope.lens.tape import Call, Tape, record

SIZES = (3, 5)
"""Two batches, whose sizes hardly anything else in a model has."""


def attentions_along_the_batch(patient: Patient) -> tuple[str, ...]:
    """The modules (`the model` for itself) whose attention compares images of a batch with one another, in order.

    The forward is recorded at two batch sizes. An attention along the tokens is as long at both; one along the batch grows with it. A softmax
    that gives the scores is no attention.
    """
    known = patient._known.get("along_the_batch")
    if not isinstance(known, tuple):
        known = patient._known["along_the_batch"] = _found(patient)
    return known


def _found(patient: Patient) -> tuple[str, ...]:
    if patient.batch is not None:  # there are no two batch sizes
        return ()
    twin = without_numbers(patient)  # lengths need no numbers, and a tape keeps them all
    sizes = (2, 3) if twin is None and patient.is_large else SIZES
    few, many = (_lengths(patient, size, twin) for size in sizes)
    if len(few) != len(many):
        return ()
    paths = [path for (path, a), (_, b) in zip(few, many, strict=True) if a != b and a * sizes[1] == b * sizes[0]]
    return tuple(dict.fromkeys(path or "the model" for path in paths))


def _lengths(patient: Patient, size: int, twin: nn.Module | None) -> list[tuple[str, int]]:
    """Each attention's module and how many keys each of its queries is compared with."""
    tape = _tape(twin, empty_images(patient, size)) if twin is not None else patient.tape_of(patient.images[:size])
    lengths = [(call.path, _length(call, (size, patient.classes))) for call in tape.calls]
    return [(path, length) for path, length in lengths if length is not None]


def _tape(model: nn.Module, images: Tensor) -> Tape:
    with torch.random.fork_rng(devices=[]), record(model, images) as tape:
        model(images)
    return tape


def _length(call: Call, scores: tuple[int, int]) -> int | None:
    if call.name in SOFTMAX:
        out = call.outputs[0]
        return int(out.shape[int(call.args[1])]) if out.ndim and tuple(out.shape) != scores else None
    if call.name.startswith(FUSED):
        return int(call.sources[1].tensor.shape[-2])
    return None
