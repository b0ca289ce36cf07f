"""Learning curves as other programs write them: what can be read in one way only is read so, and told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vitscope.runs import read_log_notes, read_metrics
from vitscope.runs.columns import header_of
from vitscope.runs.metrics import COLUMNS


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def told(path: Path) -> str:
    return " ".join(note.en for note in read_log_notes(path))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("loss", "train_loss"),
        ("accuracy", "train_acc"),
        ("val_accuracy", "val_acc"),
        ("Val/Acc", "val_acc"),
        ("loss/val", "val_loss"),
        ("acc/train", "train_acc"),
        ("eval_loss", "val_loss"),
        ("eval_top1", "val_acc"),
        ("eval_accuracy", "val_acc"),
        ("test_acc", "val_acc"),
        ("valid_loss", "val_loss"),
        ("train_loss_epoch", "train_loss"),
        ("Training Accuracy", "train_acc"),
        ("Acc@1", "train_acc"),
        ("lr-AdamW", "lr"),
        ("learning_rate", "lr"),
        ("学習損失", "train_loss"),
        ("検証正解率", "val_acc"),
        ("エポック", "epoch"),
        ("global_step", "step"),
        ("eval_top5", "eval_top5"),
        ("test_images", "test_images"),
        ("lossless", "lossless"),
    ],
)
def test_usual_names(theirs: str, ours: str) -> None:
    assert header_of([theirs], COLUMNS).names == (ours if ours in COLUMNS else theirs,)


def test_a_bare_accuracy_is_fastais_validation_and_kerass_training() -> None:
    fastai = header_of(["epoch", "train_loss", "valid_loss", "accuracy", "time"], COLUMNS)
    assert fastai.names == ("epoch", "train_loss", "val_loss", "val_acc", "time")
    keras = header_of(["epoch", "accuracy", "loss", "val_accuracy", "val_loss"], COLUMNS)
    assert keras.names == ("epoch", "train_acc", "train_loss", "val_acc", "val_loss")


def test_epochs_from_zero_are_counted_from_one(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,loss\n0,2.0\n1,1.5\n")
    assert [(row.epoch, row.train_loss) for row in read_metrics(path)] == [(1, 2.0), (2, 1.5)]
    assert "Epochs counted from 0 are counted from 1 here." in told(path)


def test_rows_for_training_and_for_validation_are_one_epoch(tmp_path: Path) -> None:
    """Lightning's CSVLogger, with its rows of learning rates."""
    rows = ["0,,9,,31,1.9", "0,,9,2.1,,", ",0.0005,10,,,", "1,,19,,40,1.7", "1,,19,1.8,,"]
    path = written(tmp_path, "\n".join(["epoch,lr-AdamW,step,train_loss_epoch,val_acc,val_loss", *rows]))
    one, two = read_metrics(path)
    assert (one.train_loss, one.val_acc, one.val_loss, one.step) == (2.1, 31.0, 1.9, 10)
    assert (two.train_loss, two.val_acc, two.val_loss, two.step) == (1.8, 40.0, 1.7, 19)
    assert "more than once" not in told(path)


def test_the_last_of_an_epochs_numbers_counts_and_that_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,val_acc\n1,30\n2,35\n2,36\n3,40\n")
    assert [row.val_acc for row in read_metrics(path)] == [30, 36, 40]
    assert "more than once with other numbers (1 of them): the last ones count" in told(path)


def test_parts_of_epochs_count_as_their_end(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,loss,eval_loss\n0.5,2.2,\n1.0,2.0,\n1.0,,1.9\n1.5,1.8,\n2.0,1.7,1.6\n")
    assert [(row.epoch, row.train_loss, row.val_loss) for row in read_metrics(path)] == [(1, 2.0, 1.9), (2, 1.7, 1.6)]


def test_without_epochs_a_row_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, "step,train_loss\n100,2.0\n200,1.5\n")
    assert [(row.epoch, row.step) for row in read_metrics(path)] == [(1, 100), (2, 200)]
    assert "each row is taken for one" in told(path)


@pytest.mark.parametrize("hole", ["NaN", "nan", "N/A", "None", "null", "-", ""])
def test_holes_are_holes(tmp_path: Path, hole: str) -> None:
    path = written(tmp_path, f"epoch,train_loss,val_loss\n1,2.0,{hole}\n2,1.5,1.7\n3,1.2,{hole or 'None'}\n4,1.1,1.4\n")
    rows = read_metrics(path)
    assert [row.not_finite for row in rows] == [None] * 4
    assert math.isnan(rows[0].val_loss)


def test_nan_that_stays_is_a_training_that_diverged(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,train_loss,val_loss\n1,2.0,2.0\n2,nan,nan\n3,nan,nan\n")
    assert [row.not_finite for row in read_metrics(path)] == [None, "train_loss", "train_loss"]


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ("1,0.2,0.1,2.2\n2,0.99,0.51,1.5\n", [(20, 10), (99, 51)]),
        ("1,0.2,0.1,2.2\n2,0.99,51,1.5\n", [(0.2, 0.1), (0.99, 51)]),
        ("1,0.01,0.0102,4.605\n2,0.01,0.01,4.605\n", [(1, 1.02), (1, 1)]),
        ("1,0.11,0.1,6.91\n2,0.1,0.1,6.908\n", [(0.11, 0.1), (0.1, 0.1)]),
        ("1,1.0,1.0,4.61\n2,1.0,1.0,4.605\n", [(1, 1), (1, 1)]),
        ("1,31%,30 %,2\n2,40%,39.5%,1.9\n", [(31, 30), (40, 39.5)]),
    ],
    ids=["fractions", "per cent", "few in a hundred", "one in a thousand", "one in a hundred", "with a sign"],
)
def test_the_unit_of_accuracies_is_decided_once(tmp_path: Path, rows: str, read: list[tuple[float, float]]) -> None:
    path = written(tmp_path, f"epoch,train_acc,val_acc,val_loss\n{rows}")
    found = [(row.train_acc, row.val_acc) for row in read_metrics(path)]
    assert [value for pair in found for value in pair] == pytest.approx([value for pair in read for value in pair])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_spreadsheets_of_japan(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "エポック,学習損失,検証正解率\n1,2.1,31\n2,1.9,40\n".encode(encoding))
    assert [(row.train_loss, row.val_acc) for row in read_metrics(path)] == [(2.1, 31), (1.9, 40)]
    assert "学習損失（train_lossとして）" in read_log_notes(path)[0].ja


def test_decimal_commas(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch;val_loss;val_acc\n1;2,25;12,5\n2;1,75;31\n")
    assert [(row.val_loss, row.val_acc) for row in read_metrics(path)] == [(2.25, 12.5), (1.75, 31)]
