"""The check `gradient`: it fires for the sick models of its modes, and leaves alone what only looks like them."""

from __future__ import annotations

from functools import partial

import healthy_blocks as blocks
import pytest
import sick_gradient
import torch
from examined_sick import by_the_check_concerned
from healthy_hosts import DIM, Block, Host
from healthy_traps import ZeroHead
from torch import Tensor, nn

from vitscope.doctor.blocks.gradient import depth_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

SICK = {case.name: case for case in sick_gradient.CASES}
FOUND = {"G1": "gradient-vanishes", "G2": "gradient-explodes", "G3": "dead-units"}


def examined(build: object) -> Examination:
    torch.manual_seed(0)
    return diagnose(build(), image_size=32, checks=["gradient"])  # type: ignore[operator]


@pytest.mark.parametrize("name", SICK)
def test_each_sick_model_is_found(name: str) -> None:
    found = by_the_check_concerned(SICK[name])
    assert [(each.id, each.severity) for each in found.findings] == [(FOUND[SICK[name].mode], "warning")]
    assert found.healthy


def test_the_share_of_dead_units_is_exact() -> None:
    (found,) = by_the_check_concerned(SICK["mostly-dead"]).findings
    assert list(found.evidence["dead_share"].values()) == [0.75] * 3
    (found,) = by_the_check_concerned(SICK["biased-relu"]).findings
    assert set(found.evidence["dead_share"].values()) == {1.0}


@pytest.mark.parametrize("block", [Block, blocks.PostNorm, blocks.Scaled, blocks.ResPostNorm, blocks.ReZero])
def test_deep_sound_models_are_left_alone(block: type[nn.Module]) -> None:
    found = examined(partial(Host, block, depth=6))
    assert not found.findings
    assert found.checks_run == ("gradient",)


def test_a_head_from_zero_is_looked_at_after_some_steps() -> None:
    found = examined(partial(ZeroHead, depth=3))
    assert not found.findings
    assert found.checks_run == ("gradient",)


class Alike(Block):
    """A ReLU behind tokens that are all the same: half of its units rest by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.ReLU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x.mean(1, keepdim=True) + 1e-6 * x))


def test_chance_kills_no_units() -> None:
    assert not examined(partial(Host, Alike, depth=3)).findings


def test_depth_is_told_from_names() -> None:
    eye = torch.eye(4)
    found = depth_of({f"blocks.{i}.{part}.weight": eye * 2.0**i for i in range(4) for part in ("fc1", "fc2")})
    assert found is not None
    assert (found.layers, found.ratio) == (4, 1 / 8)
    assert depth_of({"blocks.0.fc.weight": eye, "blocks.1.fc.weight": eye}) is None
    stem = {f"stem.{i}.weight": torch.eye(2) * 100.0**i for i in range(3)}
    assert depth_of({**stem, "head.weight": torch.ones(40, 40)}) is None, "a stem is no stack of blocks"


def test_a_frozen_backbone_is_told_as_that() -> None:
    torch.manual_seed(0)
    model = Host(depth=3)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    found = diagnose(model, image_size=32, checks=["gradient", "parameters"])
    (skip,) = found.skipped
    assert "the blocks are frozen" in skip.why.en
    (note,) = found.findings
    assert (note.id, note.severity) == ("frozen-as-drawn", "note")
    assert "100" not in note.summary.en.split("%")[0]


def test_where_no_gradient_comes_to_the_blocks_nothing_is_said_of_their_shapes() -> None:
    torch.manual_seed(0)
    model = Host(depth=3)
    for block in model.blocks:
        for layer in (block.attn.out, block.mlp[3]):  # type: ignore[union-attr, index]
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.cls_token)
    nn.init.zeros_(model.pos_embed)
    found = diagnose(model, image_size=32, checks=["gradient", "parameters"])
    assert ["exactly zero" in skip.why.en for skip in found.skipped] == [True]
    (blocked,) = [each for each in found.findings if each.id == "blocked-by-zeros"]
    assert "in all" not in blocked.summary.en
