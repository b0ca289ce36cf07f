"""What a sick model of the tests is: how it is built, what is wrong with it, and which check has to find that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Case:
    """One model with exactly one fault of the catalogue."""

    name: str
    mode: str
    """Its number there: `M1`."""
    check: str
    """The id of the check that must fire."""
    severity: str
    """`error`, `warning` or `note`: at least."""
    build: Callable[[], nn.Module]
    image_size: int = 32
    channels: int = 3
    classes: int = 10
    batch_size: int | None = None
    """The only batch size that it works at, if there is one."""
    loss: str | None = None
    """The loss that the doctor is told."""
