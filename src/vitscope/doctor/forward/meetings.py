"""The operation in which the images of a batch meet. In go a patient's images on two tapes, between which one image changes, out comes a call."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.doctor.patient import Patient
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call, Tape

_STATISTICS = frozenset(
    {"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional", "mean", "var", "std"}
    | {"var_mean", "std_mean", "amax", "amin", "aminmax", "max", "min", "sum", "linalg_vector_norm"}
    | {"topk", "sort", "argsort", "cumsum", "bincount"}
)
"""What may be taken over a batch on purpose: its scale, its order, who comes first."""
TRIED = 6
"""Images at once: a number that divides hardly any number of tokens."""
LOUD = (1.0, 4.0, 0.25)
"""Noise as large as the images, and other sizes: a largest number of a batch is one image's only."""


@torch.no_grad()
def where_they_meet(patient: Patient) -> tuple[Call | None, bool]:
    """The first operation of which more than one image's share of the numbers changes when one image does, and whether it takes a statistic over the
    batch. Which image and how it changes may matter: several are tried, the last and the first before others, until one shows it."""
    size = patient.batch or TRIED
    images = patient.images[:size].clone()
    was = patient.tape_of(images)
    for loud in LOUD:
        for place in dict.fromkeys((size - 1, 0, *reversed(range(min(size, TRIED))))):
            other = images.clone()
            other[place] = loud * patient.noise(1, seed=9 if place == size - 1 else place)[0]
            found, is_statistic = _where_they_differ(was, patient.tape_of(other), size)
            if found is not None:
                return found, is_statistic
    return None, False


def _where_they_differ(one: Tape, two: Tape, size: int) -> tuple[Call | None, bool]:
    """The same, of two tapes. Where an image's numbers stood in the wrong places already, the operation that put them there."""
    astray: dict[int, bool] = {}  # of each operation, whether one image's numbers are no longer in one place
    for a, b in zip(one.calls, two.calls, strict=False):
        if a.name != b.name or not a.outputs or a.outputs[0].shape != b.outputs[0].shape:
            return None, False
        x, y = a.outputs[0], b.outputs[0]
        if not x.numel() or not x.is_floating_point() or not y.is_floating_point():
            continue
        differs = (x - y).abs() > 1e-12 * (1 + x.abs())
        astray[a.number] = not _is_in_place(differs, size)
        if float(differs.double().mean()) > 1 / size + 1e-9:
            before = sorted(n for n in ancestors(a) - {a.number} if astray.get(n))
            return (one.calls[before[0]], False) if before else (a, a.name in _STATISTICS)
    return None, False


def _is_in_place(differs: Tensor, size: int) -> bool:
    """Whether what differs is one place of an axis as long as the batch, be that axis joined with one that is beside it."""
    if float(differs.double().mean()) > 1 / size + 1e-9 or not bool(differs.any()):
        return True  # too much, or nothing: no question of place
    axes: list[Tensor] = []
    for axis, length in enumerate(differs.shape):
        if length % size == 0:
            for outer in (True, False):
                parts = (size, length // size) if outer else (length // size, size)
                axes.append(torch.unflatten(differs, axis, parts).movedim(axis + (not outer), 0))
    return not axes or any(int(axis.flatten(1).any(dim=1).sum()) == 1 for axis in axes)
