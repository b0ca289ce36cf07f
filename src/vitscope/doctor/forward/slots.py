"""Parameters that hold numbers of their own for each place in the batch. In goes a patient, out come their names.

The same image stands at all places of a batch. Its scores then differ only where something else does: each parameter is filled with noise
in turn, and those that make them differ have a row for each place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from vitscope.doctor.patient import Patient

_WEIGHTS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)
"""Layers whose weights meet features, whatever their shape."""


def slot_parameters(patient: Patient) -> tuple[str, ...]:
    """The names of parameters and buffers that the images of a batch do not share."""
    known = patient._known.get("slot_parameters")
    if not isinstance(known, tuple):
        known = patient._known["slot_parameters"] = _found(patient)
    return known


def _found(patient: Patient) -> tuple[str, ...]:
    size = patient.batch or (2 if patient.is_large else 4)
    images = patient.images[:1].repeat(size, 1, 1, 1)
    loose = _candidates(patient.model, size)
    if size < 2 or not loose:
        return ()
    with ExitStack() as alike:
        for tensor in loose.values():  # all places alike, whichever of the first two axes is the batch
            alike.enter_context(changed(tensor, _alike(tensor)))
        if _apart(patient, images) > 0:  # its numbers are drawn anew for each image, or it fails on these
            return ()
        with ExitStack() as all_at_once:
            for tensor in loose.values():
                all_at_once.enter_context(changed(tensor, _noise(tensor)))
            if not _apart(patient, images) > 0:
                return ()
        found = []
        for name, tensor in loose.items():
            with changed(tensor, _noise(tensor)):
                if _apart(patient, images) > 0:
                    found.append(name)
    return tuple(found)


def _candidates(model: nn.Module, size: int) -> dict[str, Tensor]:
    """What stands by itself, or in no layer of torch's that multiplies features with it, and is long enough."""
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, _WEIGHTS):
            continue
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if tensor.ndim > 1 and max(tensor.shape[:2]) >= size and tensor.is_floating_point():
                found[f"{path}.{name}".lstrip(".")] = tensor
    return found


def _alike(tensor: Tensor) -> Tensor:
    return tensor.detach().mean(dim=(0, 1), keepdim=True).expand_as(tensor)


def _noise(tensor: Tensor) -> Tensor:
    return 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(tensor)


def _apart(patient: Patient, images: Tensor) -> float:
    """How far the scores of the places are apart, 0 where that is rounding; infinite where there are none."""
    try:
        scores = patient.quiet_scores(images)
    except Exception:  # numbers that the model refuses
        return float("nan")
    apart = patient.apart(scores[:1].expand_as(scores), scores)
    return 0.0 if patient.same(scores[:1].expand_as(scores), scores) else apart


@contextmanager
def changed(tensor: Tensor, value: Tensor) -> Iterator[None]:
    """A parameter that holds other numbers for the block; its own are not written over, so that what was recorded of them stays true."""
    own = tensor.data
    tensor.data = value.detach().to(own).clone(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        tensor.data = own
