"""A running mean of the weights: often the better model, and always the smoother curve (Polyak and Juditsky 1992)."""

from __future__ import annotations

import torch
from torch import nn
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
        """Takes up the model's weights; the first time as they are, as always what is no floating-point number."""
        n = int(self.n_averaged)  # on the host
        towards = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
        floats = [(mean, weight) for mean, weight in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in floats], [weight for _, weight in floats], towards)
        for mean, number in pairs:
            if not mean.is_floating_point():
                mean.copy_(number)
        self.n_averaged += 1
