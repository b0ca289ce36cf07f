"""How good a model is on a set of images. In go a model and a loader, out come loss, accuracy and, where asked, every score."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope._core.errors import DataError
from vitscope.model.pieces import in_pieces

Batch = tuple[Tensor, Tensor]
Prepare = Callable[[Tensor], Tensor]
IGNORED = -100  # torch's own mark of a target that is left out


def pair_of(batch: object) -> Batch:
    """A batch of any loader as what it should be: images and their labels.

    Raises:
        DataError: it is something else.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        return batch[0], batch[1]
    parts = f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else ""
    raise DataError(
        f"a batch is a {type(batch).__name__}{parts}, expected a pair of tensors: images (B C H W) and their labels (B)"
    )


def refuse_labels_without_score(labels: Tensor, scores: Tensor) -> None:
    """Looks before cross-entropy does, which has no sentence for a wrong class index, and on a GPU ends the process.

    Raises:
        DataError: a label (B) is none of the classes of the scores (B Y).
    """
    classes = scores.shape[1]
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if len(wrong):
        raise DataError(
            f"an image has the label {int(wrong[0])}, but the model gives {classes} scores; "
            f"number the labels from 0 to {classes - 1}, or build the model with more classes"
        )


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
        for images, labels in map(pair_of, batches):
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.no_grad(), autocast():
                scores = in_pieces(model, prepare(images) if prepare is not None else images)
            yield scores.float(), labels
    finally:
        model.train(was_training)


def totals(scored: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Sums of loss and right answers, and the number of images, as a float64 tensor of 3."""
    sums = torch.zeros(3, dtype=torch.float64)
    for scores, labels in scored:
        refuse_labels_without_score(labels, scores)
        loss = F.cross_entropy(scores, labels, reduction="sum")
        right = (scores.argmax(dim=1) == labels).sum()
        sums += torch.tensor([float(loss), float(right), len(labels)], dtype=torch.float64)
    return sums
