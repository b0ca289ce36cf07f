"""A short training of a copy. In go a patient, images with labels and a learning rate, out comes a `Course`: the loss at each step and how it
ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, one_hot

from vitscope.doctor.copying import all_modules, copied, hidden, moved
from vitscope.doctor.patient import CPU, Patient

CLASSES = 10


@dataclass(frozen=True, eq=False)
class Course:
    """How a training went."""

    losses: tuple[float, ...]
    """Before each step, and after the last."""
    reached: bool
    """Whether the loss fell under what was asked for."""
    out_of_time: bool
    largest_gradient: float
    """The largest number in any gradient at any step."""
    scores: Tensor
    """N Y: of its images, without dropout, at the end."""

    @property
    def best(self) -> float:
        return min((loss for loss in self.losses if isfinite(loss)), default=float("inf"))

    @property
    def steps(self) -> int:
        return len(self.losses) - 1


def small_set(patient: Patient, count: int) -> tuple[Tensor, Tensor]:
    """Images in float32, the patient's own and then noise, as many as its batch asks for, with labels that say nothing about them: each of ten
    classes as often as the others, so that no class can be known by one image."""
    chunk = patient.batch or count
    count = max(chunk, count // chunk * chunk)
    own = patient.images[:count]
    images = torch.cat([own, patient.noise(count - len(own), seed=11)]) if count > len(own) else own
    labels = torch.arange(count) % min(patient.classes, CLASSES)
    return images.float(), labels[torch.randperm(count, generator=torch.Generator().manual_seed(4))]


def guessing(labels: Tensor, loss: str | None = None) -> float:
    """The lowest loss of scores that are the same for all images, as `loss_of` measures it: how even the labels are."""
    shares = torch.bincount(labels).double() / len(labels)
    shares, others = shares[shares > 0], 1 - shares[shares > 0]
    if loss == "mse":
        return float((shares * others).sum())
    if loss is not None and loss.startswith("bce"):
        return float(-(torch.xlogy(shares, shares) + torch.xlogy(others, others)).sum())
    return float(-(shares * shares.log()).sum())


def trainable(patient: Patient) -> nn.Module:
    """A copy in float32 (in the patient's own precision, where that is the only one) of which what is registered learns."""
    model = moved(copied(patient.model), CPU, torch.float32)
    try:
        patient.quiet_scores(patient.images[: patient.batch or 1].float(), model)
    except RuntimeError:
        model = copied(patient.model)
    for each in hidden(model):
        if isinstance(each.value, Tensor):
            each.value.requires_grad_(False)
    return model


def train(
    patient: Patient,
    images: Tensor,
    labels: Tensor,
    lr: float,
    *,
    steps: int,
    target: float,
    dropout: bool = False,
    patience: int = 40,
) -> Course:
    """Adam on all of the images at each step, in evaluation mode (batch norm aside) unless `dropout`. It ends when the loss is under `target`,
    when it has not fallen for so many steps, or with the patient's time."""
    model = trainable(patient)
    images = images.to(next(iter(model.parameters())).dtype)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    losses: list[float] = []
    largest, best, since, out_of_time = 0.0, float("inf"), 0, False
    begun = time.monotonic()
    for step in range(steps + 1):
        set_mode(model, dropout=dropout)
        loss = _backward(patient, model, images, labels, parameters, seed=step if dropout else 0)
        losses.append(loss)
        largest = max([largest, *(float(p.grad.abs().max()) for p in parameters if p.grad is not None and p.numel())])
        if not isfinite(loss) or loss < target or step == steps:
            break
        best, since = (loss, 0) if loss < 0.995 * best else (best, since + 1)
        if since >= patience:
            break
        each = (time.monotonic() - begun) / (step + 1)
        if patient.time_left() < 2 * each:
            out_of_time = True
            break
        optimizer.step()
    set_mode(model, dropout=False)
    scores = torch.cat(
        [patient.quiet_scores(part, model) for part in torch.split(images, patient.batch or len(images))]
    )
    return Course(tuple(losses), losses[-1] < target, out_of_time, largest, scores)


def _backward(
    patient: Patient, model: nn.Module, images: Tensor, labels: Tensor, parameters: list[nn.Parameter], seed: int
) -> float:
    """Leaves the gradient of the loss on the parameters; the loss."""
    for parameter in parameters:
        parameter.grad = None
    total, chunk = 0.0, patient.batch or len(images)
    for part, marks in zip(torch.split(images, chunk), torch.split(labels, chunk), strict=True):
        with torch.enable_grad():
            loss = loss_of(patient.scores(part, model, seed=seed), marks, patient.loss) * len(part) / len(images)
            if loss.requires_grad and bool(loss.isfinite()):
                loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def loss_of(scores: Tensor, labels: Tensor, name: str | None) -> Tensor:
    """The loss that the user trains with, as large as cross-entropy is; cross-entropy where none was told."""
    if name == "nll" and bool((scores >= 0).all()):  # probabilities, of which the user takes the logarithm
        return torch.nn.functional.nll_loss(scores.clamp_min(1e-12).log(), labels)
    if name is not None and name.startswith(("bce", "mse")):
        wanted = one_hot(labels, scores.shape[-1]).to(scores)
        if name == "mse":
            return ((scores - wanted) ** 2).sum(dim=-1).mean()
        is_between = name != "bce-with-logits" and bool(((scores >= 0) & (scores <= 1)).all())
        each = binary_cross_entropy if is_between else binary_cross_entropy_with_logits
        return each(scores, wanted, reduction="sum") / len(scores)
    return cross_entropy(scores, labels)


def set_mode(model: nn.Module, *, dropout: bool) -> None:
    """Evaluation mode, save for dropout where it is wanted, and for batch norm, whose statistics at the start are nobody's: without the batch's
    own nothing is normalised, and a sound model's numbers fade away."""
    for module in all_modules(model):
        module.training = dropout or isinstance(module, nn.modules.batchnorm._BatchNorm)
