"""The sick models of the tests, each examined once by the check concerned: several tests look at what it found."""

from __future__ import annotations

from functools import cache

import torch
from sick_case import Case

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose


def examined(case: Case, checks: list[str] | None) -> Examination:
    torch.manual_seed(0)
    return diagnose(
        case.build(),
        image_size=case.image_size,
        channels=case.channels,
        num_classes=case.classes,
        batch_size=case.batch_size,
        loss=case.loss,
        checks=checks,
    )


@cache
def by_the_check_concerned(case: Case) -> Examination:
    return examined(case, [case.check])
