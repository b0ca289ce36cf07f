"""The learning curve as a file: in go the numbers of each epoch, out comes `metrics.csv`, and back to the last digit.

Every command that looks at a run's progress reads this one file, and a curve of another program can be held beside it:
a CSV with any one of its columns of losses or accuracies is enough.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vitscope._core.errors import RunError
from vitscope._core.files import write_text
from vitscope._core.suggest import did_you_mean_text
from vitscope._core.text import Text
from vitscope.runs.columns import Header, header_of
from vitscope.runs.logs import A_LOSS, HIGHEST_LOSS, MOST_EPOCHS, PER_CENT, Log, read_log, wrong_cell


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
        path: a CSV file (comma, semicolon or tab) or a run folder. A file with all of our columns is read to the letter. Any other is taken
            for another program's (`runs/logs.py`): usual names are read as ours, and `read_log_notes` tells what was made of it. Missing
            columns and empty cells become nan. The word `nan` for a loss or an accuracy is a result of a training that diverged and becomes
            infinite.

    Raises:
        RunError: no such file, no column that is read, a cell that is no number, an accuracy that is no per cent, or, in a file of ours, an
            epoch that stands there twice.
    """
    file = path / "metrics.csv" if path.is_dir() else path
    lines = _lines(file)
    if set(COLUMNS) <= set(_header(lines).names):
        return _ours(file, lines)
    return [
        EpochMetrics(**{name: row.get(name, math.nan) for name in MEASURES}, epoch=epoch, step=_step(row))
        for epoch, row in sorted(_theirs(file, lines).epochs.items())
    ]


def read_log_notes(path: Path) -> tuple[Text, ...]:
    """What was made of another program's file, in words: columns and numbers that are read otherwise than they stand there. Nothing of ours.

    Raises:
        RunError: the file cannot be read.
    """
    file = path / "metrics.csv" if path.is_dir() else path
    lines = _lines(file)
    columns = _header(lines)
    if set(COLUMNS) <= set(columns.names):
        return ()
    notes = _theirs(file, lines).notes
    if not columns.renamed and not columns.ignored:
        return tuple(notes)
    theirs = {own: name for name, own in columns.renamed}
    read = [name for name in columns.names if name not in columns.ignored and name]
    en = ", ".join(f"{theirs[name]} as {name}" if name in theirs else name for name in read)
    ja = "、".join(f"{theirs[name]}（{name}として）" if name in theirs else name for name in read)
    rest = columns.ignored
    told = Text(
        f"Columns that are read: {en}." + (f" Ignored: {', '.join(rest)}." if rest else ""),
        f"読み込んだ列：{ja}。" + (f"無視した列：{'、'.join(rest)}。" if rest else ""),
    )
    return (told, *notes)


def _ours(file: Path, lines: list[tuple[int, list[str]]]) -> list[EpochMetrics]:
    header = [name.strip() for name in lines[0][1]]
    _check_header(file, header)
    found: dict[int, tuple[int, EpochMetrics]] = {}
    for number, cells in lines[1:]:
        row = _row(file, number, dict(zip(header, cells, strict=False)))
        if row.epoch in found:
            first = found[row.epoch][0]
            raise RunError(
                Text(
                    f"{file} holds epoch {row.epoch} twice (lines {first} and {number}), expected one row an epoch; delete one of the two",
                    f"{file}にはエポック{row.epoch}の行が2つあります（{first}行目と{number}行目）。どちらかを削除してください",
                )
            )
        found[row.epoch] = (number, row)
    return [found[epoch][1] for epoch in sorted(found)]


def _theirs(file: Path, lines: list[tuple[int, list[str]]]) -> Log:
    header = list(_header(lines).names)
    _check_header(file, header)
    rows = [(number, dict(zip(header, cells, strict=False))) for number, cells in lines[1:]]
    return read_log(file, rows, ("step", *MEASURES))


def _step(row: Mapping[str, float]) -> int:
    step = row.get("step", 0.0)
    return int(step) if math.isfinite(step) else 0


def _header(lines: list[tuple[int, list[str]]]) -> Header:
    return header_of([name.strip() for name in lines[0][1]], COLUMNS)


