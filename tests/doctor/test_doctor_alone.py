"""A block in which no token hears of another is named though others make up for it, and so is a norm over the tokens."""

from __future__ import annotations

import pytest
import sick_alone
import torch
from examined_sick import by_the_check_concerned
from sick_case import Case
from test_doctor_mixing import Attending, N, findings, full, fused, named, of_length_one, windows
from torch import Tensor

NAMED = {
    "heads-among-themselves": "attention-between-heads",
    "one-block-to-itself": "block-without-meeting",
    "normed-over-tokens": "normed-over-the-tokens",
    "normed-by-hand": "normed-over-the-tokens",
}


@pytest.mark.parametrize("case", sick_alone.CASES, ids=lambda case: case.name)
def test_the_block_is_named(case: Case) -> None:
    (found,) = by_the_check_concerned(case).findings
    assert (found.id, found.severity) == (NAMED[case.name], "warning")
    if found.id != "normed-over-the-tokens":
        assert len(found.evidence["modules"]) == 1


def first_gathers(self: Attending, x: Tensor) -> Tensor:
    """As class attention: the first token hears of all, the others of none."""
    q, k, v = self.heads(x)
    told = ((q[:, :, :1] @ k.mT / 4).softmax(-1) @ v).transpose(1, 2).flatten(2)
    return torch.cat([self.out(told), torch.zeros_like(x[:, 1:])], dim=1)


def test_class_attention_windows_and_a_window_of_one_are_healthy() -> None:
    assert findings(full, first_gathers, windows(0), of_length_one, has_class=False) == []


def test_a_branch_that_starts_at_zero_is_not_taken_for_one() -> None:
    assert findings(full, full, is_trained=False, skip=0.0) == []


def test_a_mask_that_leaves_each_itself_in_one_of_two() -> None:
    (found,) = findings(full, fused(torch.eye(N, dtype=torch.bool)))
    assert named([found]) == [("block-without-meeting", "warning")]
    assert "mask" in found.summary.en
