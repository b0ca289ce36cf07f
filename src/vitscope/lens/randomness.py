"""Random numbers: all of the CPU's within a block, or torch's on the CPU and nowhere else. In goes a seed.

`torch.manual_seed` and `torch.random.fork_rng` mean every device. On one that has not begun yet, the first leaves a seed for when it does, in the
place of the user's own, and the second makes it begin, after which no process can be forked from this one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Python's, numpy's and torch's random states begin at one seed in the block, and are after it what they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=cuda_devices_begun()):
        random.seed(seed)
        np.random.seed(seed)
        seed_cpu(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_cpu(seed: int) -> None:
    """Seeds the generator of the CPU."""
    torch.default_generator.manual_seed(seed)


def cuda_devices_begun() -> list[int]:
    """For `fork_rng`: the GPUs, where anything can have been drawn from one; none where CUDA has not begun."""
    begun = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if begun else []
