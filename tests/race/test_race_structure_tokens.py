"""Tokens that are no patch beside smaller patches: what a difference in the number of tokens is said to mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitscope.race.comparing import Entrant, compare


class ViT(nn.Module):
    """One block on patches, with a class token and registers or without."""

    def __init__(self, *, extra: int, patch: int = 2) -> None:
        super().__init__()
        self.extra, self.patches = extra, nn.Conv2d(1, 32, patch, patch)
        self.more = nn.Parameter(torch.randn(1, max(extra, 1), 32) * 0.02)
        self.place = nn.Parameter(torch.randn(1, (8 // patch) ** 2 + extra, 32) * 0.02)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.extra:
            x = torch.cat([self.more.expand(len(x), -1, -1), x], 1)
        x = self.norm(self.block(x + self.place))
        return self.head(x[:, 0] if self.extra else x.mean(1))


def tokens(one: Callable[[], nn.Module], other: Callable[[], nn.Module]) -> tuple[str, str, str, str]:
    found = compare(Entrant("one", one), Entrant("other", other), image_size=8, channels=1, checks=["output"])
    (row,) = [row for row in found.rows if row.role.en == "tokens"]
    return row.one.en, row.other.en, row.matters.en, row.matters.ja


def test_a_class_token_is_no_smaller_patch() -> None:
    one, other, en, ja = tokens(lambda: ViT(extra=1), lambda: ViT(extra=0))
    assert (one, other) == ("17 (patches in 4 rows of 4, 1 more)", "16 (patches in 4 rows of 4, 0 more)")
    assert "smaller" not in en
    assert "細部" not in ja
    assert "no patch" in en
    assert "by 1." in en


def test_registers_are_counted() -> None:
    _, _, en, ja = tokens(lambda: ViT(extra=1), lambda: ViT(extra=5))
    assert "by 4." in en
    assert "4個" in ja


def test_smaller_patches_are_said_so_still() -> None:
    assert "smaller patches" in tokens(lambda: ViT(extra=1, patch=2), lambda: ViT(extra=1, patch=4))[2]
    assert "smaller patches" in tokens(lambda: ViT(extra=1, patch=2), lambda: ViT(extra=0, patch=4))[2]


def test_the_same_tokens_are_no_difference() -> None:
    assert tokens(lambda: ViT(extra=1), lambda: ViT(extra=1))[2:] == ("", "")
