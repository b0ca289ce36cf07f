"""Curves that broke: where the loss left its course, and what then says nothing more; files that hold too little for any check."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vitscope._core.errors import RunError
from vitscope.doctor.curve import examine_curve, examine_metrics_file
from vitscope.doctor.finding import Finding
from vitscope.runs import EpochMetrics

NAN = math.nan


def curve(losses: Sequence[float], *, lr: Callable[[int], float] = lambda _: 5e-3) -> list[EpochMetrics]:
    """Epochs from 1; what is not finite is written as it is read, infinite."""
    return [
        EpochMetrics(i, 100 * i, float(i), loss, NAN, loss, 10.0, lr(i), 100.0)
        for i, loss in enumerate(losses, start=1)
    ]


def found(rows: list[EpochMetrics]) -> dict[str, Finding]:
    return {each.id: each for each in examine_curve(rows).findings}


BROKEN = [2.3, 2.0, 1.9, 12.6, 14.0, 15.0, 9.0, 11.0, *[math.inf] * 4]


@pytest.mark.parametrize(
    ("losses", "left", "until"),
    [(BROKEN, 4, 9), ([2.2, 1.4, 0.6, 0.5, 0.8, 1.6, 3.0, 2.2, 2.6, 5.0, math.inf, math.inf], 6, 11)],
    ids=["at once", "bit by bit"],
)
def test_a_divergence_is_dated_by_where_the_loss_left_its_course(losses: list[float], left: int, until: int) -> None:
    ids = found(curve(losses))
    assert set(ids) == {"loss-not-finite"}
    finding = ids["loss-not-finite"]
    assert (finding.evidence["epoch_of_the_rise"], finding.evidence["epoch"]) == (left, until)
    assert f"in epoch {left}, at a learning rate of 0.005, and never came back; epoch {until}:" in finding.summary.en
    assert f"エポック{left}で" in finding.summary.ja


@pytest.mark.parametrize(
    "losses",
    [
        [2.3, 2.0, 1.8, 1.7, 1.6, 1.5, 1.45, 1.4, 1.35, 1.3, math.inf],
        [2.3, 2.0, 1.8, 9.0, 1.6, 1.5, 1.45, 1.4, 1.35, 1.3, math.inf],
        [math.inf] * 10,
    ],
    ids=["out of nothing", "a spike long before", "from the start"],
)
def test_a_loss_that_breaks_all_at_once_is_dated_by_that_alone(losses: list[float]) -> None:
    finding = found(curve(losses))["loss-not-finite"]
    assert "epoch_of_the_rise" not in finding.evidence
    assert finding.summary.en.startswith("Epoch ")


def test_a_constant_rate_counts_where_nothing_broke() -> None:
    assert "learning-rate-constant" in found(curve([2.3 * 0.9**i for i in range(12)]))
    climbs = found(curve(BROKEN, lr=lambda i: -1e-3))
    assert {"loss-not-finite", "learning-rate-zero"} <= set(climbs)


@pytest.mark.parametrize(
    ("text", "checks", "said"),
    [
        (
            "epoch,val_acc\n1,30\n",
            None,
            r"holds too little for any check \(1 epoch\); log train_loss, val_loss and val_acc of 5 epochs at least$",
        ),
        ("epoch,val_acc\n1,30\n2,31\n3,32\n", None, r"\(3 epochs\).*, or tell its classes or a reference$"),
        (
            "epoch,val_acc,train_acc\n1,30,31\n",
            ["curve-band"],
            r"asked could be examined \(curve-band: there is no reference",
        ),
    ],
    ids=["one epoch", "accuracies alone", "a check without what it examines"],
)
def test_a_file_of_which_no_check_can_be_made_is_refused(
    tmp_path: Path, text: str, checks: list[str] | None, said: str
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(RunError, match=said) as refused:
        examine_metrics_file(file, checks=checks)
    assert "実行できません" in refused.value.text.ja
    run = tmp_path / "metrics.csv"
    (tmp_path / "recipe.yaml").write_text("{}")
    run.write_text(text)
    assert not examine_metrics_file(run, checks=checks).checks_run
