"""Curves that a reviewer had brought: honest ones that were accused, and sick ones that were called healthy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from test_doctor_curve import _ids, _rows, _with

from vitscope.doctor.curve import examine_curve


def found(rows: Any, classes: int | None = None) -> dict[str, str]:
    return _ids(examine_curve(rows, classes=classes))


def test_a_hundred_classes_are_not_ten_with_a_softmax() -> None:
    """At 55 % and 1.885 it happens to fit; it began over 4, where no loss of probabilities can be."""
    rows = _with(
        60,
        val_acc=lambda t: 2 + 53 * (1 - math.exp(-4 * t)),
        val_loss=lambda t: 1.885 + 2.2 * math.exp(-5 * t),
        train_loss=lambda t: 1.7 + 2.6 * math.exp(-5 * t),
        train_acc=lambda t: 60 * t,
    )
    assert found(rows) == {}


def test_two_classes_that_are_learned_slowly_are_not_stuck() -> None:
    rows = _with(
        10,
        val_acc=lambda t: 51.0 + 1.5 * t,
        val_loss=lambda t: 0.692 - 0.014 * t,
        train_loss=lambda t: 0.692 - 0.02 * t,
        train_acc=lambda t: 51 + 2 * t,
    )
    assert "stuck-at-chance" not in found(rows, 2)


def test_four_times_chance_is_not_chance() -> None:
    rows = _with(
        10,
        val_acc=lambda t: 0.4,
        val_loss=lambda t: 6.8,
        train_loss=lambda t: 6.8,
        train_acc=lambda t: 0.4,
    )
    assert "stuck-at-chance" not in found(rows, 1000)


@pytest.mark.parametrize(("classes", "told"), [(10, 10), (10, None), (100, None), (1000, 1000)])
def test_losses_alone_show_that_it_is_stuck(classes: int, told: int | None) -> None:
    level = math.log(classes)
    rows = _rows(10, train_loss=lambda t: level + 0.002, val_loss=lambda t: level + 0.001)
    assert found(rows, told)["stuck-at-chance"] == "error"
    rows = _rows(10, train_loss=lambda t: level + 0.002, train_acc=lambda t: 100 / classes)
    assert found(rows, told)["stuck-at-chance"] == "error"


def test_losses_that_come_down_are_not_stuck() -> None:
    assert "stuck-at-chance" not in found(_rows(10, train_loss=lambda t: 2.3 - 0.03 * t), 10)
    assert "stuck-at-chance" not in found(_rows(10, train_loss=lambda t: 2.3 - 0.03 * t))


def test_noise_round_chance_without_classes() -> None:
    rows = _rows(
        8, val_acc=lambda t: 9.8 + 0.3 * math.sin(20 * t), val_loss=lambda t: 2.304, train_loss=lambda t: 2.304
    )
    assert found(rows)["stuck-at-chance"] == "error"


def test_always_the_largest_class() -> None:
    rows = _rows(20, val_acc=lambda t: 90.0, val_loss=lambda t: 0.3251, train_loss=lambda t: 0.326)
    assert found(rows, 2) == {"one-answer-to-all": "warning"}
    perfect = _rows(20, val_acc=lambda t: 100.0, val_loss=lambda t: 0.001, train_loss=lambda t: 0.001)
    assert found(perfect, 2) == {}


def test_a_flat_validation_loss_hides_no_gap() -> None:
    rows = _rows(
        20,
        train_acc=lambda t: 40 + 59 * t,
        val_acc=lambda t: 45.0 - 5 * math.exp(-9 * t),
        train_loss=lambda t: 2 - 1.97 * t,
        val_loss=lambda t: 1.5,
    )
    assert found(rows, 10) == {"overfitting": "warning"}


@pytest.mark.parametrize(
    ("lr", "says"),
    [
        (lambda t: 0.0, {"learning-rate-zero": "error"}),
        (lambda t: 1e-3 if t < 0.5 else -1e-4, {"learning-rate-zero": "error"}),
        (lambda t: 1e-3 * 1000 ** (-20 * t), {"learning-rate-dies-early": "warning"}),
        (lambda t: 1e-3 if t < 0.2 else 0.0, {"learning-rate-dies-early": "warning"}),
        (lambda t: 1e-3 * 0.9 ** (50 * t), {}),
    ],
    ids=["zero", "negative", "stepped too often", "over at a fifth", "exponential"],
)
def test_rates_that_move_nothing(lr: Any, says: dict[str, str]) -> None:
    flat = {
        "val_acc": lambda t: 30.0 + t,
        "val_loss": lambda t: 1.9,
        "train_loss": lambda t: 1.9,
        "train_acc": lambda t: 31.0,
    }
    assert found(_with(20, **flat, lr=lr), 10) == says


def test_a_rate_that_was_rounded_to_nothing_is_not_accused() -> None:
    assert found(_with(20, lr=lambda t: 0.0), 10) == {}


def test_the_lowest_loss_is_told_with_its_own_epoch() -> None:
    rows = [
        row
        for row in _with(62, train_loss=lambda t: 1.5 if 0.88 < t < 0.92 else 2.3, val_acc=lambda t: 30.0 + t)
        if row.epoch > 50
    ]
    (rising,) = (f for f in examine_curve(rows, classes=10).findings if f.id == "training-loss-rises")
    lowest = min(rows, key=lambda row: row.train_loss)
    assert rising.evidence["lowest_epoch"] == lowest.epoch
    assert f"(epoch {lowest.epoch})" in rising.summary.en
