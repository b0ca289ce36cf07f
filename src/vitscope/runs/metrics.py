"""The learning curve as a file: in go the numbers of each epoch, out comes `metrics.csv`, and back to the last digit.

Every command that looks at a run's progress reads this one file, and a curve of another program can be held beside it:
a CSV with `epoch` and any one of the other columns is enough.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from vitscope._core.errors import RunError
from vitscope._core.files import write_text
from vitscope._core.suggest import did_you_mean
from vitscope.runs.columns import Header, header_of


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave.

    `epoch` counts from 1; `step` is the number of optimiser steps so far (0 where a file does not tell); `seconds` is
    wall time since the start, evaluation and earlier parts of a resumed run included; losses are means in nats:
    `val_loss` of the plain cross-entropy, `train_loss` of what was minimised, so with label smoothing and mixed
    targets, on augmented images, with dropout on, and the two are not to be compared; accuracies are per cent; `lr` is
    the learning rate of the epoch's last step. A number that was not measured is nan; a loss or an accuracy that was
    measured and is no finite number is infinite.
    """

    epoch: int
    step: int
    seconds: float
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    lr: float
    images_per_second: float

    @property
    def not_finite(self) -> str | None:
        """The first of the losses and accuracies that shows that the training diverged."""
        return next((name for name in OUTCOMES if math.isinf(getattr(self, name))), None)

    def to_dict(self) -> dict[str, int | float | None]:
        """The numbers by column name, fit for JSON: what is not a finite number becomes None."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


COLUMNS = tuple(field.name for field in fields(EpochMetrics))
MEASURES = tuple(name for name in COLUMNS if name not in ("epoch", "step"))
"""The columns of which a file must hold at least one."""
OUTCOMES = ("train_loss", "val_loss", "val_acc", "train_acc")
MOST_EPOCHS = 10**9
HIGHEST_LOSS = 1e100
"""Far above what a training in any precision gives; beyond it, differences of losses are no numbers any more."""


def write_metrics(path: Path, rows: Iterable[EpochMetrics]) -> None:
    """Writes the rows as CSV, whole or not at all; every number reads back as the same number.

    What was not measured becomes an empty cell.

    Raises:
        RunError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row, name) for name in COLUMNS])
    write_text(path, text.getvalue())


def read_metrics(path: Path) -> list[EpochMetrics]:
    """The rows of a metrics file, ordered by epoch.

    Args:
        path: a CSV file (comma, semicolon or tab) or a run folder; columns beyond ours are ignored, missing ones
            and empty cells become nan. The word `nan` for a loss or an accuracy is a result of a training that
            diverged and becomes infinite. Usual names of other programs are read as ours (`columns_of` tells which),
            their accuracies from 0 to 1 as parts of a hundred per cent.

    Raises:
        RunError: no such file, no `epoch` or no metric column, a cell that is no number, an accuracy that is no per
            cent, or an epoch that stands there twice.
    """
    file = path / "metrics.csv" if path.is_dir() else path
    lines = _lines(file)
    columns = _header(lines)
    header = list(columns.names)
    _check_header(file, header)
    found: dict[int, tuple[int, EpochMetrics]] = {}
    for number, cells in lines[1:]:
        row = _row(file, number, dict(zip(header, cells, strict=False)))
        if row.epoch in found:
            raise RunError(
                f"{file} holds epoch {row.epoch} twice (lines {found[row.epoch][0]} and {number}), "
                "expected one row an epoch; delete one of the two"
            )
        found[row.epoch] = (number, row)
    rows = [found[epoch][1] for epoch in sorted(found)]
    if not set(COLUMNS) <= set(header):  # ours are per cent, however low
        rows = _in_per_cent(rows, [own for _, own in columns.renamed if own in ("train_acc", "val_acc")])
        _refuse_fractions(file, rows)
    return rows


