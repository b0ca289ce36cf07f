"""One block that is unlike its twins, parts without a gradient, blocks that are left out: named as the cause, and honest look-alikes let alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import sick_unlike_blocks as unlike
import sick_without_gradient as without
import torch
from examined_sick import by_the_check_concerned
from healthy_hosts import DIM, Block, Host
from sick_case import Case
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding

SICK: dict[str, Case] = {case.name: case for case in (*unlike.CASES, *without.CASES)}


def examined(build: Any, *checks: str) -> Examination:
    torch.manual_seed(0)
    return diagnose(build(), image_size=32, checks=checks)


def ids(found: Examination) -> list[tuple[str, str]]:
    return [(each.severity, each.id) for each in found.findings]


def first(name: str) -> Finding:
    found = by_the_check_concerned(SICK[name]).findings[0]
    assert found.summary["ja"] != found.summary["en"]
    return found


@pytest.mark.parametrize(
    ("name", "fault", "named"),
    [
        ("lone-mlp-skip", "skip-missing", "blocks.2"),
        ("lone-first-mlp", "skip-missing", "mhas.0"),
        ("lone-last-mlp", "skip-missing", "mhas.2"),
        ("lone-attention-skip", "skip-missing", "blocks.1"),
        ("lone-attention-in-lists", "skip-missing", "mhas.1"),
        ("lone-normed-stream", "skip-behind-the-norm", "blocks.1.n1"),
        ("lone-normed-mlp", "skip-behind-the-norm", "blocks.2.n2"),
        ("one-attention-uncalled", "module-never-called", "blocks.1.attn"),
        ("one-mlp-uncalled", "module-never-called", "blocks.0.mlp"),
        ("past-the-blocks", "module-never-called", "blocks"),
        ("torchs-encoder-uncalled", "module-never-called", "encoder"),
        ("return-in-the-loop", "module-never-called", "blocks.1, blocks.2"),
        ("attention-forgotten", "block-result-unused", "blocks.0.attn"),
        ("scores-through-floats", "cut-from-the-graph", "cls"),
        ("detached-attention", "zero-gradient", "67 % of the numbers in layers.0.attend.qkv.weight"),
        ("keys-for-values", "zero-gradient", "33 % of the numbers in layers.0.attend.w"),
        ("frozen-layers", "frozen-as-drawn", "86.1 %"),
    ],
)
def test_it_is_named(name: str, fault: str, named: str) -> None:
    found = first(name)
    assert (found.id, found.severity) == (fault, SICK[name].severity)
    assert named in found.summary["en"]


@pytest.mark.parametrize("name", ["past-the-blocks", "mlp-twice-everywhere", "attention-forgotten"])
def test_that_no_attention_runs_explains_the_blindness(name: str) -> None:
    found = examined(SICK[name].build, "input-blindness", "residual", "parameters")
    (cause,) = found.causes
    assert (cause.id, cause.severity) == (first(name).id, "error")
    assert "image-never-reaches-the-scores" in {each.id for each in found.under(cause)}


class LastMLPLeftOut(Block):
    """Dense features are read out of the attention of the last block, on purpose."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(self.norm1(x))


class Unlike(Host):
    """One of its blocks is another."""

    def __init__(self, number: int, other: type[nn.Module]) -> None:
        super().__init__(depth=3)
        self.blocks[number] = other()


def test_a_branch_of_the_last_block_may_be_left_out_on_purpose() -> None:
    assert ids(examined(partial(Unlike, 2, LastMLPLeftOut), "residual", "parameters"))[0] == (
        "warning",
        "module-never-called",
    )
    assert ids(examined(partial(Unlike, 1, LastMLPLeftOut), "parameters"))[0] == ("error", "module-never-called")


class Widening(nn.Module):
    """Between two stages, with parts of its own and nothing round them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(DIM), nn.Linear(DIM, 3 * DIM), nn.Linear(3 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(self.norm(x)).relu())


class AttentionOnly(nn.Module):
    """No MLP, and no skip either: it holds less than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(DIM), Block().attn

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(self.norm1(x))


class Stages(Host):
    def prepare(self, dim: int) -> None:
        self.between = Widening()

    def encode(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks[2](self.between(self.blocks[1](self.blocks[0](tokens)))))


class TwoLayersAtTheEnd(Host):
    """The last block has no MLP; a head of two layers follows."""

    def prepare(self, dim: int) -> None:
        self.blocks[-1].mlp = self.blocks[-1].norm2 = nn.Identity()
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 10))


@pytest.mark.parametrize(
    "build", [partial(Stages, depth=3), partial(Unlike, 0, AttentionOnly), partial(TwoLayersAtTheEnd, depth=3)]
)
def test_a_block_of_another_kind_is_let_alone(build: Any) -> None:
    assert ids(examined(build, "residual")) == []


class Switchable(Block):
    """Two MLPs of different widths, of which one block takes the second."""

    def __init__(self, small: bool = False) -> None:
        super().__init__()
        self.small = nn.Sequential(nn.Linear(DIM, 8), nn.GELU(), nn.Linear(8, DIM))
        self.takes_small = small

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + (self.small if self.takes_small else self.mlp)(self.norm2(x))


def test_what_another_part_stands_in_for_was_meant() -> None:
    found = examined(partial(Unlike, 0, partial(Switchable, True)), "parameters")  # type: ignore[arg-type]
    assert not [each for each in found.findings if each.severity == "error"]


class Trained(Host):
    """Frozen, and its norms have moved since they were made."""

    def prepare(self, dim: int) -> None:
        for block in self.blocks:
            for norm in (block.norm1, block.norm2):
                nn.init.uniform_(norm.weight, 0.8, 1.2)
        self.blocks.requires_grad_(False)


def test_a_trained_backbone_may_be_frozen() -> None:
    assert ids(examined(Trained, "parameters")) == []
