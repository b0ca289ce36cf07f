"""What is examined where no softmax of torch's is in a model: written out it is one; and what needs no map is examined without any softmax."""

from functools import partial

import pytest
import sick_by_hand
import torch
from examined_sick import by_the_check_concerned
from sick_by_hand import CORES, OfCore
from sick_case import Case
from sound_hosts import ConvHost, LinearHost

from vitscope.doctor.examine import diagnose

NAMED = {
    "M18": "skip-missing",
    "M4": "patches-cut-wrong",
    "M7": "softmax-over-the-wrong-axis",
    "M8": "attention-not-scaled",
}
INSIDE = ["patch-layout", "position", "token-mixing", "attention", "residual"]


@pytest.mark.parametrize("case", sick_by_hand.CASES, ids=lambda case: case.name)
def test_it_is_named(case: Case) -> None:
    of_mixing = {"apart": "attention-between-heads", "alone": "patches-never-meet", "causal": "causal-mask"}
    meant = NAMED.get(case.mode) or of_mixing[case.name.split("-")[0]]
    found = by_the_check_concerned(case).findings
    assert [(each.id, each.severity) for each in found] == [(meant, case.severity)]


@pytest.mark.parametrize("host", [ConvHost, LinearHost])
@pytest.mark.parametrize("name", sorted(CORES))
def test_without_a_fault_nothing_is_found(name: str, host: type[ConvHost] | type[LinearHost]) -> None:
    torch.manual_seed(0)
    found = diagnose(host(partial(OfCore, CORES[name])), image_size=32, checks=INSIDE)
    assert found.findings == ()
    skipped = {"written-out": [], "linear": ["token-mixing", "attention"], "efficient": ["token-mixing", "attention"]}
    assert [each.check for each in found.skipped] == skipped.get(name, ["attention"])
