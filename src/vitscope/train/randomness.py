"""Every random number of a training is a function of (seed, purpose, step, process): a resume needs no saved generator.

In go those four, out come seeds and generators. Two trainings with one seed are the same training, whenever they were interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

_PURPOSE = {"init": 0, "augment": 1, "forward": 2, "order": 3, "load": 4}
Purpose = Literal["init", "augment", "forward", "order", "load"]


def seed_of(seed: int, purpose: Purpose, step: int = 0, rank: int = 0) -> int:
    """A 63-bit seed for one purpose at one step in one process."""
    words = np.random.SeedSequence([seed, _PURPOSE[purpose], step, rank]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def generator_of(seed: int, purpose: Purpose, step: int, rank: int) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, step, rank))


@contextmanager
def global_generator_restored() -> Iterator[None]:
    """Leaves torch's global CPU generator as it was found; those of GPUs are seeded by a training and stay so."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
