"""A patch that is read where a class token was joined is a warning; whatever else may be read is left alone."""

from __future__ import annotations

from typing import Any

import healthy_behind
import healthy_traps as traps
import pytest
import sick_read_out
import torch
from examined_sick import by_the_check_concerned
from healthy_hosts import Host, MeanHost
from sick_case import Case
from torch import Tensor

from vitscope.doctor.examine import diagnose


@pytest.mark.parametrize("case", sick_read_out.CASES, ids=lambda case: case.name)
def test_a_patch_read_for_the_class_token(case: Case) -> None:
    (found,) = by_the_check_concerned(case).findings
    assert (found.id, found.severity) == ("one-patch-read-out", "warning")
    assert found.evidence["token_read"] not in found.evidence["extra_tokens"]


class FirstPatch(healthy_behind.RowsOnly):
    """No class token: one patch has to do."""

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[:, 0])


@pytest.mark.parametrize(
    "build",
    [
        Host,
        MeanHost,
        FirstPatch,
        traps.ZeroHead,
        traps.MeanOfPatches,
        traps.LargestOfAll,
        traps.Both,
        traps.ClassTokenLast,
        traps.Registers,
        traps.TwoClassTokens,
        traps.LateClassToken,
        traps.SequencePooling,
    ],
    ids=lambda build: build.__name__,
)
def test_what_else_may_be_read_is_left_alone(build: Any) -> None:
    torch.manual_seed(0)
    found = diagnose(build(), image_size=32, checks=["pixel-coverage"]).findings
    assert "one-patch-read-out" not in [each.id for each in found]
