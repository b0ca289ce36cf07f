"""How good a model is on a set of images. In go a model and a loader, out come loss, accuracy and, where asked, every score."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Totals:
    """Sums over images; of several processes, added up."""

    loss: float
    right: float
    images: float

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.loss / self.images

    @property
    def accuracy(self) -> float:
        """Per cent."""
        return 100 * self.right / self.images


def score_batches(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    prepare: Prepare | None = None,
    device: torch.device | None = None,
    autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Iterable[tuple[Tensor, Tensor]]:
    """Scores (B Y, float32) and labels (B) of each batch, in evaluation mode; the model's own mode is put back at the end."""
    device = device or next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for images, labels in batches:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.no_grad(), autocast():
                scores = model(prepare(images) if prepare is not None else images)
            yield scores.float(), labels
    finally:
        model.train(was_training)


def totals(scored: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Sums of loss and right answers, and the number of images, as a float64 tensor of 3."""
    sums = torch.zeros(3, dtype=torch.float64)
    for scores, labels in scored:
        loss = F.cross_entropy(scores, labels, reduction="sum")
        right = (scores.argmax(dim=1) == labels).sum()
        sums += torch.stack([loss.double(), right.double(), loss.new_tensor(len(labels), dtype=torch.float64)]).cpu()
    return sums
