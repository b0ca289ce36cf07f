"""Pixels and channels that are never read: the sentence says which, and the fix is one for them (M24)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import Host
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def only(build: Callable[[], nn.Module]) -> Finding:
    torch.manual_seed(0)
    (finding,) = diagnose(build(), image_size=32, checks=["pixel-coverage"]).findings
    return finding


class Cut(Host):
    """A slice of the tokens where there is no class token."""

    def __init__(self, cut: slice) -> None:
        super().__init__()
        self.cut = cut

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x)[:, 1:][:, self.cut]

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class CutByUnfold(Cut):
    """The class token stands last."""

    def prepare(self, dim: int) -> None:
        self.flat = nn.Linear(48, dim)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.flat(F.unfold(x, 4, stride=4).mT)
        return (torch.cat([tokens, self.cls_token.expand(len(x), -1, -1)], dim=1) + self.pos_embed)[:, self.cut]


@pytest.mark.parametrize(
    ("build", "where", "ja", "cut"),
    [
        (partial(Cut, slice(1, None)), "rows 0–3, columns 0–3", "行0–3、列0–3", "x[:, 1:]"),
        (partial(CutByUnfold, slice(1, None)), "rows 0–3, columns 0–3", "行0–3、列0–3", "x[:, 1:]"),
        (partial(Cut, slice(3, None)), "rows 0–3, columns 0–11", "行0–3、列0–11", "x[:, 3:]"),
        (partial(Cut, slice(0, -2)), "rows 28–31, columns 24–31", "行28–31、列24–31", "x[:, :-2]"),
    ],
)
def test_whole_patches_at_an_end_are_a_slice_of_the_tokens(
    build: Callable[[], nn.Module], where: str, ja: str, cut: str
) -> None:
    finding = only(build)
    assert finding.id == "part-of-the-image-never-read"
    assert f"({where}, counted from 0)" in finding.summary.en
    assert ja in finding.summary.ja
    assert cut in finding.fault.advice.en
    assert cut in finding.fault.advice.ja
    assert cut in finding.fault.code


class Masked(Host):
    def embed(self, x: Tensor) -> Tensor:
        mask = torch.ones_like(x)
        mask[:, :, 8:12, 16:24] = 0
        return super().embed(x * mask)


class Gaps(Host):
    """A kernel of 3 with a stride of 4."""

    def prepare(self, dim: int) -> None:
        self.patch = nn.Conv2d(3, dim, 3, 4)


class LeftOver(Cut):
    """Patches of 5 pixels leave two rows and columns of 32."""

    def prepare(self, dim: int) -> None:
        self.patch = nn.Conv2d(3, dim, 5, 5)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 37, dim))


@pytest.mark.parametrize(
    ("build", "said"), [(Masked, "(rows 8–11, columns 16–23,"), (Gaps, "of the image never reaches")]
)
def test_what_no_patch_size_leaves_over_has_another_fix(build: Callable[[], nn.Module], said: str) -> None:
    finding = only(build)
    assert said in finding.summary.en
    assert "a slice, a crop, a mask, a stride" in finding.fault.advice.en
    assert not finding.fault.code


def test_rows_and_columns_at_the_end_are_left_over_by_the_patches() -> None:
    finding = only(partial(LeftOver, slice(0, None)))
    assert "(the last 2 of 32 rows among it)" in finding.summary.en
    assert "% patch_size == 0" in finding.fault.code


class Channels(Host):
    """Some channels alone, in the place of all."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.channels = channels

    def embed(self, x: Tensor) -> Tensor:
        kept = torch.zeros_like(x)
        kept[:, self.channels] = x[:, self.channels]
        return super().embed(kept)


class OneChannel(Host):
    def prepare(self, dim: int) -> None:
        self.patch = nn.Conv2d(1, dim, 4, 4)

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x[:, :1])


@pytest.mark.parametrize(
    ("kept", "en", "ja"),
    [
        ([0], "Of 3 channels, numbers 1 and 2 (counted from 0) never reach the scores.", "0から数えて1、2番"),
        ([0, 1], "Of 3 channels, number 2 (counted from 0) never reaches the scores.", "0から数えて2番"),
    ],
)
def test_channels_are_named_and_the_slice_is_looked_for(kept: list[int], en: str, ja: str) -> None:
    finding = only(partial(Channels, kept))
    assert finding.summary.en == en
    assert ja in finding.summary.ja
    assert "x[:, :1]" in finding.fault.advice.en


def test_a_patch_embedding_of_fewer_channels_is_to_take_them_all() -> None:
    finding = only(OneChannel)
    assert "numbers 1 and 2" in finding.summary.en
    assert "nn.Conv2d(channels" in finding.fault.code
