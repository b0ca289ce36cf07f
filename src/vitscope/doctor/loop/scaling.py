"""Fused optimizers, which a GradScaler hands the scaled gradients together with their scale and with whether they are finite: they unscale, or skip
the step, by themselves. In goes such an optimizer just before its step, out come these two."""

from __future__ import annotations

import torch
from torch import Tensor


def scale_inside(optimizer: torch.optim.Optimizer) -> float:
    """What the gradients are multiplied with when the step begins; 1 where they have been unscaled."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(scale) if isinstance(scale, Tensor) and float(scale) > 0 else 1.0


def is_skipped_inside(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step changes nothing, for gradients that are not finite."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, Tensor) and bool(found > 0)
