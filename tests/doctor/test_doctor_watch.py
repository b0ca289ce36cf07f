"""Faults of loops are found in each way of writing them; loops without one are not accused."""

from __future__ import annotations

import pytest
import torch
import watch_healthy
import watch_sick
from watch_parts import Parts

import vitscope
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import SEVERITIES

pytestmark = pytest.mark.e2e  # whole loops


def made(case: watch_sick.Sick | watch_healthy.Healthy) -> Parts:
    """The same weights whichever tests ran before."""
    torch.manual_seed(0)
    return case.make()


def watched(p: Parts, run: object, raises: type[Exception] | None = None) -> Examination:
    try:
        with vitscope.watch(
            p.model, p.optimizer, p.loader, loss_fn=p.loss, scheduler=p.scheduler, val_loader=p.val
        ) as seen:
            run(p)  # type: ignore[operator]
    except Exception as error:
        if raises is None or not isinstance(error, raises):
            raise
    return seen.report


@pytest.mark.parametrize("case", watch_sick.CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_faults_are_found(case: watch_sick.Sick) -> None:
    report = watched(made(case), case.run, case.raises)
    found = {finding.id: finding for finding in report.findings}
    assert case.finds in found, str(report)
    assert found[case.finds].severity == case.severity
    assert found[case.finds].folded_under is None
    others = [f.id for f in report.causes if f.severity == "error" and f.id != case.finds]
    assert not others, str(report)


@pytest.mark.parametrize("case", watch_healthy.CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_healthy_loops_are_not_accused(case: watch_healthy.Healthy) -> None:
    report = watched(made(case), case.run)
    accused = [f for f in report.findings if f.severity != "note" or f.id not in case.notes]
    assert not accused, str(report)


def test_each_fault_is_tried_in_two_loops() -> None:
    tried = [case.finds for case in watch_sick.CASES]
    assert {name for name in tried if tried.count(name) < 2} == set()
    assert {case.severity for case in watch_sick.CASES} == set(SEVERITIES)
