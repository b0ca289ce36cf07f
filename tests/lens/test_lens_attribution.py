"""Attributions add up, are captum's on the model itself, and are zero where the score does not look."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients
from lens_samples import FAMILIES, OURS, tiny_image
from torch import nn

from vitscope._core.errors import LensError
from vitscope.lens.trace import trace
from vitscope.lens.views.attribution import attribution
from vitscope.model.create import create_model


def our_vit(**changed: Any) -> Any:
    torch.manual_seed(0)
    model = create_model("vit-ti4-32", **{**OURS, **changed}).eval()
    nn.init.normal_(model.head.weight, std=0.2)
    return model


def test_the_shares_are_captums_on_the_model_itself_and_add_up() -> None:
    model = our_vit()
    found = attribution(trace(model, tiny_image()), target=3, steps=48)
    theirs = IntegratedGradients(model).attribute(tiny_image(), torch.zeros(1, 3, 32, 32), target=3, n_steps=48)
    assert torch.allclose(found.pixels, theirs[0].float(), atol=1e-5)
    with torch.no_grad():
        gained = float(model(tiny_image())[0, 3] - model(torch.zeros(1, 3, 32, 32))[0, 3])
    assert found.gained == pytest.approx(gained, abs=1e-5)
    assert found.error < 0.02
    assert found.patches is not None
    assert float(found.patches.sum()) == pytest.approx(float(found.pixels.sum()), abs=1e-5)
    assert float(found.patches[5]) == pytest.approx(float(found.pixels[:, 8:16, 8:16].sum()), abs=1e-5)


def test_more_steps_bring_it_closer() -> None:
    found = trace(our_vit(), tiny_image())
    assert attribution(found, steps=64).error < attribution(found, steps=4).error


def test_a_model_that_never_looks_gains_nothing() -> None:
    torch.manual_seed(0)
    found = attribution(trace(create_model("bad-vit", depth=2), tiny_image()))
    assert not found.pixels.any()
    assert found.gained == 0
    assert found.error == 0


def test_a_score_that_was_cut_off_is_refused_in_one_sentence() -> None:
    torch.manual_seed(0)
    with pytest.raises(LensError, match="cannot be differentiated down to the pixels") as refusal:
        attribution(trace(create_model("bad-vit:cls-detached", depth=2), tiny_image()))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["good-vit", "sequence first", "keys first", "vitscope, tokenizer"])
def test_other_models_too(name: str) -> None:
    torch.manual_seed(0)
    found = attribution(trace(FAMILIES[name].build(), tiny_image()), steps=8)
    assert (found.patches is None) is (name == "vitscope, tokenizer")
    assert found.pixels.isfinite().all()


def test_no_gradients_are_left_on_the_model() -> None:
    model = our_vit()
    attribution(trace(model, tiny_image()), steps=4)
    assert all(parameter.grad is None for parameter in model.parameters())