def _cell(row: EpochMetrics, name: str) -> str:
    if name in ("epoch", "step"):
        return str(int(getattr(row, name)))
    value = float(getattr(row, name))
    return "" if math.isnan(value) else repr(value)


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of what is not blank; the header comes first."""
    try:
        text = _decoded(file.read_bytes())
    except FileNotFoundError:
        if file.name != "metrics.csv":
            raise RunError(
                Text(
                    f"there is no file {file}; give the path of a CSV with a row an epoch",
                    f"{file}というファイルはありません。1エポックを1行に記録したCSVのパスを指定してください",
                )
            ) from None
        raise RunError(
            f"{file} does not exist, expected a metrics file; has the run finished its first epoch?"
        ) from None
    except UnicodeDecodeError:
        raise RunError(
            Text(
                f"{file} is not a text file, expected a CSV with a row an epoch",
                f"{file}はテキストファイルではありません。1エポックを1行に記録したCSVを指定してください",
            )
        ) from None
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            Text(
                f"cannot read {file}: {why}; check the path and its permissions",
                f"{file}を読み込めません（{why}）。パスと権限を確認してください",
            )
        ) from None
    between = _delimiter(text.partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between)
    try:
        rows = (cells[0].split(between) if len(cells) == 1 else cells for cells in reader)  # a row quoted as a whole
        lines = [(reader.line_num, cells) for cells in rows if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise RunError(
            Text(
                f"{file} line {reader.line_num} is not CSV ({error}); correct or delete the line",
                f"{file}の{reader.line_num}行目をCSVとして読めません（{error}）。その行を修正するか削除してください",
            )
        ) from None
    if not lines:
        raise RunError(
            Text(
                f"{file} is empty, expected a CSV that begins with the line {','.join(COLUMNS)}",
                f"{file}は空です。{','.join(COLUMNS)}という行で始まるCSVを指定してください",
            )
        )
    return lines


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _decoded(data: bytes) -> str:
    """As spreadsheets write it: UTF-8, UTF-16, or Japanese Windows's own.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp932")
        if "\0" in text:
            raise
        return text


def _check_header(file: Path, header: list[str]) -> None:
    if not set(MEASURES) & set(header):
        names = [name for name in header if name != "epoch"]
        hints = [did_you_mean_text(name, MEASURES) for name in names]
        had = ", ".join(f"{name}{hint.en}" for name, hint in zip(names, hints, strict=True)) or "only epoch"
        had_ja = "、".join(f"{name}{hint.ja}" for name, hint in zip(names, hints, strict=True)) or "epochだけ"
        raise RunError(
            Text(
                f"{file} has none of the columns {', '.join(MEASURES)} but {had}; rename what you have",
                f"{file}には{'、'.join(MEASURES)}のどの列もありません（ある列：{had_ja}）。列の名前を変更してください",
            )
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise RunError(
            Text(
                f"{file} has the column '{twice[0]}' twice, expected it once; delete one of the two",
                f"{file}には列'{twice[0]}'が2つあります。どちらかを削除してください",
            )
        )


def _row(file: Path, line: int, cells: dict[str, str]) -> EpochMetrics:
    def number(name: str) -> float:
        text = cells.get(name, "").strip()
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            raise wrong_cell(file, line, name, text) from None
        if name not in OUTCOMES:
            return value
        if not math.isfinite(value):
            return math.inf if math.isnan(value) else value
        if name.endswith("acc") and not 0 <= value <= 100:
            raise wrong_cell(file, line, name, text, PER_CENT)
        if name.endswith("loss") and abs(value) > HIGHEST_LOSS:
            raise wrong_cell(file, line, name, text, A_LOSS)
        return value

    epoch = number("epoch")
    if not (epoch.is_integer() and 1 <= epoch <= MOST_EPOCHS):
        said = cells.get("epoch", "").strip()
        raise RunError(
            Text(
                f"{file} line {line}: epoch is {said!r}, expected a whole number that counts from 1; number the rows anew or delete one that was "
                "measured before training",
                f"{file}の{line}行目：epochが{said!r}ですが、1から始まる整数である必要があります。番号を付け直すか、学習前に測定した行を削除して"
                "ください",
            )
        )
    step = number("step")
    return EpochMetrics(
        epoch=int(epoch), step=int(step) if math.isfinite(step) else 0, **{name: number(name) for name in MEASURES}
    )
