"""What `fit` tells those who listen. Listeners are handed in: the loop knows nothing of progress bars, curves or pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitscope._core.text import Text
from vitscope.runs.metrics import EpochMetrics
from vitscope.train.groups import ParameterGroup


@dataclass(frozen=True)
class Started:
    """Training is about to begin or to go on."""

    device: str
    precision: str
    processes: int
    fast: Text
    """What the fast path is on this machine."""
    groups: tuple[ParameterGroup, ...]
    steps: int
    steps_per_epoch: int
    first_step: int


@dataclass(frozen=True)
class StepEnded:
    """One optimizer step is done; `loss` and `accuracy` (per cent) are means over the epoch so far."""

    epoch: int
    step: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is done, measured, and on the disk."""

    row: EpochMetrics


@dataclass(frozen=True)
class CheckpointWritten:
    """All that a resume needs is on the disk."""

    path: Path
    step: int


Event = Started | StepEnded | EpochEnded | CheckpointWritten
Listener = Callable[[Event], None]
