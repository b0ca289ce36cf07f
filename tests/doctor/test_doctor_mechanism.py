"""A model whose scores do not depend on the picture: what keeps the picture out of them is named first, that they do not is folded beneath it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from healthy_hosts import DIM, Block, Host, Split
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations

BLIND = "image-never-reaches-the-scores"
CHECKS = ("input-blindness", "token-mixing", "attention", "residual", "parameters")


def examined(build: Callable[[], nn.Module], *checks: str) -> Examination:
    torch.manual_seed(0)
    return diagnose(build(), image_size=32, num_classes=10, checks=checks or CHECKS)


class PaddedAway(nn.Module):
    """True says 'leave out' in this one's masks, and is given for every patch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        mask[:, 1:] = True
        return self.attn(x, x, x, key_padding_mask=mask, need_weights=False)[0]


class OverHeads(Split):
    """The transpose that brings the heads in front of the tokens is forgotten."""

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.q, self.k, self.v))
        return q, k, v

    def merge(self, y: Tensor) -> Tensor:
        return self.out(y.flatten(2))


class Unmixed(Split):
    """The weights are computed, and the values returned without them."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        self.weights(self.scores(q, k))
        return self.merge(v)


class Asleep(Block):
    """LayerScale and the last matrix of each branch start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma1, self.gamma2 = (nn.Parameter(torch.zeros(DIM)) for _ in range(2))
        for last in (self.attn.out, self.mlp[3]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma1 * self.attn(self.norm1(x))
        return x + self.gamma2 * self.mlp(self.norm2(x))


class Silenced(Block):
    """A factor of zero that nothing learns."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0 * self.attn(self.norm1(x))
        return x + 0 * self.mlp(self.norm2(x))


@pytest.mark.parametrize(
    ("build", "cause", "said"),
    [
        (lambda: Host(lambda: Block(PaddedAway)), "patches-never-meet", "A mask forbids 98.5 % of the pairs"),
        (lambda: Host(lambda: Block(OverHeads)), "attention-between-heads", "4 × 4 for each token, not 65 × 65"),
        (lambda: Host(lambda: Block(Unmixed)), "patches-never-meet", "The shares are not multiplied"),
        (lambda: Host(Asleep), "blocked-by-zeros", "several zeros stand in one product"),
        (lambda: Host(Silenced), "block-does-nothing", "2 of 2 blocks do nothing"),
    ],
    ids=["padding mask", "over heads", "unmixed", "two zeros", "factor of zero"],
)
def test_what_keeps_the_picture_out_is_named_first(build: Callable[[], nn.Module], cause: str, said: str) -> None:
    found = examined(build)
    first = found.findings[0]
    assert [each.id for each in found.causes if each.severity == "error"] == [cause]
    assert (first.id, first.severity) == (cause, "error")
    assert said in first.summary.en
    assert BLIND in {each.id for each in found.under(first)}


class OverHeadsAndNothing(Host):
    """Two faults: attention over heads, which a mean over the tokens does not mind, and scores that are multiplied by zero."""

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1)) * 0


def test_where_the_picture_is_lost_elsewhere_both_are_causes() -> None:
    found = examined(lambda: OverHeadsAndNothing(lambda: Block(OverHeads)), "input-blindness", "token-mixing")
    assert [each.id for each in found.causes] == [BLIND, "attention-between-heads"]


def test_by_itself_the_finding_says_what_is_taken() -> None:
    (alone,) = examined(lambda: Host(lambda: Block(OverHeads)), "input-blindness").findings
    assert (alone.id, alone.folded_under) == (BLIND, None)
    assert "(select), where a part of the tokens is taken" in alone.summary.en
    assert "取り出" in alone.summary.ja


class Logarithm(Host):
    """Half of the scores are no numbers."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).log()


def test_scores_that_are_no_numbers_are_compared_with_nothing() -> None:
    found = examined(Logarithm, "forward", "input-blindness", "pixel-coverage")
    assert [each.id for each in found.findings] == ["non-finite-scores"]
    assert {skip.check for skip in found.skipped} == {"input-blindness", "pixel-coverage"}
    assert all("NaN or infinite" in skip.why.en for skip in found.skipped)


class Together(Host):
    """Scores of a batch are compared with one another, and the last columns of pixels are cut off."""

    def __init__(self, among: Callable[[Tensor], Tensor], *, width: int = 32) -> None:
        super().__init__()
        self.among, self.width = among, width

    def forward(self, x: Tensor) -> Any:
        x = torch.cat([x[..., : self.width], torch.zeros_like(x[..., self.width :])], dim=-1)
        return self.among(super().forward(x))


AMONG: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(dim=0),
    "standardised": lambda z: (z - z.mean(dim=0)) / (z.std(dim=0, unbiased=False) + 1e-3),
    "standardised by one": lambda z: (z - z.mean(dim=0)) / z.std(dim=0),
}


@pytest.mark.parametrize("name", list(AMONG))
def test_pixels_are_looked_at_where_one_image_alone_has_no_gradient(name: str) -> None:
    sound = examined(lambda: Together(AMONG[name]), "pixel-coverage")
    assert (sound.findings, sound.skipped) == ((), ())
    (found,) = examined(lambda: Together(AMONG[name], width=28), "pixel-coverage").findings
    assert found.id == "part-of-the-image-never-read"
    assert found.evidence["whole_columns"] == 4


class Rounded(Host):
    """The picture is read in 256 steps, through which no gradient comes."""

    def embed(self, x: Tensor) -> Tensor:
        return super().embed((x * 255).round() / 255)


def test_a_missing_gradient_is_not_blamed_on_blindness() -> None:
    found = examined(Rounded, "input-blindness", "pixel-coverage")
    assert found.findings == ()
    (skip,) = found.skipped
    assert "the scores follow the picture" in skip.why.en
    assert "input-blindness" not in skip.why.en
