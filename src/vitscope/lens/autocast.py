"""A block in which autocast is off, whoever switched it on around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_autocast(*devices: str) -> Iterator[None]:
    """Autocast off and nothing cached on some devices.

    `torch.autocast(enabled=False)` is one more level of autocast: a model's own, inside of it, is never the outermost, which alone empties the cache
    of cast weights, and goes on with those of the first step while they are trained.
    """
    before, cached = [torch.is_autocast_enabled(device) for device in devices], torch.is_autocast_cache_enabled()
    for device in devices:
        torch.set_autocast_enabled(device, False)
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        for device, was in zip(devices, before, strict=True):
            torch.set_autocast_enabled(device, was)
        torch.set_autocast_cache_enabled(cached)
