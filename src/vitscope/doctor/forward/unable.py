"""A forward that runs in evaluation mode and raises in training mode. In goes a patient, out comes at most one finding of `determinism`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import torch
from torch import nn

from vitscope._core.raised import first_line, raised
from vitscope._core.text import Text
from vitscope.doctor.copying import copied, moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import CPU, Patient

SIZES, OF_LARGE = (8, 64), (2, 8)
"""Batch sizes that are tried: some models ask for one that they can cut in parts, batch norm for more than one image."""
_AWAITED = re.compile(r"None|label|target", re.IGNORECASE)
"""What an error says where something is missing that a training loop gives otherwise than as an argument."""
RAISES = Fault(
    "training-mode-raises",
    "T19",
    "determinism",
    "error",
    Text(
        "In evaluation mode the model runs; the first step of training ends in this error.",
        "評価モードでは動作しますが、学習を始めると最初のステップでこのエラーになります。",
    ),
    Text(
        "look at what the forward does `if self.training`, and at modules that behave otherwise in training (batch norm, dropout, drop path)",
        "順伝播の`if self.training`の中と、学習時に動作が変わるモジュール（バッチ正規化、ドロップアウト、stochastic depth）を確認してください",
    ),
    explains=("overfit", "learning-rate"),
)


def unable_to_train(patient: Patient) -> Iterator[Finding]:
    """The finding, where training mode raises at each batch size, in the patient's precision and in float32, and the forward takes nothing but
    images, so that there are no labels that it could be waiting for."""
    if _takes_more(patient.model):
        return
    errors = [_raised(patient, dtype) for dtype in {patient.dtype, torch.float32}]
    error = errors[0]
    if error is None or None in errors or _AWAITED.search(str(error)):
        return
    did = raised(error).did
    yield RAISES.found(
        Text(f"In training mode the forward {did.en}.", f"学習モードでは、forwardが{did.ja}。"),
        {"raised": f"{type(error).__name__}: {first_line(error)}"},
    )


def _takes_more(model: nn.Module) -> bool:
    """Whether a forward has a place for labels beside the images, or may read such from anywhere."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return True
    return len(parameters) != 1


def _raised(patient: Patient, dtype: torch.dtype) -> Exception | None:
    """What the forward raises at each of the sizes; nothing where it runs at one."""
    found: Exception | None = None
    for size in (patient.batch,) if patient.batch else OF_LARGE if patient.is_large else SIZES:
        model = moved(copied(patient.model), CPU, dtype).train()
        images = patient.images.repeat(-(-size // len(patient.images)), 1, 1, 1)[:size]
        try:
            with torch.no_grad():
                model(images.to(dtype))
            return None
        except Exception as error:
            found = error
    return found
