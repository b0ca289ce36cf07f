"""The typed view of a run folder: in goes a path, out come the places of its files and its state, or one clear refusal.

Commands hand work to each other through this folder and nothing else, so that the names of its files stand here once.
A run tells how far it came in `state.json`: `{"status": "running", "epochs": 3}`, where the status is running,
interrupted, failed or finished. A killed training leaves "running" behind: only "finished" is believed, all else can
be resumed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from vitscope._core.errors import RunError
from vitscope._core.files import room_for, write_json
from vitscope.runs.lock import LOCK_NAME, exclusive
from vitscope.runs.metrics import read_metrics
from vitscope.runs.whereabouts import MARKS, content, elsewhere, is_run, names, runs_in

Status = Literal["running", "interrupted", "failed", "finished"]


@dataclass(frozen=True)
class RunState:
    """How far a run came: `status` and the number of whole `epochs` behind it."""

    status: Status
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `state.json`."""
        return asdict(self)


@dataclass(frozen=True)
class RunFolder:
    """A run folder at `path`; the properties name its files, which need not exist yet."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved, complete recipe."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware, commit and command line."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def weights(self) -> Path:
        """The weights that the validation columns were measured with."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """Model spec, preprocessing and label names: with the weights, all that prediction needs."""
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        """The folder with all that a resume needs."""
        return self.path / "checkpoint"

    @property
    def curve(self) -> Path:
        """The picture of the learning curve."""
        return self.path / "curve.png"

    @property
    def state_file(self) -> Path:
        """How far the run came; read it with `state()`."""
        return self.path / "state.json"

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run.

        Raises:
            RunError: nothing is there, it is a file, or it is a folder of something else; the nearest run beside it
                is named.
        """
        path = Path(path)
        if not path.exists():
            raise RunError(f"{path} does not exist, expected a run folder{elsewhere(path)}")
        if not path.is_dir():
            raise RunError(f"{path} is a file, expected a run folder{elsewhere(path)}")
        if is_run(path):
            return cls(path)
        inside = runs_in(path)
        if inside:
            newest = max(inside, key=lambda run: run.stat().st_mtime)
            raise RunError(f"{path} is a folder of runs, expected one of them, such as the newest: {newest}")
        raise RunError(
            f"{path} is no run folder: it holds {content(path)}, expected {MARKS[0]} or {MARKS[2]}{elsewhere(path)}"
        )

    @classmethod
    def create(cls, path: Path | str, resume: bool = False) -> RunFolder:
        """The folder of a run that is about to be written; made if it is not there. Takes no lock: `claim` does both.

        Args:
            path: where the run goes.
            resume: continue the run that is there (a finished one too: ask `status()` whether anything is left to do).

        Raises:
            RunError: a run is there and `resume` is false, no run is there and it is true, other files are there, or
                the place cannot be written.
        """
        folder = cls(Path(path))
        if resume and not (folder.path.is_dir() and is_run(folder.path)):
            what = "holds no run" if folder.path.exists() else "does not exist"
            raise RunError(
                f"nothing to resume: {folder.path} {what}{elsewhere(folder.path)}; leave out --resume to start anew"
            )
        if folder.path.exists() and not folder.path.is_dir():
            raise RunError(f"{folder.path} is a file, expected a folder to write a run to; choose another --out")
        if folder.path.is_dir() and not resume:
            folder._refuse_to_overwrite()
        folder._try_to_write()
        return folder

    @classmethod
    @contextmanager
    def claim(cls, path: Path | str, resume: bool = False) -> Iterator[RunFolder]:
        """`create`, held alone until the block ends: what a training does its work in.

        Raises:
            RunError: as `create`, or another training writes to the folder now.
        """
        made = not Path(path).exists()
        folder = cls.create(path, resume)
        try:
            with folder.lock():
                cls.create(path, resume)  # again: another training may have come and gone before the lock was ours
                for place in (folder.path, folder.checkpoint):
                    for left_over in place.glob(".*.part"):  # of a training that was killed while it wrote
                        left_over.unlink(missing_ok=True)
                yield folder
        except BaseException:
            if made:
                folder._take_away_if_empty()
            raise

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder alone; the system lets go of it also when the process is killed.

        Raises:
            RunError: another training holds it.
        """
        with exclusive(self.path / LOCK_NAME, str(self.path)):
            yield

    def state(self) -> RunState:
        """How far the run came; without `state.json` it is taken as interrupted after the epochs of `metrics.csv`.

        Raises:
            RunError: `state.json` or `metrics.csv` is not what it should be.
        """
        if not self.state_file.exists():
            return RunState("interrupted", len(read_metrics(self.metrics)) if self.metrics.exists() else 0)
        value = _read_json(self.state_file)
        status, epochs = value.get("status"), value.get("epochs")
        if status not in get_args(Status) or not isinstance(epochs, int):
            raise RunError(
                f"{self.state_file} says status {status!r} and epochs {epochs!r}, expected one of "
                f"{', '.join(get_args(Status))} and a number; delete the file to resume from the checkpoint"
            )
        return RunState(cast(Status, status), epochs)

    def write_state(self, status: Status, epochs: int) -> None:
        """Notes how far the run came, whole or not at all.

        Raises:
            RunError: the folder cannot be written.
        """
        write_json(self.state_file, RunState(status, epochs).to_dict())

    def status(self) -> Literal["finished", "unfinished"]:
        """Whether the run trained to its end.

        Raises:
            RunError: as `state`.
        """
        return "finished" if self.state().status == "finished" else "unfinished"

    def read_config(self) -> dict[str, Any]:
        """The content of `config.json`.

        Raises:
            RunError: it is missing or no JSON object.
        """
        return _read_json(self.config)

    def read_environment(self) -> dict[str, Any]:
        """The content of `environment.json`.

        Raises:
            RunError: it is missing or no JSON object.
        """
        return _read_json(self.environment)

    def read_recipe_text(self) -> str:
        """The YAML text of the resolved recipe.

        Raises:
            RunError: it is missing or unreadable.
        """
        return _read_text(self.recipe)

    def _refuse_to_overwrite(self) -> None:
        if is_run(self.path):
            try:
                state = self.state()
                how_far = f"{self.status()}, {state.epochs} epoch{'' if state.epochs == 1 else 's'}"
            except RunError:
                how_far = "damaged"
            raise RunError(
                f"{self.path} already holds a run ({how_far}); add --resume to continue it or choose another --out"
            )
        if names(self.path):
            raise RunError(
                f"{self.path} is not empty and no run: it holds {content(self.path)}; "
                "choose an empty or new folder with --out"
            )

    def _take_away_if_empty(self) -> None:
        """Removes the folder again after a start that came to nothing."""
        with suppress(OSError):
            if [p.name for p in self.path.iterdir()] == [LOCK_NAME]:
                (self.path / LOCK_NAME).unlink()
                self.path.rmdir()

    def _try_to_write(self) -> None:
        """Finds out now, not after the first epoch, that nothing can be written here."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"vitscope")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise RunError(
                f"cannot write to {self.path}: {error.strerror or error}; {room_for(error)}choose another --out"
            ) from None


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{file.parent} has no {file.name}, which this needs; give a run that has one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {file} ({error}); restore it or train again") from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(file))
    except json.JSONDecodeError as error:
        raise RunError(f"{file} is not JSON (line {error.lineno}: {error.msg}); restore it or train again") from None
    if not isinstance(value, dict):
        raise RunError(f"{file} holds {type(value).__name__}, expected a JSON object; restore it or train again")
    return value
