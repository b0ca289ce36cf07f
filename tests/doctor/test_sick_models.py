"""Each sick model has its fault, by an experiment that knows nothing of the doctor, and no other but what follows from it."""

from __future__ import annotations

import pytest
import sick_batch
import sick_output
import sick_parameters
import sick_reading
import sick_running
import sick_shapes
import sick_sharing
import sick_start
import torch
from sick_case import Case
from sick_experiments import EXPERIMENTS, images, logits

pytestmark = pytest.mark.e2e  # proves the tests' own models: not for every unit test run

MODULES = (
    sick_batch,
    sick_reading,
    sick_output,
    sick_parameters,
    sick_sharing,
    sick_shapes,
    sick_running,
    sick_start,
)
CASES: tuple[Case, ...] = tuple(case for module in MODULES for case in module.CASES)
CHECKS = {
    "forward": {"M22", "M23", "M28", "M29"},
    "determinism": {"M27"},
    "batch-independence": {"M1", "M22"},
    "input-blindness": {"M2", "M3"},
    "pixel-coverage": {"M24"},
    "patch-layout": {"M25"},
    "position": {"I3"},
    "attention": {"M26"},
    "parameters": {"M14", "M15", "M16", "M17", "I2"},
    "output": {"M12", "M13"},
    "initial-loss": {"I1"},
}
FOLLOWS: dict[str, set[str]] = {
    "M2": {"M3", "M24"},  # a model that sees nothing: the experiment is the same, and no pixel counts
    "M3": {"M2", "M24"},
    "M14": {"M16"},  # the attention that is called in the place of the MLP
    "M15": {"M29"},  # `.double()` and `.to()` reach registered tensors only
    "M22": {"M23"},
    "M27": {"M22"},  # another place, another dropout
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode}-{case.name}")
def test_a_sick_model_has_its_fault_and_no_other(case: Case) -> None:
    torch.manual_seed(0)
    model = case.build().eval()
    assert logits(model, images(case)).shape == (len(images(case)), case.classes)
    results = {has: has(model, case) for has in dict.fromkeys(EXPERIMENTS.values())}
    found = {mode for mode, has in EXPERIMENTS.items() if results[has]}
    assert case.mode in found
    assert found <= {case.mode} | FOLLOWS.get(case.mode, set())


@pytest.mark.parametrize("mode", EXPERIMENTS)
def test_a_mode_has_two_models_of_different_classes(mode: str) -> None:
    cases = [case for case in CASES if case.mode == mode]
    assert len({type(case.build()) for case in cases}) >= 2
    assert {case.check for case in cases} <= {check for check, modes in CHECKS.items() if mode in modes}
    assert {case.severity for case in cases} <= {"error", "warning", "note"}
    assert len({case.name for case in CASES}) == len(CASES)
