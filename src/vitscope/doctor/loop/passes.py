"""Ways through the loaders, and what came of validation. In go batches while they are drawn, out come their counts and labels.

Shapes: scores B Y, labels B.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Phase = Literal["train", "val"]
"""Which loader the batch came from, where that is known."""


@dataclass(eq=False)
class Pass:
    """One way through a loader."""

    phase: Phase
    batches: int = 0
    samples: int = 0
    exhausted: bool = False
    labels: list[Tensor] = field(default_factory=list)
    """Of the first batches."""
    first: int | None = None
    """The first label of all."""
    pixels: list[bytes] = field(default_factory=list)
    """Of the first images, where they are on the CPU: what stands for the numbers of each."""
    has_classes: bool = False
    """Whether any label, of all batches, is another one."""

    def meets(self, labels: Tensor, *, keep: bool) -> None:
        """Takes in the labels of a batch."""
        if keep:
            self.labels.append(labels.cpu().clone())
        if not self.has_classes:
            self.first = int(labels[0]) if self.first is None else self.first
            self.has_classes = bool((labels != self.first).any())


@dataclass(frozen=True)
class Validated:
    """What a model's scores of one batch of the validation loader are worth; numbers stay where the scores are, so that nothing waits for them."""

    step: int
    """How many optimizer steps there were before."""
    count: Tensor
    """How many images have a label."""
    loss: Tensor
    """The sum of their cross-entropies."""
    right: Tensor
    """How many of them have their label's score as the largest."""


@torch.no_grad()
def validated(scores: Tensor, labels: Tensor, *, step: int) -> Validated:
    """Of scores B Y and labels B; what is no class number is no label."""
    labels = labels.to(scores.device).long()
    has_label = (labels >= 0) & (labels < scores.shape[1])
    safe = torch.where(has_label, labels, 0)
    lost = -scores.detach().float().log_softmax(-1).gather(1, safe[:, None])[:, 0]
    right = (scores.argmax(-1) == safe) & has_label
    return Validated(step, has_label.sum(), lost.where(has_label, 0.0).sum(), right.sum())
