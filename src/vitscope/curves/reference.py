"""Reference curves: in goes a name or a CSV file, out comes a published learning curve with its band and its source.

A run can only be called good or bad against something. The shipped curves lie in `references/`, a CSV of numbers and a
JSON file of facts each; any CSV with `epoch` and `val_acc` serves as well, with such a JSON file beside it or without.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from vitscope._core.errors import ConfigError, RunError
from vitscope._core.suggest import did_you_mean
from vitscope._core.text import Text
from vitscope.runs import EpochMetrics, read_metrics

HALF_WIDTH = 2.0
"""Points of accuracy on each side of a curve that tells no width of its own."""
_FOLDER = Path(__file__).parent / "references"


class Band(NamedTuple):
    """Validation accuracy at one epoch, per cent: the lowest and highest that still count as the reference, and its own."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class ReferenceCurve:
    """A learning curve that runs are held against.

    `half_width` is in points of accuracy; `seeds` is the number of runs behind the curve (None: unknown); `labels` and
    `test_images` tell the data it was measured on (empty and None: any).
    """

    name: str
    rows: tuple[EpochMetrics, ...]
    what: Text
    source: str
    seeds: int | None = None
    half_width: float = HALF_WIDTH
    data: str = ""
    labels: tuple[str, ...] = ()
    test_images: int | None = None
    notes: tuple[Text, ...] = ()

    @cached_property
    def _by_epoch(self) -> dict[int, EpochMetrics]:
        return {row.epoch: row for row in self.rows}

    @property
    def last_epoch(self) -> int:
        """The epoch at which the reference ends."""
        return self.rows[-1].epoch

    def band(self, epoch: int) -> Band | None:
        """The band at an epoch, edges included, per cent; None where the reference tells nothing."""
        row = self._by_epoch.get(epoch)
        if row is None or not math.isfinite(row.val_acc):
            return None
        mid = row.val_acc
        return Band(round(mid - self.half_width, 9), mid, round(mid + self.half_width, 9))

    def applies_to(self, labels: Sequence[str], test_images: int) -> bool:
        """Whether a run on data with these label names, measured on so many images, can be held against this curve."""
        same_labels = not self.labels or tuple(labels) == self.labels
        return same_labels and self.test_images in (None, test_images)

    def to_dict(self) -> dict[str, Any]:
        """All facts and the rows, fit for JSON."""
        return {
            "name": self.name,
            "what": self.what.to_dict(),
            "source": self.source,
            "seeds": self.seeds,
            "half_width": self.half_width,
            "data": {"name": self.data, "labels": list(self.labels), "test_images": self.test_images},
            "notes": [note.to_dict() for note in self.notes],
            "rows": [row.to_dict() for row in self.rows],
        }


def references() -> tuple[str, ...]:
    """The names of the shipped reference curves."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.csv")))


def load_reference(name: str | Path) -> ReferenceCurve:
    """A reference curve.

    Args:
        name: one of `references()`, or the path of a CSV file (or run folder) with `epoch` and `val_acc`.

    Raises:
        ConfigError: no reference has this name and no file is there; the nearest name is given.
        RunError: the file cannot be read, or holds no validation accuracy.
    """
    if str(name) in references():
        return _read(_FOLDER / f"{name}.csv", str(name))
    path = Path(name)
    if not path.exists():
        known = references()
        raise ConfigError(
            f"unknown reference '{name}'{did_you_mean(str(name), known)}; known: {', '.join(known)}; "
            "a CSV file with the columns epoch and val_acc will do too"
        )
    return _read(path, path.stem if path.is_file() else path.resolve().name)


def _read(path: Path, name: str) -> ReferenceCurve:
    rows = tuple(row for row in read_metrics(path) if math.isfinite(row.val_acc))
    if not rows:
        raise RunError(f"{path} holds no validation accuracy, expected val_acc in per cent; choose another curve")
    sidecar = path.with_suffix(".json")
    if not (path.is_file() and sidecar.is_file()):
        return ReferenceCurve(name, rows, what=Text(name, name), source=str(path))
    try:
        return _with_facts(name, rows, json.loads(sidecar.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{sidecar} cannot be understood ({type(error).__name__}: {error}), expected the keys what, source, seeds, "
            "half_width, data and notes as in the shipped references; correct or remove it"
        ) from None


def _with_facts(name: str, rows: tuple[EpochMetrics, ...], facts: Any) -> ReferenceCurve:
    data = facts.get("data", {})
    half_width = float(facts.get("half_width", HALF_WIDTH))
    if not (math.isfinite(half_width) and half_width > 0):
        raise ValueError(f"half_width is {half_width}, expected a positive number of points")
    return ReferenceCurve(
        name=name,
        rows=rows,
        what=Text(**facts["what"]),
        source=str(facts["source"]),
        seeds=facts.get("seeds"),
        half_width=half_width,
        data=data.get("name", ""),
        labels=tuple(data.get("labels", ())),
        test_images=data.get("test_images"),
        notes=tuple(Text(**note) for note in facts.get("notes", ())),
    )
