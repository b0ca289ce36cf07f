"""Chance for a batch: in goes the caller's generator, out come per-image numbers on the images' device.

Numbers are drawn where the generator lives and then moved, so that a CPU generator gives the same augmentation on every
device. Only per-image numbers are drawn, never per-pixel noise: torch fills random tensors on one CPU thread.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor


class Draws:
    """Random numbers of one generator, delivered on one device. Touches no other state of chance."""

    def __init__(self, generator: Generator, device: torch.device) -> None:
        self._generator = generator
        self._device = device

    def uniform(self, *shape: int) -> Float[Tensor, " ..."]:
        """Numbers from [0, 1)."""
        drawn = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return drawn.to(self._device, non_blocking=True)

    def below(self, limit: int, *shape: int) -> Int64[Tensor, " ..."]:
        """Whole numbers from 0 to `limit` - 1, all as likely."""
        drawn = torch.randint(limit, shape, generator=self._generator, device=self._generator.device)
        return drawn.to(self._device, non_blocking=True)

    def permutation(self, count: int) -> Int64[Tensor, " count"]:
        """0 to `count` - 1 in random order."""
        drawn = torch.randperm(count, generator=self._generator, device=self._generator.device)
        return drawn.to(self._device, non_blocking=True)

    def chance(self) -> float:
        """One number from [0, 1) for the whole batch, on the host."""
        return float(torch.rand((), generator=self._generator, device=self._generator.device))

    def beta(self, alpha: float) -> float:
        """One number from Beta(`alpha`, `alpha`), on the host.

        torch's own Beta takes no generator, so numpy draws it from a seed that the generator gives.
        """
        seed = int(torch.randint(2**62, (), generator=self._generator, device=self._generator.device))
        return float(np.random.default_rng(seed).beta(alpha, alpha))
