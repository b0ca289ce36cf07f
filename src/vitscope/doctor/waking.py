"""A patient after some steps of training: what was zero only at the start is so no longer. In goes a patient, out comes a trained copy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitscope.doctor.copying import all_modules, copied, hidden, moved
from vitscope.doctor.losses import loss_to_learn
from vitscope.doctor.patient import CPU, Patient


def trained_copy(patient: Patient, *, steps: int, lr: float = 1e-3) -> nn.Module:
    """The model after some steps of Adam on its own images, in evaluation mode throughout: no dropout, no statistics of the batch."""
    images, labels = patient.images[: patient.batch or patient.few], patient.labels[: patient.batch or patient.few]
    try:
        model = moved(copied(patient.model), CPU, torch.float32)
        patient.quiet_scores(images.float(), model)
        images = images.float()
    except RuntimeError:  # float64 is its own
        model = copied(patient.model)
    learns = [p for p in model.parameters() if p.requires_grad]
    for each in hidden(model):  # what is not registered stays as it is: no optimizer would hold it
        if isinstance(each.value, Tensor):
            each.value.requires_grad_(False)
    optimizer = torch.optim.Adam(learns, lr=lr)
    for _ in range(steps):
        with torch.enable_grad():
            scores = patient.scores(images, model)
            loss = loss_to_learn(scores, labels)
            if not loss.requires_grad or not bool(loss.isfinite()):
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    optimizer.zero_grad()
    return moved(model, CPU, patient.dtype)


def settled(patient: Patient) -> int:
    """Gives every batch norm of the patient that has seen no batch the statistics of the patient's images, and returns how many there were.

    With the statistics that it begins with nothing is normalised, and a sound model's numbers fade away or grow: no one uses such a model."""
    norms = [m for m in all_modules(patient.model) if isinstance(m, nn.modules.batchnorm._BatchNorm) and _is_fresh(m)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        if norms:
            patient.quiet_scores(patient.images[: patient.batch])
        return len(norms)
    except (RuntimeError, ValueError):  # such as one value a channel, of which there are no statistics
        return 0
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.training, norm.momentum = False, momentum


def _is_fresh(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    return norm.num_batches_tracked is not None and not bool(norm.num_batches_tracked)
