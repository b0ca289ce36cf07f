"""What a beginning costs: from the command to the first training step, and what each import takes. Nothing in, seconds out.

Each is a fresh Python process, several times, of which the median counts; a first training step, which imports all that there is to
import, warms the disk's cache and is left out.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

IMPORTS = ("vitscope", "torch", "vitscope.train.fit", "vitscope.cli.main")
_STEP = """
import sys, time
import vitscope.recipes.run as recipes
inner = recipes.train_run
def ear(event):
    if type(event).__name__ == "StepEnded":
        print("first step", time.time(), flush=True)
def train_run(prepared, *, listeners=(), **others):
    return inner(prepared, listeners=[*listeners, ear], **others)
recipes.train_run = train_run
from vitscope.cli.main import main
main(sys.argv[1:])
"""
"""The command with an ear at its events; wall-clock time, which two processes share."""


@dataclass(frozen=True)
class Startup:
    """Seconds, medians. `python` is an interpreter that does nothing; it is part of each of the others."""

    first_step: float | None
    """From starting `vitscope train quickstart` to the end of its first step; None where that failed."""
    python: float
    imports: dict[str, float]
    """A fresh process that imports this and nothing else."""
    times: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_startup(times: int = 3) -> Startup:
    """Starts each `times` times, the training step once more to begin with."""
    first_training_step()
    steps = [first_training_step() for _ in range(times)]
    found = [seconds for seconds in steps if seconds is not None]
    imports = {name: _seconds(f"import {name}", times) for name in IMPORTS}
    return Startup(statistics.median(found) if found else None, _seconds("pass", times), imports, times)


def first_training_step() -> float | None:
    """Seconds from the command to the end of the first step of `quickstart`, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "quickstart", "--set", "train.duration=1st", "--out", f"{folder}/run"]
        start = time.time()
        done = subprocess.run(
            [sys.executable, "-c", _STEP, *words], capture_output=True, text=True, check=False, cwd=folder
        )
        for line in done.stdout.splitlines():
            if line.startswith("first step "):
                return float(line.removeprefix("first step ")) - start
    return None


def _seconds(program: str, times: int) -> float:
    """The median of `times` fresh processes that run a program and nothing else."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return statistics.median(found)
