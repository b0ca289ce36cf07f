"""A few numbers on a device, sent there once: in go plain numbers, out comes a tensor that all who ask share, not to be written into.

Each `torch.tensor(..., device=...)` makes host and GPU wait for each other; in a training step that would be many times a second.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: tuple[int | float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers as a tensor of shape (n,)."""
    return torch.tensor(values, dtype=dtype, device=device)
