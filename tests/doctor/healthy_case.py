"""What a healthy model of the tests is, and all of them: whatever the doctor finds in one, it must not be an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from vitscope.bench.torchvision_names import make_torchvision_importable

ROOMS = (
    "healthy_traps",
    "healthy_own",
    "healthy_timm",
    "healthy_pyramids",
    "healthy_transformers",
    "healthy_torchvision",
    "healthy_vit_pytorch",
)


@dataclass(frozen=True)
class Healthy:
    """One model without a fault, tiny, with random weights."""

    name: str
    """Begins with its library: `timm cait`."""
    library: str
    """`timm`, `transformers`, `torchvision`, `vit-pytorch`, `vitscope` or `by hand`."""
    build: Callable[[], nn.Module]
    """Raises ModuleNotFoundError where the library is not installed."""
    image_size: int = 32
    channels: int = 3
    classes: int = 10
    loss: str | None = None
    """The loss that the doctor is told; `nll` where log-probabilities come out."""
    quick: bool = False
    """One of the few that stand for all others where time is short; none of them needs another library."""


def all_cases() -> list[Healthy]:
    """Every case, also of libraries that are not installed; no library is imported here."""
    return [case for room in ROOMS for case in import_module(room).CASES]


def peer(module: str) -> Any:
    """A module of another library, importable also beside a torch that torchvision's operators do not fit."""
    make_torchvision_importable()
    return import_module(module)
