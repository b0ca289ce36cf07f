"""Healthy models are accused of no error, however unusual; the whole corpus, with the libraries, is `make corpus`."""

from __future__ import annotations

import pytest
import torch
from healthy_case import Healthy, all_cases

from vitscope.doctor.checks import CHECKS
from vitscope.doctor.examine import diagnose

QUICK = [case for case in all_cases() if case.quick]


@pytest.mark.e2e
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_a_healthy_model_has_no_error(case: Healthy) -> None:
    torch.manual_seed(0)
    # the dearest check for every fourth model; for all of them it is part of `make corpus`
    checks = None if QUICK.index(case) % 4 == 0 else [check for check in CHECKS if check != "overfit"]
    found = diagnose(
        case.build(),
        image_size=case.image_size,
        channels=case.channels,
        num_classes=case.classes,
        loss=case.loss,
        checks=checks,
    )
    assert found.healthy, [(f.id, f.summary.en) for f in found.findings]


def test_the_quick_ones_are_some_fifteen() -> None:
    assert 12 <= len(QUICK) <= 25
