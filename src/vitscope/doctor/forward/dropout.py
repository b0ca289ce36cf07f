"""What training mode draws. In goes a patient, out come the dropouts of one forward in training mode, however they are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from vitscope._core.errors import LensError, ModelError
from vitscope.doctor.copying import all_modules
from vitscope.doctor.forward.determinism import DRAWS
from vitscope.doctor.forward.tail import draws, tail_of
from vitscope.doctor.patient import Patient, scores_of
from vitscope.lens.operations import FUSED
from vitscope.lens.tape import Call, record


@dataclass(frozen=True)
class Draw:
    """One operation that draws."""

    operation: str
    path: str
    """The module that ran it."""
    p: float
    """The share of the numbers that it sets to zero; 0 where it is no dropout."""
    is_behind_head: bool
    """Whether it meets the scores, behind the last product."""


def draws_in_training(patient: Patient) -> tuple[Draw, ...]:
    """All of them, in order; none where training mode cannot be recorded. The patient stays as it is."""
    known = patient._known.get("draws_in_training")
    if not isinstance(known, tuple):
        known = patient._known["draws_in_training"] = tuple(_found(patient))
    return known


def _found(patient: Patient) -> list[Draw]:
    size = patient.batch or (1 if patient.is_large else 2)
    images = patient.images[:size].clone()
    try:
        with in_training(patient.model), torch.random.fork_rng(devices=[]), record(patient.model, images) as tape:
            answer = patient.model(images)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return []  # it asks for labels, or for more images
    try:
        behind = {call.number for call in draws(tail_of(tape, scores_of(answer, size, patient.classes)), DRAWS)}
    except (LensError, ModelError):  # training mode gives something else
        behind = set()
    return [
        Draw(call.name, call.path or "the model", _share(call), call.number in behind)
        for call in tape.calls
        if call.name in DRAWS or (call.name.startswith(FUSED) and _share(call) > 0)
    ]


def _share(call: Call) -> float:
    if call.name.startswith(FUSED):
        names = [argument.name for argument in call.op._schema.arguments]
        return float((dict(zip(names, call.args, strict=False)) | call.kwargs).get("dropout_p") or 0)
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("p")
    if not isinstance(given, float | int) or isinstance(given, bool):
        return 0.0
    if call.name.startswith("bernoulli"):
        return round(1 - float(given), 6)  # it draws what is kept
    return float(given) if call.name == "native_dropout" else 0.0


@contextmanager
def in_training(model: nn.Module) -> Iterator[None]:
    """Training mode for the block; what it writes into buffers is taken back."""
    modules, held = list(all_modules(model)), [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        for module in modules:
            module.training = True
        yield
    finally:
        for module in modules:
            module.training = False
        with torch.no_grad():
            for buffer, was in held:
                buffer.copy_(was)
