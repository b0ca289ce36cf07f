"""A running mean of the weights: often the better model, and always the smoother curve (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def running_mean(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow the model's; the decay grows from 2/11 to `decay` while few steps are behind it."""

    @torch.no_grad()
    def follow(means: Sequence[Tensor], weights: Sequence[Tensor], seen: Tensor | int) -> None:
        n = int(seen)
        towards = 1 - min(decay, (1 + n) / (10 + n))
        floats = [(m, w) for m, w in zip(means, weights, strict=True) if m.is_floating_point()]
        torch._foreach_lerp_([m for m, _ in floats], [w for _, w in floats], towards)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
