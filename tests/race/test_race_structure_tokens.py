"""Tokens that are no patch, smaller patches, patches cut wrong: what a difference of tokens and patch embeddings is said to mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from vitscope.race.comparing import compare
from vitscope.race.entrants import Entrant


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


Embed = Callable[[nn.Module, Tensor], Tensor]


class Cut(nn.Module):
    """One block on what an embedding of 4 numbers of the image makes."""

    def __init__(self, embedding: nn.Module, embed: Embed) -> None:
        super().__init__()
        self.embedding, self.embed = embedding, embed
        self.place = nn.Parameter(torch.randn(1, 16, 32) * 0.02)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.block(self.embed(self.embedding, x) + self.place)).mean(1))


def conv(embed: Embed = lambda conv, x: conv(x).flatten(2).transpose(1, 2)) -> Callable[[], nn.Module]:
    return lambda: Cut(nn.Conv2d(1, 32, 2, 2), embed)


def linear(how: str, by: float = 1.0) -> Callable[[], nn.Module]:
    return lambda: Cut(nn.Linear(4, 32), lambda linear, x: linear(rearrange(x * by, f"b c {how} (c p q)", p=2, q=2)))


def strips() -> nn.Module:
    """A reshape without a permutation: each token is a piece of one row of pixels."""
    return Cut(nn.Linear(4, 32), lambda linear, x: linear(x.reshape(len(x), 16, 4)))


RIGHT, WRONG = "(h p) (w q) -> b (h w)", "(p h) (q w) -> b (h w)"
reshaped = conv(lambda conv, x: conv(x).reshape(len(x), 16, 32))


def parts(one: Callable[[], nn.Module], other: Callable[[], nn.Module]) -> dict[str, tuple[str, str, str]]:
    """Of the parts that differ, what each has and what the difference means, in English; Japanese says it too."""
    found = compare(Entrant("one", one), Entrant("other", other), image_size=8, channels=1, checks=["output"])
    assert all(row.matters.ja for row in found.rows if row.differs)
    return {row.role.en: (row.one.en, row.other.en, row.matters.en) for row in found.rows if row.differs}


def test_a_convolution_and_a_cut_are_one_function_where_the_weights_carried_say_so() -> None:
    said = parts(conv(), linear(RIGHT))
    assert said.keys() == {"patch embedding"}
    assert said["patch embedding"][2].startswith("No: both are one linear map of a patch's 4 numbers to 32.")


@pytest.mark.parametrize("is_first", [False, True])
def test_patches_that_are_no_squares_are_told_and_not_belittled(is_first: bool) -> None:
    said = parts(*((linear(WRONG), conv()) if is_first else (conv(), linear(WRONG))))
    assert said["patch embedding"][2].startswith("It can: both map 4 numbers of the image to a token, but not the same")
    tokens = said["tokens"]
    assert tokens[0 if is_first else 1] == "16 (pixels of no square in each, 0 more)"
    assert tokens[1 if is_first else 0] == "16 (patches in 4 rows of 4, 0 more)"
    assert tokens[2].startswith(f"It can, and much: in the {'first' if is_first else 'second'} the pixels of a token")


def test_a_reshape_where_a_transpose_belongs_is_a_difference_though_the_convolutions_are_alike() -> None:
    said = parts(conv(), reshaped)
    assert said.keys() == {"tokens"}
    assert said["tokens"][1] == "16 (pieces of several patches in each, 0 more)"
    assert said["tokens"][2].startswith("It can, and much: in the second")
    beside = parts(linear(RIGHT), reshaped)["patch embedding"][2]
    assert beside.startswith("It can, and much:")
    assert beside.endswith("The two are not the same function.")


def test_two_that_are_cut_wrong_alike_do_not_differ() -> None:
    assert parts(reshaped, reshaped) == {}
    assert parts(linear(WRONG), linear(WRONG)) == {}
    assert "in both" in parts(linear(WRONG), reshaped)["tokens"][2]


def test_strips_cut_by_the_same_words_are_another_embedding_and_no_smaller_patches() -> None:
    said = parts(linear(RIGHT), strips)
    assert said.keys() == {"patch embedding", "tokens"}
    cut, into_strips, matters = said["patch embedding"]
    assert (cut, into_strips) == ("cut, then linear 4 to 32", "cut into 1×4, then linear 4 to 32")
    assert matters.startswith("It can: both map 4 numbers of the image to a token, but not the same ones")
    assert said["tokens"][1] == "16 (patches in 8 rows of 2, 0 more)"
    assert said["tokens"][2].startswith("It can: as many patches and numbers in each, at the same cost")
    assert parts(strips, strips) == {}


def test_the_same_words_do_not_hide_another_function() -> None:
    """Both are 'cut, then linear 4 to 32'."""
    assert "in another order" in parts(linear(RIGHT), linear("(h p) (w q) -> b (w h)"))["patch embedding"][2]
    assert "give other tokens" in parts(linear(RIGHT), linear(RIGHT, by=2.0))["patch embedding"][2]
    assert parts(linear(RIGHT), linear(RIGHT)) == {}


def test_what_the_carried_weights_do_not_give_is_said() -> None:
    assert "in another order" in parts(conv(), linear("(h p) (w q) -> b (w h)"))["patch embedding"][2]
    doubled = parts(conv(), linear(RIGHT, by=2.0))["patch embedding"][2]
    assert doubled == (
        "It can: the weights of one, carried into the other pixel by pixel, give other tokens (largest relative difference 1)."
    )
