"""What a folder is: in goes a path, out comes whether it is a run, what else it holds, and which run was meant."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vitscope._core.suggest import did_you_mean
from vitscope.runs.lock import LOCK_NAME

MARKS = ("recipe.yaml", "state.json", "metrics.csv", "model.safetensors", "checkpoint")
"""A folder that holds any of these is a run."""
BEFORE_RECIPE = ("config.json", "environment.json")
"""What a start writes before `recipe.yaml`, which makes a folder a run."""
_NOTHING = {LOCK_NAME, ".DS_Store", ".gitkeep", ".gitignore"}
"""What an empty folder may hold all the same."""


def names(path: Path) -> list[str]:
    """What the folder holds, leftovers of ours aside: of writes that were cut short, and of a start before its recipe was written."""
    held = {entry.name for entry in path.iterdir()}
    ours = _NOTHING | (set(BEFORE_RECIPE) if LOCK_NAME in held and not is_run(path) else set())
    return sorted(name for name in held - ours if not (name.startswith(".") and name.endswith(".part")))


def content(path: Path) -> str:
    """The first names that the folder holds, for a message."""
    held = names(path)
    return (", ".join(held[:4]) + (f" and {len(held) - 4} more" if len(held) > 4 else "")) or "nothing"


def is_run(path: Path) -> bool:
    """Whether the folder holds a run, or the beginning of one."""
    return any((path / mark).exists() for mark in MARKS)


def runs_in(path: Path) -> list[Path]:
    """The runs among the folders directly inside."""
    with suppress(OSError):
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and is_run(entry))
    return []


def elsewhere(path: Path) -> str:
    """Points to the run beside `path` whose name comes nearest, or else to the newest."""
    runs = [run for run in runs_in(path.parent) if run != path]
    hint = did_you_mean(path.name, [run.name for run in runs])
    if hint or not runs:
        return hint
    return f"; the newest run beside it is {max(runs, key=lambda run: run.stat().st_mtime).name}"
