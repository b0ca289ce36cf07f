"""`residual` finds MLPs without an activation, and leaves alone what bends elsewhere, or only far from zero, or is one factored matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import sick_affine
import torch
import torch.nn.functional as F
from examined_sick import by_the_check_concerned
from healthy_blocks import ConvMLP, Experts, SwiGLU, with_mlp
from healthy_hosts import DIM, Host, mlp
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def found(build: object) -> list[Finding]:
    torch.manual_seed(0)
    examined = diagnose(build(), image_size=32, checks=["residual"])  # type: ignore[operator]
    return [finding for finding in examined.findings if finding.id == "mlp-without-activation"]


@pytest.mark.parametrize("case", sick_affine.CASES, ids=lambda case: case.name)
def test_each_sick_model_is_found_in_all_its_blocks(case: sick_affine.Case) -> None:
    (finding,) = (f for f in by_the_check_concerned(case).findings if f.id == "mlp-without-activation")
    blocks = finding.evidence["blocks"]
    assert finding.severity == "warning"
    assert finding.evidence["blocks_with_affine_mlp"] == list(range(blocks))
    assert f"{blocks} of {blocks} blocks is one linear map" in finding.summary["en"]
    assert f"{blocks}ブロック中{blocks}ブロックのMLP" in finding.summary["ja"]


def two_layers(hidden: int, between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(DIM, hidden), between, nn.Linear(hidden, DIM))


class OneOfThree(Host):
    """One block has lost its activation."""

    def prepare(self, dim: int) -> None:
        self.blocks[1].mlp = two_layers(2 * DIM, nn.Dropout(0.1))


def test_one_block_of_several_is_named() -> None:
    (finding,) = found(partial(OneOfThree, depth=3))
    assert finding.evidence["blocks_with_affine_mlp"] == [1]
    assert "1 of 3 blocks (blocks.1)" in finding.summary["en"]
    assert "（blocks.1）" in finding.summary["ja"]


class Three(nn.Module):
    """Three layers, of which only the first two have anything between them."""

    def __init__(self, between: bool) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(DIM, 96), nn.Linear(96, 96), nn.Linear(96, DIM)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.three(self.two(F.gelu(x) if self.between else x))


class Bilinear(nn.Module):
    """A gated unit without a sigmoid (Shazeer 2020): the product of two linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v, self.out = nn.Linear(DIM, 96), nn.Linear(DIM, 96), nn.Linear(96, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.w(x) * self.v(x))


class GatedByItself(nn.Module):
    """What is given weighs the hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.w(x) * x)


class FromZero(nn.Module):
    """The first layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp()
        nn.init.zeros_(self.layers[0].weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ChannelMix(nn.Module):
    """RWKV (Peng et al. 2023): the gate is a product that comes last, and has nothing in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v, self.r = nn.Linear(DIM, 96), nn.Linear(96, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        y = self.v(F.relu(self.k(x)) ** 2)
        return y * torch.sigmoid(self.r(x))


class Highway(ChannelMix):
    """Two layers without an activation, and a gate that bends."""

    def forward(self, x: Tensor) -> Tensor:
        return self.v(self.k(x)) * torch.sigmoid(self.r(x))


class WithShortcut(nn.Module):
    """A linear way beside the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.skip = mlp(), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.skip(x)


class ActivationAtTheEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, 96), nn.Linear(96, DIM), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class StraightShortcut(nn.Module):
    """Two layers without an activation beside a third: still one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.skip = nn.Linear(DIM, 96), nn.Linear(96, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)) + self.skip(x)


BENDS = [nn.GELU(), nn.ReLU(), nn.Hardtanh(), nn.Hardswish(), nn.PReLU(), nn.Softsign(), nn.LayerNorm(2 * DIM)]
SOUND = {
    **{type(bend).__name__: partial(two_layers, 2 * DIM, bend) for bend in BENDS},
    "factored": partial(two_layers, 8, nn.Identity()),
    "bends once in three": partial(Three, True),
    **{kind.__name__: kind for kind in (Bilinear, GatedByItself, FromZero, SwiGLU, ConvMLP, Experts)},
    **{kind.__name__: kind for kind in (ChannelMix, Highway, WithShortcut, ActivationAtTheEnd)},
}


@pytest.mark.parametrize("name", SOUND)
def test_what_bends_or_is_narrow_is_left_alone(name: str) -> None:
    assert not found(partial(Host, with_mlp(SOUND[name])))  # type: ignore[arg-type]


def test_three_layers_without_an_activation_are_found() -> None:
    (finding,) = found(partial(Host, with_mlp(partial(Three, False))))
    assert finding.evidence["hidden_width"] == [96]


def test_a_linear_way_beside_them_changes_nothing() -> None:
    (finding,) = found(partial(Host, with_mlp(StraightShortcut)))
    assert finding.evidence["hidden_width"] == [96]


class Routed(nn.Module):
    """Two experts a token, whose results are added at the rows that chose them."""

    def __init__(self, expert: Callable[[], nn.Module] = mlp) -> None:
        super().__init__()
        self.route, self.experts = nn.Linear(DIM, 4), nn.ModuleList(expert() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        shares, chosen = self.route(tokens).softmax(-1).topk(2, dim=-1)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, places = (chosen == number).nonzero(as_tuple=True)
            if len(rows):
                out.index_add_(0, rows, shares[rows, places, None] * expert(tokens[rows]))
        return out.view_as(x)


class Masked(Routed):
    """One expert a token, picked and put back by a mask."""

    def forward(self, x: Tensor) -> Tensor:
        shares, chosen = self.route(x).softmax(-1).max(dim=-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = chosen == number
            out[mine] = expert(x[mine]) * shares[mine][:, None]
        return out


@pytest.mark.parametrize("kind", [Routed, Masked])
def test_routed_experts_are_examined(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    examined = diagnose(Host(with_mlp(kind), depth=3), image_size=32, checks=["residual"])
    assert (examined.findings, examined.skipped) == ((), ())
