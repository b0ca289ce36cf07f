"""Torch's random numbers on the CPU, and nowhere else. In goes a seed.

`torch.manual_seed` and `torch.random.fork_rng` mean every device. On one that has not begun yet, the first leaves a seed for when it does, in the
place of the user's own, and the second makes it begin, after which no process can be forked from this one.
"""

from __future__ import annotations

import torch


def seed_cpu(seed: int) -> None:
    """Seeds the generator of the CPU."""
    torch.default_generator.manual_seed(seed)


def cuda_devices_begun() -> list[int]:
    """For `fork_rng`: the GPUs, where anything can have been drawn from one; none where CUDA has not begun."""
    begun = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if begun else []
