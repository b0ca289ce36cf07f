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

    @property
    def home(self) -> torch.device:
        """Where the generator lives."""
        return self._generator.device

    def send(self, drawn: Tensor) -> Tensor:
        """From the generator's device to the images', without waiting where that is a GPU."""
        return drawn.to(self._device, non_blocking=self._device.type != "cpu")

    def uniform(self, *shape: int) -> Float[Tensor, " ..."]:
        """Numbers from [0, 1)."""
        return self.send(torch.rand(shape, generator=self._generator, device=self.home))

    def below(self, limit: int, *shape: int) -> Int64[Tensor, " ..."]:
        """Whole numbers from 0 to `limit` - 1, all as likely."""
        return self.send(self.below_at_home(limit, *shape))

    def below_at_home(self, limit: int, *shape: int) -> Int64[Tensor, " ..."]:
        """The same, left on the generator's device."""
        return torch.randint(limit, shape, generator=self._generator, device=self.home)

    def permutation(self, count: int) -> Int64[Tensor, " count"]:
        """0 to `count` - 1 in random order."""
        return self.send(torch.randperm(count, generator=self._generator, device=self.home))

    def chance(self) -> float:
        """One number from [0, 1) for the whole batch, on the host."""
        return float(torch.rand((), generator=self._generator, device=self.home))

    def beta(self, alpha: float) -> float:
        """One number from Beta(`alpha`, `alpha`), on the host.

        torch's own Beta takes no generator, so numpy draws it from a seed that the generator gives.
        """
        seed = int(torch.randint(2**62, (), generator=self._generator, device=self.home))
        return float(np.random.default_rng(seed).beta(alpha, alpha))
