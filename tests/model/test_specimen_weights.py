"""Weights of the specimens as the plain ViT's and back: the same scores in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, awake, images_for

from vitscope._core.errors import ModelError
from vitscope.model.create import build
from vitscope.model.presets import FAULTS
from vitscope.model.specimens.convert import equivalent_vit, specimen_to_vit, vit_to_specimen
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec

SPECS = [
    GoodViTSpec(),
    GoodViTSpec(**SPECIMEN),
    BadViTSpec(fault="none"),
    BadViTSpec(**{**SPECIMEN, "channels": 1}, fault="none"),
]
HARMLESS = (
    "none",
    "cls-detached",
    "double-dropout",
    "no-position",
    "position-frozen-zero",
)  # in evaluation, but for position
FAULTY = [BadViTSpec.parse({**SPECIMEN, "fault": fault}) for fault in HARMLESS[1:]]


@pytest.mark.parametrize(
    "spec", SPECS + FAULTY, ids=["good", "good tiny", "bad", "bad tiny grey", *(spec.fault for spec in FAULTY)]
)
def test_scores_are_equal_there_and_back(spec: Any) -> None:
    ours, plain = awake(spec), build(equivalent_vit(spec)).double().eval()
    plain.load_state_dict(specimen_to_vit(ours.state_dict(), spec))
    images = images_for(spec, 2)
    with torch.no_grad():
        assert torch.allclose(ours(images), plain(images), atol=1e-10, rtol=0)
        fresh = awake(equivalent_vit(spec))
        ours.load_state_dict(vit_to_specimen(fresh.state_dict(), spec))
        assert torch.allclose(ours(images), fresh(images), atol=1e-10, rtol=0)


@pytest.mark.parametrize("spec", [*SPECS[1::2], *FAULTY[:2], FAULTY[3]])
def test_there_and_back_is_the_same_state(spec: Any) -> None:
    state = awake(spec).state_dict()
    back = vit_to_specimen(specimen_to_vit(state, spec), spec)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_position_that_is_never_added_is_left_behind() -> None:
    spec = BadViTSpec(**SPECIMEN, fault="no-position")
    state = awake(spec).state_dict()
    back = vit_to_specimen(specimen_to_vit(state, spec), spec)
    assert state["pos_embed"].any()
    assert back["pos_embed"].shape == state["pos_embed"].shape
    assert not back["pos_embed"].any()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in HARMLESS])
def test_a_fault_without_a_switch_has_no_counterpart(fault: str) -> None:
    spec = BadViTSpec.parse({**SPECIMEN, "fault": fault})
    for call in (specimen_to_vit, vit_to_specimen):
        with pytest.raises(
            ModelError, match=f"bad-vit:{fault} has no equal: the plain ViT has no switch for this; take"
        ):
            call(awake(spec).state_dict(), spec)


def test_a_foreign_weight_is_named() -> None:
    with pytest.raises(ModelError, match="weight 'cls' is not one of a good-vit"):
        specimen_to_vit({"cls": torch.zeros(1)}, GoodViTSpec())
