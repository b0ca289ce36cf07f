"""The loss by which experiments ask for gradients, whatever the user trains with. In go scores B Y and labels B, out comes a number."""

from __future__ import annotations

import torch
from torch import Tensor


def loss_to_learn(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy; of a single score, the binary one: of one class, cross-entropy is nothing whatever the score."""
    if scores.shape[1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], labels.to(scores))
    return torch.nn.functional.cross_entropy(scores, labels)
