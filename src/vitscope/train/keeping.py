"""What a training leaves on the disk. In goes how far it has come; out come a checkpoint first, then all that follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from vitscope._core.errors import CheckpointError, Interrupted
from vitscope.runs.folder import RunFolder
from vitscope.runs.metrics import write_metrics
from vitscope.train.checkpoint import Identity, Progress, load_checkpoint, save_checkpoint, save_weights
from vitscope.train.machine import Machine


@runtime_checkable
class Stateful(Protocol):
    """A model, an optimizer, a running mean or a loss scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


@dataclass
class Keeper:
    """Writes and reads a run's files; without a folder there are none."""

    folder: RunFolder | None
    identity: Identity
    machine: Machine
    parts: Mapping[str, Stateful]
    """All that a resume needs, by the name it has in the checkpoint."""
    weights: nn.Module
    """Whose weights are the run's result: the model, or its running mean."""
    total: int
    """Optimizer steps of the whole training."""
    began: float = field(default_factory=time.perf_counter)
    earlier_seconds: float = 0.0

    def seconds(self) -> float:
        """Wall time of the training so far, over all its sittings."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def save(self, progress: Progress) -> Path | None:
        """A checkpoint, by the first process; every process hands in its sums of the epoch so far."""
        if self.folder is None:
            return None
        sums = self.machine.of_all_processes(progress.sums)
        if not self.machine.is_first:
            return None
        progress.seconds = self.seconds()
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return save_checkpoint(self.folder.checkpoint, self.identity, progress, {**states, "sums": sums})

    def write_results(self, progress: Progress) -> None:
        """Metrics, weights and state as of the last whole epoch, by the first process."""
        if self.folder is None or not self.machine.is_first:
            return
        write_metrics(self.folder.metrics, progress.rows)
        save_weights(self.folder.weights, self.weights)
        self.folder.write_state("finished" if progress.step >= self.total else "running", progress.epoch)

    def restore(self) -> Progress | None:
        """Takes up the checkpoint, if there is one, and makes the files that it implies again.

        Raises:
            CheckpointError: it is damaged, another training's, or does not fit the parts.
        """
        found = load_checkpoint(self.folder.checkpoint, self.identity) if self.folder is not None else None
        if found is None:
            return None
        progress, states = found
        progress.sums = self._sums_of_this_process(states["sums"])
        try:
            for name, part in self.parts.items():
                part.load_state_dict(states[name])
        except (RuntimeError, KeyError, ValueError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise CheckpointError(
                f"{self.folder.checkpoint} does not fit this model and its training settings ({reason}); "  # type: ignore[union-attr]
                "resume with those that it was made with, or start anew in another folder"
            ) from None
        self.earlier_seconds = progress.seconds
        if progress.batch == 0:
            self.write_results(progress)
        return progress

    def _sums_of_this_process(self, of_all: list[list[float]]) -> list[float]:
        """A checkpoint's sums, taken up by the processes that made them; of another number of processes all by the first."""
        if len(of_all) == self.machine.processes:
            return list(of_all[self.machine.rank])
        together = [sum(values) for values in zip(*of_all, strict=True)]
        return together if self.machine.is_first else [0.0] * len(together)

    def interrupted(self, progress: Progress) -> Interrupted:
        """What is raised when a saved training leaves after an interrupt; the folder's state says so too."""
        where = f"step {progress.step} of {self.total}"
        if self.folder is None:
            return Interrupted(f"stopped at {where}")
        if self.machine.is_first:
            self.folder.write_state("interrupted", progress.epoch)
        return Interrupted(f"stopped at {where}, saved; go on with: vitscope train --resume --out {self.folder.path}")
