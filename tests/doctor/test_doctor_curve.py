"""The doctor's checks of learning curves: each fault found, honest curves left alone, files and runs read."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vitscope._core.errors import RunError, UsageError
from vitscope.curves import load_reference
from vitscope.doctor.curve import CURVE_CHECKS, examine_curve, examine_metrics_file, examine_run
from vitscope.doctor.curve.watched import Settings
from vitscope.runs import EpochMetrics, RunFolder, read_metrics
from vitscope.runs.metrics import write_metrics

NAN = math.nan
RECORDS = Path(__file__).parents[2] / "benchmarks" / "results"
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "reference_curves"


def _rows(count: int, **columns: Callable[[float], float]) -> list[EpochMetrics]:
    """Epochs 1 to `count`, each column a function of progress from 0 to 1; what is left out is nan."""
    names = ("train_loss", "train_acc", "val_loss", "val_acc", "lr")
    return [
        EpochMetrics(
            epoch=i + 1,
            step=100 * (i + 1),
            seconds=float(i),
            images_per_second=100.0,
            **{name: float(columns.get(name, lambda _: NAN)(i / max(count - 1, 1))) for name in names},
        )
        for i in range(count)
    ]


def _cosine(t: float) -> float:
    return 1e-3 * 0.5 * (1 + math.cos(math.pi * t))


HEALTHY: dict[str, Callable[[float], float]] = {
    "train_loss": lambda t: 0.6 + 1.5 * math.exp(-4 * t),
    "train_acc": lambda t: 80 - 50 * math.exp(-4 * t),
    "val_loss": lambda t: 0.7 + 1.2 * math.exp(-4 * t),
    "val_acc": lambda t: 76 - 35 * math.exp(-4 * t),
    "lr": lambda t: min(1e-3, 2e-2 * t + 1e-4) if t < 0.05 else _cosine(t),
}


def _ids(found: Any) -> dict[str, str]:
    return {finding.id: finding.severity for finding in found[0]}


def _with(count: int = 20, **columns: Callable[[float], float]) -> list[EpochMetrics]:
    return _rows(count, **{**HEALTHY, **columns})


def test_a_healthy_curve_has_nothing_and_all_checks_that_apply_are_run() -> None:
    findings, skips, run = examine_curve(_with(), classes=10)
    assert not findings
    assert [skip.check for skip in skips] == ["curve-band"]
    assert set(run) == set(CURVE_CHECKS) - {"curve-band"}


@pytest.mark.parametrize("classes", [10, None], ids=["classes told", "classes guessed"])
def test_stuck_at_chance_is_an_error_that_names_ln_c(classes: int | None) -> None:
    stuck = _with(
        10, val_acc=lambda t: 10.0, val_loss=lambda t: 2.3026, train_acc=lambda t: 10.1, train_loss=lambda t: 2.31
    )
    found = examine_curve(stuck, classes=classes, checks=["curve-chance"])
    assert _ids(found) == {"stuck-at-chance": "error"}
    assert "ln 10 = 2.303" in found[0][0].summary.en
    assert "ln 10 = 2.303" in found[0][0].summary.ja


def test_a_slow_start_is_not_stuck() -> None:
    slow = _with(10, val_acc=lambda t: 10.0 if t < 0.6 else 40 * t, val_loss=lambda t: 2.3026 - t)
    assert "stuck-at-chance" not in _ids(examine_curve(slow, classes=10))


@cache
def _trained_on_digits(last: Callable[[torch.Tensor], torch.Tensor]) -> list[EpochMetrics]:
    """A real training whose scores go through `last` before cross-entropy."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1, torch.tensor(digits.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer, loss_of = torch.optim.Adam(model.parameters(), 3e-3), nn.CrossEntropyLoss()
    rows = []
    for epoch in range(1, 31):
        losses, hits = [], []
        for part in torch.randperm(1400).split(64):
            scores = last(model(x[part]))
            loss = loss_of(scores, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits.append((scores.argmax(1) == y[part]).float().mean().item())
        with torch.no_grad():
            scores = last(model(x[1400:]))
        right = (scores.argmax(1) == y[1400:]).float().mean().item()
        measured = (float(np.mean(losses)), 100 * float(np.mean(hits)), loss_of(scores, y[1400:]).item(), 100 * right)
        rows.append(EpochMetrics(epoch, 22 * epoch, float(epoch), *measured, NAN, NAN))
    return rows


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    return scores.softmax(1)


def _plain(scores: torch.Tensor) -> torch.Tensor:
    return scores


@pytest.mark.parametrize("classes", [10, None], ids=["classes told", "classes guessed"])
def test_softmax_before_cross_entropy_is_told_by_its_floor(classes: int | None) -> None:
    found = examine_curve(_trained_on_digits(_softmax), classes=classes, checks=["curve-chance"])
    assert _ids(found) == {"softmax-before-cross-entropy": "error"}
    assert "1.4612" in found[0][0].summary.en


def test_tanh_scores_are_told_by_their_floor_and_plain_ones_are_left_alone() -> None:
    assert _ids(examine_curve(_trained_on_digits(torch.tanh), classes=10, checks=["curve-chance"])) == {
        "bounded-scores": "warning"
    }
    assert not examine_curve(_trained_on_digits(_plain), classes=10, checks=["curve-chance", "curve-modes"])[0]


def test_label_smoothing_and_mixing_are_no_bounded_scores() -> None:
    lifted = _with(train_loss=lambda t: 0.8 + 1.5 * math.exp(-6 * t), train_acc=lambda t: 99.0)
    assert "bounded-scores" in _ids(examine_curve(lifted, classes=10))
    assert "bounded-scores" not in _ids(examine_curve(lifted, classes=10, settings=Settings(smoothing=0.1)))
    assert "bounded-scores" not in _ids(examine_curve(lifted, classes=10, settings=Settings(mixes=True)))


def test_below_the_reference_and_since_when() -> None:
    reference = load_reference("vit_patch4_cifar10_200ep")
    lag = [
        EpochMetrics(r.epoch, 0, NAN, NAN, NAN, NAN, r.val_acc - (8 if r.epoch > 12 else 0), NAN, NAN)
        for r in reference.rows[:30]
    ]
    found = examine_curve(lag, classes=10, reference=reference)
    assert _ids(found) == {"below-the-reference": "warning"}
    assert found[0][0].evidence["below_since"] == 13
    assert not examine_curve(reference.rows, classes=10, reference=reference)[0]
    dip = [
        EpochMetrics(r.epoch, 0, NAN, NAN, NAN, NAN, r.val_acc - 9 * (r.epoch in (9, 10)), NAN, NAN)
        for r in reference.rows[:30]
    ]
    assert not examine_curve(dip, classes=10, reference=reference)[0]


def test_overfitting_is_a_warning_and_a_slight_rise_at_the_best_accuracy_a_note() -> None:
    rising = _with(30, val_loss=lambda t: 0.8 + 2 * (t - 0.3) ** 2, val_acc=lambda t: 70 - 10 * (t - 0.3) ** 2)
    assert _ids(examine_curve(rising, classes=10))["overfitting"] == "warning"
    surer = _with(30, val_loss=lambda t: 0.8 + 0.2 * (t - 0.3) ** 2)
    assert _ids(examine_curve(surer, classes=10))["overfitting"] == "note"


def test_overfitting_without_losses_shows_in_the_gap() -> None:
    gap = _rows(20, train_acc=lambda t: 99.0, val_acc=lambda t: 55.0)
    assert _ids(examine_curve(gap, classes=10)) == {"overfitting": "warning"}
    assert not examine_curve(_rows(20, train_acc=lambda t: 99.0, val_acc=lambda t: 90.0), classes=10)[0]


def test_divergence_collapse_and_a_rising_training_loss() -> None:
    nan = _with(12)
    nan[7:] = [EpochMetrics(r.epoch, r.step, r.seconds, math.inf, 10.0, math.inf, 10.0, r.lr, NAN) for r in nan[7:]]
    assert _ids(examine_curve(nan, classes=10))["loss-not-finite"] == "error"
    collapsed = _with(val_acc=lambda t: 60.0 if t < 0.5 else 10.0, val_loss=lambda t: 1.1 if t < 0.5 else 2.303)
    assert _ids(examine_curve(collapsed, classes=10))["fell-back-to-chance"] == "error"
    rising = _with(train_loss=lambda t: 1 + 4 * (t - 0.5) ** 2)
    assert _ids(examine_curve(rising, classes=10, checks=["curve-divergence"])) == {"training-loss-rises": "warning"}
    spike = _with(train_loss=lambda t: 5.0 if 0.45 < t < 0.52 else HEALTHY["train_loss"](t))
    assert not examine_curve(spike, classes=10, checks=["curve-divergence"])[0]


RATES: tuple[tuple[str, Callable[[float], float], dict[str, str]], ...] = (
    ("cosine", _cosine, {}),
    ("cosine with warm-up", HEALTHY["lr"], {}),
    ("steps", lambda t: 1e-3 * 0.1 ** int(3 * t), {}),
    ("constant", lambda t: 1e-3, {"learning-rate-constant": "warning"}),
    ("up and down", lambda t: _cosine(4 * t), {"learning-rate-rises-again": "warning"}),
    ("restarts", lambda t: _cosine((4 * t) % 1), {"learning-rate-rises-again": "note"}),
    ("one cycle", lambda t: 1e-3 * min(t / 0.3 + 0.1, (1 - t) / 0.7 + 0.01), {}),
    ("too long", lambda t: _cosine(0.3 * t), {"schedule-not-finished": "note"}),
    ("from zero", lambda t: min(t * 5, 1) * _cosine(t), {"first-epoch-at-rate-zero": "note"}),
)


@pytest.mark.parametrize(("rate", "wanted"), [case[1:] for case in RATES], ids=[case[0] for case in RATES])
def test_shapes_of_learning_rates(rate: Callable[[float], float], wanted: dict[str, str]) -> None:
    assert _ids(examine_curve(_with(41, lr=rate), classes=10, checks=["curve-learning-rate"])) == wanted


def test_what_a_recipe_says_of_the_learning_rate_counts() -> None:
    def found(rate: Callable[[float], float], settings: Settings) -> dict[str, str]:
        return _ids(examine_curve(_with(lr=rate), classes=10, settings=settings, checks=["curve-learning-rate"]))

    assert found(lambda t: 1e-3, Settings(schedule="constant")) == {"learning-rate-constant": "note"}
    assert found(_cosine, Settings(warms_up=False)) == {"no-warm-up": "note"}
    assert found(_cosine, Settings(warms_up=True)) == {}
    assert found(lambda t: _cosine(0.3 * t), Settings(is_finished=False)) == {}


def test_training_and_validation_that_do_not_fit_together() -> None:
    def found(**columns: Callable[[float], float]) -> dict[str, str]:
        return _ids(examine_curve(_with(**columns), classes=10, checks=["curve-modes"]))

    assert (
        found(val_acc=lambda t: 10.2, val_loss=lambda t: 3.0)["validation-at-chance-while-training-learns"] == "warning"
    )
    assert found(val_loss=lambda t: 6.0, val_acc=lambda t: 25.0) == {"validation-loss-far-above-training": "warning"}
    assert found(train_loss=lambda t: 0.01, train_acc=lambda t: 50.0)["training-loss-is-no-mean"] == "note"
    assert found(train_acc=lambda t: 30.0, train_loss=lambda t: 2.0) == {"training-accuracy-below-validation": "note"}


def test_overfitting_later_on_and_a_bad_first_epoch_are_no_other_mode_of_measuring() -> None:
    later = _with(val_loss=lambda t: 0.9 + 4 * t, train_loss=lambda t: 1.5 - 1.4 * t, train_acc=lambda t: 45 + 54 * t)
    first = _with(val_loss=lambda t: 8.0 if t == 0 else HEALTHY["val_loss"](t))
    for rows in (later, first):
        assert not examine_curve(rows, classes=10, checks=["curve-modes"])[0]


def test_missing_columns_are_skips_with_a_reason() -> None:
    findings, skips, run = examine_curve(_rows(10, val_acc=lambda t: 30 + 40 * t), classes=10)
    assert not findings
    assert {skip.check for skip in skips} >= {"curve-learning-rate", "curve-modes", "curve-divergence"}
    assert "lr" in next(skip.why.en for skip in skips if skip.check == "curve-learning-rate")
    assert "curve-chance" in run


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published curves beside the checkout (../shared) are absent")
def test_the_published_curve_is_healthy_against_itself() -> None:
    file = SHARED / "vit_patch4_cifar10_200ep.csv"
    findings, _, run = examine_metrics_file(file, classes=10, reference="vit_patch4_cifar10_200ep")
    assert not findings
    assert "curve-band" in run


def test_recorded_runs_are_judged_as_they_were() -> None:
    for name in ("2026-11-23-fast-cifar10", "2026-11-25-good-vit-cifar10", "2026-11-25-fast-cifar10-cpu/seed-0"):
        found = examine_metrics_file(RECORDS / name / "metrics.csv", classes=10, reference="vit_patch4_cifar10_200ep")
        assert not found[0], name
    for seed in (0, 1, 2):
        found = examine_metrics_file(RECORDS / "2026-11-25-quickstart" / f"seed{seed}" / "metrics.csv", classes=10)
        assert set(_ids(found).values()) <= {"note"}
    bad = examine_metrics_file(
        RECORDS / "2026-11-25-bad-vit-cifar10" / "metrics.csv", reference="vit_patch4_cifar10_200ep"
    )
    assert _ids(bad)["stuck-at-chance"] == "error"


def test_files_that_are_no_curves_are_one_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name,size\n1,2\n")
    with pytest.raises(RunError, match="has none of the columns"):
        examine_metrics_file(wrong)
    with pytest.raises(RunError, match=r"there is no file .*none\.csv"):
        examine_metrics_file(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="did you mean 'curve-chance'"):
        examine_curve(_with(), checks=["curve-chanse"])


def test_a_run_is_judged_with_what_its_folder_tells(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.recipe.write_text("augment: {mixup: 0.8}\ntrain: {schedule: constant, label_smoothing: 0.1, warmup: 0st}\n")
    findings, skips, run = examine_run(folder)
    assert (findings, run) == ([], ())
    assert len(skips) == len(CURVE_CHECKS)
    write_metrics(folder.metrics, _with(lr=lambda t: 1e-3, train_acc=lambda t: 20 + 20 * t))
    folder.config.write_text('{"label_names": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}')
    found = examine_run(folder)
    assert _ids(found)["learning-rate-constant"] == "note"
    assert _ids(found)["training-accuracy-below-validation"] == "note"
    assert "mixed images" in next(f.summary.en for f in found[0] if f.check == "curve-modes")
    folder.recipe.write_text("augment: [not, a, recipe]\n")
    assert _ids(examine_run(folder))["learning-rate-constant"] == "warning"


def test_a_csv_with_other_columns_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows([["epoch", "val_acc", "note"], *([i, 10.0, "x"] for i in range(1, 9))])
    assert len(read_metrics(file)) == 8
    assert _ids(examine_metrics_file(file, classes=10)) == {"stuck-at-chance": "error"}
