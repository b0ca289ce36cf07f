"""Mends of blocks: skips, norms, activations and parts that the forward forgot; each gives the healthy twin's scores and gradients."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from mending_case import IMAGES, is_the_twin, mended_copy
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec
from vitscope.race.repair import mended

pytestmark = pytest.mark.e2e  # whole examinations


class Attention(nn.Module):
    """torch's own, of one argument."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(32, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x, x, x, need_weights=False)[0]
        return found


class Scale(nn.Module):
    """LayerScale."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.full((32,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


class MLP(nn.Module):
    """Two layers; the activation is held, and called or not."""

    def __init__(self, *, bends: bool = True) -> None:
        super().__init__()
        self.one, self.two, self.act, self.bends = nn.Linear(32, 64), nn.Linear(64, 32), nn.SiLU(), bends

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.two(self.act(x) if self.bends else x)


class PreNorm(nn.Module):
    """A block with LayerScale behind each branch; `lacks` says what its forward forgets."""

    def __init__(self, *, lacks: Sequence[str] = ()) -> None:
        super().__init__()
        self.norm1, self.norm2, self.scale1, self.scale2 = nn.LayerNorm(32), nn.LayerNorm(32), Scale(), Scale()
        self.attention, self.mlp, self.lacks = Attention(), MLP(bends="activation" not in lacks), lacks

    def forward(self, x: Tensor) -> Tensor:
        if "attention" not in self.lacks:
            y = self.scale1(self.attention(self.norm1(x)))
            x = y if "skip1" in self.lacks else x + y
        if "mlp" not in self.lacks:
            y = self.scale2(self.mlp(self.norm2(x)))
            x = y if "skip2" in self.lacks else x + y
        return x


class Plain(PreNorm):
    """The same without the scales, and with the MLP's layers in the block itself."""

    def __init__(self, *, lacks: Sequence[str] = ()) -> None:
        super().__init__(lacks=lacks)
        self.scale1, self.scale2 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        del self.mlp
        self.inward, self.outward = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.norm1(x))
        x = y if "skip1" in self.lacks else x + y
        y = self.outward(nn.functional.gelu(self.inward(self.norm2(x))))
        return y if "skip2" in self.lacks else x + y


class PostNorm(PreNorm):
    """Norms behind the sums."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(x)
        x = self.norm1(y if "skip1" in self.lacks else x + y)
        y = self.mlp(x)
        return self.norm2(y if "skip2" in self.lacks else x + y)


class SideBySide(PreNorm):
    """Attention and MLP of the same tokens, in one sum."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = self.attention(y) + self.mlp(y)
        return y if "skip1" in self.lacks else x + y


class Bare(PreNorm):
    """What is called of it is all that there is: no scales."""

    def __init__(self, *, lacks: Sequence[str] = ()) -> None:
        super().__init__(lacks=lacks)
        self.scale1, self.scale2 = nn.Identity(), nn.Identity()  # type: ignore[assignment]


class ViT(nn.Module):
    """Three blocks, a class token, a norm that is called or not."""

    def __init__(self, block: type[PreNorm] = Bare, *, lacks: Sequence[str] = (), is_shared: bool = False) -> None:
        super().__init__()
        self.patches, self.start = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 1, 32) * 0.02)
        self.place, self.lacks = nn.Parameter(torch.randn(1, 17, 32) * 0.02), lacks
        self.blocks = nn.ModuleList([block(lacks=lacks)] * 3 if is_shared else [block(lacks=lacks) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head((x if "norm" in self.lacks else self.norm(x))[:, 0])


@pytest.mark.parametrize(
    ("block", "lacks"),
    [
        (PreNorm, ("skip1", "skip2")),
        (Bare, ("skip1",)),
        (Bare, ("skip2",)),
        (Plain, ("skip1", "skip2")),
        (PostNorm, ("skip1", "skip2")),
        (SideBySide, ("skip1",)),
    ],
)
def test_a_branch_gets_the_skip_that_it_lacks(block: type[PreNorm], lacks: Sequence[str]) -> None:
    """Behind its scale and in front of its norm, wherever these stand."""
    unused = ("scale1", "scale2") if block in (PostNorm, SideBySide) else ()
    unused = (*unused, "norm2") if block is SideBySide else unused

    def make(lacks: Sequence[str] = ()) -> nn.Module:
        model = ViT(block, lacks=lacks)
        for each in model.blocks:
            for name in unused:
                delattr(each, name)
        return model

    is_the_twin(lambda: make(lacks), make, "residual", "skip-missing", tolerance=1e-5)


def test_the_norm_that_is_held_is_called_before_the_head() -> None:
    done = is_the_twin(lambda: ViT(lacks=("norm",)), ViT, "residual", "final-norm-missing")
    assert done.done.en == "norm called behind the last block"


def test_the_activation_that_is_held_is_called() -> None:
    done = is_the_twin(lambda: ViT(lacks=("activation",)), ViT, "residual", "mlp-without-activation")
    assert "nn.SiLU" in done.done.en


@pytest.mark.parametrize("part", ["mlp", "attention"])
def test_a_part_that_is_held_is_called_where_it_belongs(part: str) -> None:
    is_the_twin(lambda: ViT(lacks=(part,)), ViT, "parameters", "module-never-called")


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("no-residual", "skip-missing"),
        ("norm-unused", "final-norm-missing"),
        ("mlp-without-activation", "mlp-without-activation"),
    ],
)
def test_specimens_become_the_specimen_without_a_fault(fault: BadViTFault, finding: str) -> None:
    def make(fault: BadViTFault) -> nn.Module:
        spec = BadViTSpec(fault=fault, dim=32, depth=2, heads=2, mlp_dim=64, image_size=(16, 16), dropout=0.0)
        return build(spec)

    is_the_twin(lambda: make(fault), lambda: make("none"), "residual", finding)


def test_blocks_that_are_one_get_numbers_of_their_own() -> None:
    done = mended_copy(lambda: ViT(is_shared=True), "parameters", "shared-blocks")
    first, second, third = done.model.get_submodule("blocks").children()
    for name, own in first.named_parameters():
        others = second.get_parameter(name), third.get_parameter(name)
        assert all(torch.equal(own.flatten().sort().values, each.flatten().sort().values) for each in others)
        if own.std() > 0:
            assert not torch.equal(own, others[0])
            assert not torch.equal(*others)


def test_frozen_features_learn() -> None:
    def frozen() -> nn.Module:
        model = ViT()
        model.blocks.requires_grad_(False)
        return model

    done = is_the_twin(frozen, ViT, "parameters", "frozen-as-drawn")
    assert all(parameter.requires_grad for parameter in done.model.parameters())


def test_a_norm_is_not_put_anywhere_where_several_are_held() -> None:
    model = ViT(lacks=("norm",))
    model.other = nn.LayerNorm(32)
    found = [f for f in diagnose(model, image_size=16, checks=["residual"]).findings if f.id == "final-norm-missing"]
    assert mended(model, found[0], IMAGES) is None
