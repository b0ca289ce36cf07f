"""Which loss a gradient is of: probabilities that are nearly even are the hard case, for there a squared error looks like a cross-entropy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, mse_loss, one_hot

from vitscope.doctor.loop.fit import fitted

pytestmark = pytest.mark.e2e  # whole loops

LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "cross-entropy": (cross_entropy, True),
    "squared error": (lambda p, y: mse_loss(p, one_hot(y, 10).to(p)), False),
    "binary cross-entropy": (lambda p, y: binary_cross_entropy(p, one_hot(y, 10).to(p)), False),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spread", [0.01, 0.1, 1.0])
def test_losses_of_probabilities_are_told_apart(name: str, spread: float) -> None:
    loss, is_cross_entropy = LOSSES[name]
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        scores = (spread * torch.randn(16, 10, generator=generator)).softmax(-1).requires_grad_(True)
        labels = torch.randint(10, (16,), generator=generator)
        (gradient,) = torch.autograd.grad(loss(scores, labels), scores)
        fit = fitted(scores.detach(), gradient, labels, scale=1.0)
        assert fit is not None
        assert fit.is_cross_entropy is is_cross_entropy
