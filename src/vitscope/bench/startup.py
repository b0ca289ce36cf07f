"""What a beginning costs: from the command to the first training step, and what each import takes. Nothing in, seconds out.

Each is a fresh Python process, several times, of which the median counts; the first of each warms the disk's cache and is left out.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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


def measure_startup(times: int = 3, *, first_step: bool = True) -> Startup:
    """Starts each `times` times and once more to warm up."""
    found = median_seconds(first_training_step, times) if first_step else None
    imports = {name: _median(lambda name=name: _run(f"import {name}"), times) for name in IMPORTS}  # type: ignore[misc]
    return Startup(found, _median(lambda: _run("pass"), times), imports, times)


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


def median_seconds(task: Callable[[], float | None], times: int) -> float | None:
    """The median of `times` runs after one to warm up; None as soon as one gives None."""
    found: list[float] = []
    for number in range(times + 1):
        seconds = task()
        if seconds is None:
            return None
        if number:
            found.append(seconds)
    return statistics.median(found)


def _median(task: Callable[[], float], times: int) -> float:
    found = median_seconds(task, times)
    assert found is not None
    return found


def _run(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - start
