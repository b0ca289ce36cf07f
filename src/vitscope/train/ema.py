"""A running mean of the weights: often the better model, and always the smoother curve (Polyak and Juditsky 1992)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class RunningMean(AveragedModel):
    """A copy of a model whose weights follow the model's; the decay grows from 2/11 to `decay` while few steps are behind it.

    torch's own update sends its count to the weights' device at each step, and a GPU waits for it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes up the model's parameters and buffers: the first time as they are, and always so what is no number that has a mean."""
        n = int(self.n_averaged)  # on the host
        towards = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        means, weights = ([_real(p) for p in module.parameters()] for module in (self.module, model))
        if means:
            torch._foreach_lerp_(means, weights, towards)
        for mean, number in zip(self.module.buffers(), model.buffers(), strict=True):
            if mean.is_floating_point():  # between two infinities, as masks have them, there is no mean
                number = torch.where(torch.isfinite(mean) & torch.isfinite(number), mean.lerp(number, towards), number)
            mean.copy_(number)
        self.n_averaged += 1


def _real(parameter: Tensor) -> Tensor:
    numbers = parameter.detach()
    return torch.view_as_real(numbers) if numbers.is_complex() else numbers
