"""Deep post-norm whose skips are scaled up is made to start stably, and is not accused; without the scale it is."""

from __future__ import annotations

import pytest
import torch
from healthy_hosts import DIM, Block, Host
from torch import Tensor

from vitscope.doctor.examine import diagnose

DEPTH = 8


class DeepNorm(Block):
    alpha = (2 * DEPTH) ** 0.25

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x * self.alpha + self.attn(x))
        return self.norm2(x * self.alpha + self.mlp(x))


class AddedScaled(Block):
    """The scale is `torch.add`'s."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(torch.add(self.attn(x), x, alpha=2.0))
        return self.norm2(torch.add(self.mlp(x), x, alpha=2.0))


class PostNorm(DeepNorm):
    alpha = 1.0


class BranchDivided(DeepNorm):
    """Under the norm the same as the skip times alpha."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x) / self.alpha)
        return self.norm2(x + self.mlp(x) / self.alpha)


class BranchAddedScaled(DeepNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(torch.add(x, self.attn(x), alpha=1 / self.alpha))
        return self.norm2(torch.add(x, self.mlp(x), alpha=1 / self.alpha))


class PerChannel(Block):
    """The scale is a buffer of equal numbers."""

    scale = (2 * DEPTH) ** 0.25

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.full((DIM,), self.scale))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.alpha * x + self.attn(x))
        return self.norm2(self.alpha * x + self.mlp(x))


class PerChannelOnes(PerChannel):
    scale = 1.0


class BothScaled(DeepNorm):
    """Skip and branch alike: no more than post-norm."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.alpha * x + self.attn(x) * self.alpha)
        return self.norm2(self.alpha * x + self.mlp(x) * self.alpha)


@pytest.mark.parametrize(
    ("block", "ids"),
    [
        (DeepNorm, []),
        (AddedScaled, []),
        (BranchDivided, []),
        (BranchAddedScaled, []),
        (PerChannel, []),
        (PostNorm, ["post-norm"]),
        (PerChannelOnes, ["post-norm"]),
        (BothScaled, ["post-norm"]),
    ],
)
def test_post_norm_with_scaled_skips_needs_no_warm_up(block: type[Block], ids: list[str]) -> None:
    torch.manual_seed(0)
    found = diagnose(Host(block, depth=DEPTH), image_size=32, checks=["residual"]).findings
    assert [each.id for each in found] == ids
