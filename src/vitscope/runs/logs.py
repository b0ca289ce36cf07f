"""The learning curve that another program wrote. In go the cells of its file, out come its numbers by epoch, and what was made of them in words.

Such files count epochs from 0, write a row for training and one for validation, hold fractions instead of per cent, `NaN` where nothing was
measured, or the same epoch twice after a resume. What can be read in one way only is read so, and told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitscope._core.errors import RunError
from vitscope._core.text import Text

MOST_EPOCHS = 10**9
HIGHEST_LOSS = 1e100
"""Far above what a training in any precision gives; beyond it, differences of losses are no numbers any more."""
_EMPTY = frozenset({"", "-", "–", "na", "n/a", "#n/a", "none", "null"})
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
"""A number as much of Europe writes it."""
_ACCURACIES = ("train_acc", "val_acc")
_OUTCOMES = ("train_loss", "val_loss", *_ACCURACIES)
Line = tuple[int, dict[str, str]]
A_NUMBER = Text("a number", "数")
PER_CENT = Text("per cent from 0 to 100", "0〜100のパーセント値")
A_LOSS = Text(f"a loss below {HIGHEST_LOSS:g}", f"{HIGHEST_LOSS:g}未満の損失")


def wrong_cell(file: Path, line: int, name: str, text: str, expected: Text = A_NUMBER) -> RunError:
    """The error of a cell that does not hold what it should."""
    return RunError(
        Text(
            f"{file} line {line}: {name} is {text!r}, expected {expected.en}; correct the cell or leave it empty",
            f"{file}の{line}行目：{name}が{text!r}ですが、{expected.ja}である必要があります。セルを修正するか、空にしてください",
        )
    )


def _wrong_value(file: Path, epoch: int, name: str, value: float, expected: Text) -> RunError:
    return RunError(
        Text(
            f"{file}: {name} of epoch {epoch} is {value:g}, expected {expected.en}; correct the cell",
            f"{file}：エポック{epoch}の{name}が{value:g}ですが、{expected.ja}である必要があります。セルを修正してください",
        )
    )


@dataclass
class Log:
    """Numbers by epoch and column; what was not measured is not there."""

    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    notes: list[Text] = field(default_factory=list)


def read_log(file: Path, lines: Sequence[Line], columns: Sequence[str]) -> Log:
    """Reads the rows of a file.

    Args:
        file: to be named in errors.
        lines: line numbers and cells by column, under our names.
        columns: those of which numbers are read.

    Raises:
        RunError: a cell that is no number, an epoch that is none, an accuracy over a hundred per cent.
    """
    log = Log()
    rows = [_Cells(file, line, cells) for line, cells in lines]
    counts = _counts(file, rows, log)
    changed = 0
    for epoch, cells in zip(counts, rows, strict=True):
        known = log.epochs.setdefault(epoch, {})
        for name in columns:
            value = cells.number(name)
            if value is None:
                continue
            changed += name in known and known[name] != value and name in _OUTCOMES
            known[name] = value
    if changed:
        log.notes.append(
            Text(
                f"Epochs stand there more than once with other numbers ({changed} of them): the last ones count.",
                f"同じエポックに異なる数値が複数ありました（{changed}個）。最後の値を使います。",
            )
        )
    _fill_holes(log)
    _in_per_cent(log)
    _check(file, log)
    return log


@dataclass(frozen=True)
class _Cells:
    file: Path
    line: int
    cells: dict[str, str]

    def number(self, name: str) -> float | None:
        """The number of a cell; None where it is empty."""
        text = self.cells.get(name, "").strip()
        if text.lower() in _EMPTY:
            return None
        plain = text.removesuffix("%").strip()
        if _COMMA.fullmatch(plain):
            plain = plain.replace(",", ".")
        try:
            return float(plain)
        except ValueError:
            raise wrong_cell(self.file, self.line, name, text) from None


def _counts(file: Path, rows: Sequence[_Cells], log: Log) -> list[int]:
    """The epoch of each row, counted from 1."""
    if not any("epoch" in row.cells for row in rows):
        log.notes.append(
            Text(
                "No column counts epochs: each row is taken for one.",
                "エポックの列がないため、1行を1エポックとして読みました。",
            )
        )
        return list(range(1, len(rows) + 1))
    found: list[float] = []
    for row in rows:
        value = row.number("epoch")
        if value is None and found:
            value = found[-1]  # a row that some loggers write for the learning rate alone
        if value is None or not 0 <= value <= MOST_EPOCHS:
            said = row.cells.get("epoch", "").strip()
            raise RunError(
                Text(
                    f"{file} line {row.line}: epoch is {said!r}, expected a number from 0; correct the cell or delete the line",
                    f"{file}の{row.line}行目：epochが{said!r}ですが、0以上の数である必要があります。セルを修正するか、その行を削除してください",
                )
            )
        found.append(value)
    if any(not value.is_integer() for value in found):
        log.notes.append(
            Text(
                "Epochs are parts of one (0.5): what was measured within an epoch counts as its end.",
                "エポックが小数（0.5など）で記録されています。エポックの途中の値は、そのエポックの終わりの値として扱います。",
            )
        )
        return [max(1, math.ceil(value)) for value in found]
    if found and min(found) == 0:
        log.notes.append(
            Text("Epochs counted from 0 are counted from 1 here.", "0から数えたエポックを、1から数え直しました。")
        )
        return [int(value) + 1 for value in found]
    return [int(value) for value in found]


def _fill_holes(log: Log) -> None:
    """The word NaN stands for what was not measured where numbers follow it; else for what a training that diverged gave."""
    for name in _OUTCOMES:
        follows = False
        for epoch in sorted(log.epochs, reverse=True):
            value = log.epochs[epoch].get(name)
            if value is None:
                continue
            follows |= math.isfinite(value)
            if math.isnan(value):
                del log.epochs[epoch][name]
                if not follows:
                    log.epochs[epoch][name] = math.inf


def _in_per_cent(log: Log) -> None:
    """Accuracies of which none is over 1 are parts of one, unless a loss says that so few are right."""
    known = [
        (row[name], row.get(name.replace("acc", "loss")))
        for row in log.epochs.values()
        for name in _ACCURACIES
        if name in row
    ]
    finite = [pair for pair in known if math.isfinite(pair[0])]
    values = [value for value, _ in finite]
    if not any(values) or max(values) > 1 or min(values) < 0:
        return
    if _is_guessing_of_many(finite):
        log.notes.append(
            Text(
                "Accuracies are read as per cent, though none is over 1: the losses are those of guessing among as many classes.",
                "正解率はどれも1以下ですが、損失が当てずっぽうの値に一致するため、パーセントとして読みました。",
            )
        )
        return
    highest = max(values)
    log.notes.append(
        Text(
            f"Accuracies up to {highest:g} are read as parts of one: {100 * highest:.4g} %.",
            f"正解率は最大で{highest:g}なので、割合（{100 * highest:.4g} %）として読みました。",
        )
    )
    for row in log.epochs.values():
        row.update({name: 100 * row[name] for name in _ACCURACIES if name in row})


def _is_guessing_of_many(pairs: Sequence[tuple[float, float | None]]) -> bool:
    """Whether the last losses are ln C where the accuracies, in per cent, are one in C."""
    end = [(value, loss) for value, loss in pairs if value > 0 and loss is not None and math.isfinite(loss)][-3:]
    return bool(end) and all(abs(loss - math.log(100 / value)) < 0.1 for value, loss in end)


def _check(file: Path, log: Log) -> None:
    for epoch, row in log.epochs.items():
        for name, value in row.items():
            if name in _ACCURACIES and math.isfinite(value) and not 0 <= value <= 100:
                raise _wrong_value(file, epoch, name, value, PER_CENT)
            if name.endswith("loss") and math.isfinite(value) and abs(value) > HIGHEST_LOSS:
                raise _wrong_value(file, epoch, name, value, A_LOSS)
