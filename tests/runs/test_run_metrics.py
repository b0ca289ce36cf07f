"""metrics.csv: what is written reads back to the last digit, and what cannot be read gets one clear sentence."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope._core.errors import RunError
from vitscope.runs import EpochMetrics, read_log_notes, read_metrics, write_metrics
from vitscope.runs.metrics import COLUMNS

SOURCES = str(Path(__file__).parents[2] / "src")
number = st.floats(-1e100, 1e100) | st.just(math.inf)
percent = st.floats(0, 100)


def row(epoch: int = 1, **changes: float) -> EpochMetrics:
    values = {"seconds": 1.5, "train_loss": 2.0, "train_acc": 20.0, "val_loss": 1.9, "val_acc": 25.0}
    values |= {"lr": 1e-4, "images_per_second": 1000.0} | changes
    return EpochMetrics(epoch=epoch, step=98 * epoch, **values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(number, number, percent, number, percent, number, number), max_size=4))
def test_numbers_read_back_to_the_last_digit(tmp_path_factory: pytest.TempPathFactory, numbers: list) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    rows = [EpochMetrics(i, i * 7, *values) for i, values in enumerate(numbers, start=1)]
    write_metrics(path, rows)
    assert read_metrics(path) == rows


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [row(1, train_loss=0.1 + 0.2)])
    header, line = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,step,seconds,train_loss,train_acc,val_loss,val_acc,lr,images_per_second"
    assert line == "1,98,1.5,0.30000000000000004,20.0,1.9,25.0,0.0001,1000.0"


def test_what_was_not_measured_is_an_empty_cell_and_what_is_not_finite_is_said(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, [row(1, val_loss=math.nan, val_acc=math.nan), row(2, val_loss=math.nan, train_loss=math.inf)])
    first, second = path.read_text().splitlines()[1:]
    assert first == "1,98,1.5,2.0,20.0,,,0.0001,1000.0"
    assert second == "2,196,1.5,inf,20.0,,25.0,0.0001,1000.0"
    one, two = read_metrics(path)
    assert math.isnan(one.val_loss)
    assert (one.not_finite, two.not_finite) == (None, "train_loss")
    assert two.to_dict()["train_loss"] is None  # JSON knows no infinity


def test_the_word_nan_is_a_result_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("epoch,train_loss,val_loss,val_acc,seconds\n1,1.0,,50,nan\n2,nan,NaN,,1\n")
    one, two = read_metrics(path)
    assert math.isnan(one.val_loss)
    assert math.isnan(one.seconds)
    assert one.not_finite is None
    assert math.isinf(two.train_loss)
    assert math.isinf(two.val_loss)
    assert math.isnan(two.val_acc)
    assert two.not_finite == "train_loss"


@pytest.mark.parametrize(
    "text",
    [
        "epoch,val_acc\n2,47.4\n1,36.7\n",
        "﻿epoch; note; val_acc\r\n1;a;36.7\r\n\r\n2;;47.4\r\n",
        'epoch;val_acc\n"1;36,7"\n"2;47,4"\n',
    ],
)
def test_a_csv_of_another_program_needs_epoch_and_one_metric(tmp_path: Path, text: str) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text(text, encoding="utf-8")
    rows = read_metrics(path)
    assert [(r.epoch, r.val_acc, r.step) for r in rows] == [(1, 36.7, 0), (2, 47.4, 0)]
    assert all(math.isnan(r.train_loss) for r in rows)


def test_usual_names_of_other_programs_are_read_and_the_rest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("Epoch,loss,accuracy,val_accuracy,Learning Rate,note\n1,2.0,0.25,0.5,0.1,x\n2,1.0,0.5,1,0.1,y\n")
    rows = read_metrics(path)
    assert [(r.epoch, r.train_loss, r.train_acc, r.val_acc, r.lr) for r in rows] == [
        (1, 2.0, 25.0, 50.0, 0.1),
        (2, 1.0, 50.0, 100.0, 0.1),
    ]
    told = read_log_notes(path)
    assert "val_accuracy as val_acc, Learning Rate as lr. Ignored: note." in told[0].en
    assert [note.en for note in told[1:]] == ["Accuracies up to 1 are read as parts of one: 100 %."]
    path.write_text("epoch,accuracy,val_acc,val_accuracy\n1,12.5,30,31\n")
    assert (read_metrics(path)[0].train_acc, read_metrics(path)[0].val_acc) == (12.5, 30.0)
    assert read_log_notes(path)[0].en.endswith("Ignored: val_accuracy.")


def test_a_run_without_metrics_is_asked_for_its_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has the run finished its first epoch"):
        read_metrics(tmp_path)


def test_a_run_folder_may_be_given_for_its_file(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [row(1)])
    assert read_metrics(tmp_path) == [row(1)]


def test_a_file_without_rows_is_a_run_before_its_first_epoch(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [])
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "m.csv; give the path of a CSV with a row an epoch"),
        ("", f"m.csv is empty, expected a CSV that begins with the line {','.join(COLUMNS)}"),
        ("epoch,vall_acc\n1,2\n", "but vall_acc (did you mean 'val_acc'?); rename what you have"),
        ("epoch,val_acc,val_acc\n1,2,3\n", "m.csv has the column 'val_acc' twice, expected it once"),
        ("epoch,val_acc\n1,30\n2,4o\n", "m.csv line 3: val_acc is '4o', expected a number"),
        (
            f"{','.join(COLUMNS)}\n1,,,,,,30,,\n\n1,,,,,,31,,\n",
            "m.csv holds epoch 1 twice (lines 2 and 4), expected one row",
        ),
        (
            f"{','.join(COLUMNS)}\n0,,,,,,30,,\n",
            "m.csv line 2: epoch is '0', expected a whole number that counts from 1",
        ),
        ("epoch,val_acc\n-1,30\n", "m.csv line 2: epoch is '-1', expected a number from 0; correct"),
        ("epoch,val_acc\nx,30\n", "m.csv line 2: epoch is 'x', expected a number"),
        ("epoch,val_acc\n,30\n", "m.csv line 2: epoch is '', expected a number from 0"),
        ("epoch,val_acc\n1e21,30\n", "m.csv line 2: epoch is '1e21', expected a number from 0"),
        ("epoch,val_acc\n1,150\n", "m.csv: val_acc of epoch 1 is 150, expected per cent from 0 to 100; correct"),
        ("epoch,train_acc\n1,-5\n", "m.csv: train_acc of epoch 1 is -5, expected per cent from 0 to 100; correct"),
        ("epoch,val_acc\n1,1e308\n", "m.csv: val_acc of epoch 1 is 1e+308, expected per cent from 0 to 100; correct"),
        ("epoch,val_loss\n1,1e308\n", "m.csv: val_loss of epoch 1 is 1e+308, expected a loss below 1e+100; correct"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xff", "m.csv is not a text file, expected a CSV with a row an epoch"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(tmp_path: Path, content: str | bytes | None, sentence: str) -> None:
    path = tmp_path / "m.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RunError) as error:
        read_metrics(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_kill_during_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, [row(1)])
    before = path.read_bytes()
    program = """
import os, pathlib, signal, sys
from vitscope.runs import read_metrics, write_metrics
path = pathlib.Path(sys.argv[1])
rows = read_metrics(path) * 3
whole = pathlib.Path.write_text
def killed_half_way(self, text, **options):
    whole(self, text[: len(text) // 2], **options)
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.write_text = killed_half_way
write_metrics(path, rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=os.environ | {"PYTHONPATH": SOURCES}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(list(tmp_path.glob(".*.part"))) == 1  # which `RunFolder.claim` sweeps away


def test_a_run_of_ours_is_in_per_cent_however_low(tmp_path: Path) -> None:
    """On a hundred classes, one that learns nothing stays at 1 %."""
    write_metrics(tmp_path / "metrics.csv", [row(1, val_acc=0.9), row(2, val_acc=1.0)])
    assert [one.val_acc for one in read_metrics(tmp_path)] == [0.9, 1.0]
    (tmp_path / "zero.csv").write_text("epoch,val_acc\n1,0\n2,0\n")
    assert [one.val_acc for one in read_metrics(tmp_path / "zero.csv")] == [0.0, 0.0]
