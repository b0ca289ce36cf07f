"""The check of the learning rate: a model has one range, and only what lies outside of it and learns far less is accused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from test_doctor_learning import Small, built, examined
from torch import nn

from vitscope.doctor.finding import Skipped
from vitscope.doctor.learning import rate as rate_module
from vitscope.doctor.learning.rate import _inside, _stable
from vitscope.doctor.patient import Patient

pytestmark = pytest.mark.e2e  # whole examinations


@pytest.mark.parametrize(
    ("lr", "fault", "severity"),
    [
        (1e-3, "learning-rate-in-range", "note"),
        (1e-7, "learning-rate-too-low", "warning"),
        (3.0, "learning-rate-too-high", "warning"),
    ],
)
def test_a_learning_rate_beside_the_range_that_is_stable(lr: float, fault: str, severity: str) -> None:
    finding = examined(built(Small), "learning-rate", lr=lr).findings[0]
    assert (finding.id, finding.severity) == (fault, severity)
    low, high = finding.evidence["lowest_that_learns"], finding.evidence["highest_that_is_stable"]
    assert low < high
    assert (low <= lr <= high) == (severity == "note")
    told = re.findall(r"lr=([0-9.e+-]+)", finding.fault.code)
    assert len(told) == (severity != "note")
    assert all(low <= float(rate) <= high for rate in told)


@pytest.mark.parametrize("model", [Small, lambda: Small(dim=64, classes=7)])
def test_a_model_has_one_range_of_learning_rates_whichever_was_asked_for(model: Callable[[], nn.Module]) -> None:
    found = [examined(built(model), "learning-rate", lr=lr).findings[0] for lr in (1e-7, 1e-3, 0.02, 0.1, 3.0)]
    assert len({(f.evidence["lowest_that_learns"], f.evidence["highest_that_is_stable"]) for f in found}) == 1
    for each in found:
        lr, high = each.evidence["learning_rate"], each.evidence["highest_that_is_stable"]
        assert each.id != "learning-rate-too-high" or lr > high
        assert f"{high:.1e}" in each.summary.en
        assert f"{high:.1e}" in each.summary.ja


@pytest.mark.parametrize(
    ("learns", "high"),
    [
        ({0.1: 0.9}, 0.1),  # a tenth learns: no more is tried
        ({0.1: 0.2, 1 / 30: 0.8}, 1 / 30),
        ({0.1: 0.1, 1 / 30: 0.04, 1 / 3: 0.15, 1e-4: 0.0}, 1 / 3),  # slow, and slower below
        ({0.1: 0.0, 1 / 30: 0.0, 1 / 3: 0.0, 1e-4: 0.4}, 1e-4),
        ({0.1: 0.0, 1 / 30: 0.0, 1 / 3: 0.0, 1e-4: 0.0}, None),
    ],
)
def test_the_upper_end_of_the_range_is_one_that_was_tried(
    learns: dict[float, float], high: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def trial(_: object, rate: float) -> rate_module._Trial:
        tried.append(rate)
        return rate_module._Trial(learns[rate], learns[rate])

    monkeypatch.setattr(rate_module, "_tried", trial)
    patient = Patient(nn.Identity(), torch.zeros(1, 3, 4, 4), torch.zeros(1), 2, torch.float32)
    if high is None:
        with pytest.raises(Skipped, match="at none of the rates"):
            rate_module._confirmed(patient, 1e-4, 1.0)
    else:
        assert rate_module._confirmed(patient, 1e-4, 1.0)[0] == high
    assert tried == list(learns)


def test_the_rate_that_is_told_lies_in_the_range_that_was_measured() -> None:
    assert _inside(1e-5, 6e-3) == 6e-4
    assert _inside(2e-4, 1e-3) == 4e-4  # a tenth of its upper end lies below it
    assert 2.1e-6 <= _inside(2.1e-6, 2.6e-6) <= 2.6e-6


def test_no_rate_no_test_and_a_range_ends_where_the_loss_is_lowest() -> None:
    assert "--lr" in examined(built(Small), "learning-rate").skipped[0].why.en
    assert _stable([1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 3.0, 2.0, 1.0, 9.0]) == (3.0, 4.0)
    assert _stable([1.0, 2.0], [3.0, 3.5]) == (None, None)