def columns_of(path: Path) -> Header:
    """Which columns of a file are read, under which name, and which are not.

    Raises:
        RunError: the file cannot be read.
    """
    return _header(_lines(path / "metrics.csv" if path.is_dir() else path))


def _header(lines: list[tuple[int, list[str]]]) -> Header:
    return header_of([name.strip() for name in lines[0][1]], COLUMNS)


def _in_per_cent(rows: list[EpochMetrics], names: list[str]) -> list[EpochMetrics]:
    """Accuracies under another program's name, where all of them are parts of one."""
    known = [getattr(row, name) for row in rows for name in names if math.isfinite(getattr(row, name))]
    if not known or max(known) > 1:
        return rows
    return [replace(row, **{name: 100 * getattr(row, name) for name in names}) for row in rows]


def _refuse_fractions(file: Path, rows: list[EpochMetrics]) -> None:
    highest = max((row.val_acc for row in rows if math.isfinite(row.val_acc)), default=0.0)
    if 0 < highest <= 1:
        raise RunError(
            f"{file}: val_acc is {highest:g} at most, which looks like a fraction, expected per cent; "
            "multiply the column by 100"
        )


def _cell(row: EpochMetrics, name: str) -> str:
    if name in ("epoch", "step"):
        return str(int(getattr(row, name)))
    value = float(getattr(row, name))
    return "" if math.isnan(value) else repr(value)


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of what is not blank; the header comes first."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if file.name != "metrics.csv":
            raise RunError(f"there is no file {file}; give the path of a CSV with a row an epoch") from None
        raise RunError(
            f"{file} does not exist, expected a metrics file; has the run finished its first epoch?"
        ) from None
    except UnicodeDecodeError:
        raise RunError(f"{file} is not a text file, expected a CSV with a row an epoch") from None
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror or error}; check the path and its permissions") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise RunError(f"{file} line {reader.line_num} is not CSV ({error}); correct or delete the line") from None
    if not lines:
        raise RunError(f"{file} is empty, expected a CSV that begins with the line {','.join(COLUMNS)}")
    return lines


def _check_header(file: Path, header: list[str]) -> None:
    if "epoch" not in header:
        raise RunError(
            f"{file} has no column 'epoch' but {', '.join(header)}; name the column that counts epochs 'epoch'"
        )
    if not set(MEASURES) & set(header):
        hints = [f"{name}{did_you_mean(name, MEASURES)}" for name in header if name != "epoch"]
        raise RunError(
            f"{file} has none of the columns {', '.join(MEASURES)} but {', '.join(hints) or 'only epoch'}; "
            "rename what you have"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise RunError(f"{file} has the column '{twice[0]}' twice, expected it once; delete one of the two")


def _row(file: Path, line: int, cells: dict[str, str]) -> EpochMetrics:
    def number(name: str) -> float:
        text = cells.get(name, "").strip()
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            raise RunError(
                f"{file} line {line}: {name} is {text!r}, expected a number; correct the cell or leave it empty"
            ) from None
        if name not in OUTCOMES:
            return value
        if not math.isfinite(value):
            return math.inf if math.isnan(value) else value
        if name.endswith("acc") and not 0 <= value <= 100:
            raise RunError(f"{file} line {line}: {name} is {text!r}, expected per cent from 0 to 100; correct the cell")
        if name.endswith("loss") and abs(value) > HIGHEST_LOSS:
            raise RunError(
                f"{file} line {line}: {name} is {text!r}, expected a loss below {HIGHEST_LOSS:g}; correct the cell"
            )
        return value

    epoch = number("epoch")
    if not (epoch.is_integer() and 1 <= epoch <= MOST_EPOCHS):
        raise RunError(
            f"{file} line {line}: epoch is {cells.get('epoch', '').strip()!r}, expected a whole number "
            "that counts from 1; number the rows anew or delete one that was measured before training"
        )
    step = number("step")
    return EpochMetrics(
        epoch=int(epoch), step=int(step) if math.isfinite(step) else 0, **{name: number(name) for name in MEASURES}
    )
