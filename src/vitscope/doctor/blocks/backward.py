"""Whether a loss of the model can be differentiated at all. In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.copying import copied, moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.losses import loss_to_learn
from vitscope.doctor.patient import CPU, Patient

FAILS = Fault(
    "backward-fails",
    "G4",
    "gradient",
    "error",
    Text(
        "The scores are computed, and loss.backward() raises: not one step of training can be taken.",
        "スコアは計算できますが、loss.backward()がエラーになるため、学習を1ステップも進められません。",
    ),
    Text(
        "compute out of place what a gradient still needs: exp, sigmoid, softmax and tanh need their own result on the way back, a product its "
        "factors; torch.autograd.set_detect_anomaly(True) names the line of the forward",
        "逆伝播で使われる値を上書きしないでください。exp・sigmoid・softmax・tanhは自身の結果を、積は両方の因子を逆伝播で使います。"
        "torch.autograd.set_detect_anomaly(True)を使うと、原因となる順伝播の行が表示されます",
    ),
    "x = x / x.sum(dim=-1, keepdim=True)   # not x.div_(…), x /= …",
    explains=("zero-gradient", "overfit"),
)


def backward_fails(patient: Patient) -> Iterator[Finding]:
    """The finding, where the gradient of a loss cannot be computed in float64 and, as it is trained, in float32 either."""
    said = _failure(patient, patient.model) and _failure(patient, _as_trained(patient))
    if said:
        yield FAILS.found(
            Text(
                f"loss.backward() ends in an error ({said}).",
                f"loss.backward()がエラーで終わります（{said}）。",
            ),
            {"raised": said},
        )


def _as_trained(patient: Patient) -> nn.Module:
    return moved(copied(patient.model), CPU, torch.float32).train()


def _failure(patient: Patient, model: nn.Module) -> str:
    """What torch says where a loss has scores and no gradient; nothing where it has one, or where there are no such scores."""
    count = patient.batch or patient.few
    dtype = next((p.dtype for p in model.parameters()), patient.dtype)
    with torch.enable_grad():
        try:
            scores = patient.scores(patient.images[:count].to(dtype), model)
            loss = loss_to_learn(scores, patient.labels[:count])
        except Exception:  # what forward says is for other checks
            return ""
        learns = [p for p in model.parameters() if p.requires_grad]
        if not loss.requires_grad or not learns:
            return ""
        try:
            torch.autograd.grad(loss, learns, allow_unused=True)
        except RuntimeError as error:
            return f"{type(error).__name__}: {first_line(error)}"
    return ""
