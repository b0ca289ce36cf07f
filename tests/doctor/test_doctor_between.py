"""Attention that runs between the heads of each token is told as what it is, in every idiom and at every number of tokens; what only looks like it
is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from test_doctor_mixing import HEADS, Attending, Forward, N, Small, findings, full, named, patient_of, windows
from torch import Tensor, nn

import vitscope
from vitscope.doctor.mixing.tokens import token_mixing

pytestmark = pytest.mark.e2e  # whole examinations


def not_turned(self: Attending, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values as batch, tokens, heads, width of a head."""
    return tuple(t.view(*x.shape[:2], HEADS, -1) for t in self.qkv(x).chunk(3, dim=-1))


def by_view(self: Attending, x: Tensor) -> Tensor:
    q, k, v = not_turned(self, x)
    return self.out(((q @ k.transpose(-2, -1) / 4).softmax(-1) @ v).reshape(x.shape))


def fused(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 1, 3, 4)
    return self.out(F.scaled_dot_product_attention(q, k, v).flatten(2))


def by_einsum(self: Attending, x: Tensor) -> Tensor:
    q, k, v = (rearrange(t, "b n (h d) -> b n h d", h=HEADS) for t in self.qkv(x).chunk(3, dim=-1))
    shares = torch.einsum("b n i d, b n j d -> b n i j", q, k).mul(0.25).softmax(-1)
    return self.out(rearrange(torch.einsum("b n i j, b n j d -> b n i d", shares, v), "b n h d -> b n (h d)"))


def by_hand(self: Attending, x: Tensor) -> Tensor:
    q, k, v = not_turned(self, x)
    raised = (q @ k.mT / 4).exp()
    return self.out((raised / raised.sum(-1, keepdim=True) @ v).flatten(2))


def turned_back(self: Attending, x: Tensor) -> Tensor:
    """Only the transpose in front is forgotten, not the one behind."""
    q, k, v = not_turned(self, x)
    return self.out(((q @ k.mT / 4).softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


IDIOMS = [by_view, fused, by_einsum, by_hand, turned_back]


@pytest.mark.parametrize("has_class", [False, True])
@pytest.mark.parametrize("run", IDIOMS, ids=lambda run: run.__name__)
def test_it_is_one_error_with_its_numbers(run: Forward, has_class: bool) -> None:
    found = findings(run, run, has_class=has_class)
    assert named(found) == [("attention-between-heads", "error")]
    tokens = N + has_class
    assert {"heads": HEADS, "tokens": tokens, "blocks": 2}.items() <= found[0].evidence.items()
    assert f"{HEADS} × {HEADS} for each token, not {tokens} × {tokens}" in found[0].summary.en
    assert f"トークンごとの{HEADS} × {HEADS}" in found[0].summary.ja


def test_what_becomes_of_it_is_said() -> None:
    assert "Patches never meet" in findings(by_view)[0].summary.en
    assert "put back into several others" in findings(turned_back)[0].summary.en
    (found,) = findings(full, by_view)
    assert (found.severity, len(found.evidence["modules"])) == ("warning", 1)


def test_a_branch_that_starts_at_zero_hides_it_as_little() -> None:
    assert named(findings(by_view, by_view, is_trained=False, skip=0.0)) == [("attention-between-heads", "error")]


def beside_neighbours(self: Attending, x: Tensor) -> Tensor:
    """Parts of each token attend to one another, and tokens meet in a mean of all."""
    return by_view(self, x) + self.out(x.mean(dim=1, keepdim=True))


def in_windows_of_one_head(self: Attending, x: Tensor) -> Tensor:
    q, k, v = (rearrange(t, "b (w n) d -> b w n d", w=N // HEADS) for t in self.qkv(x).chunk(3, dim=-1))
    return self.out(F.scaled_dot_product_attention(q, k, v).flatten(1, 2))


def as_many_heads_as_tokens(self: Attending, x: Tensor) -> Tensor:
    q, k, v = (t.unflatten(-1, (N, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
    return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    "runs",
    [
        (beside_neighbours,) * 2,
        (in_windows_of_one_head, full),
        (as_many_heads_as_tokens,) * 2,
        (windows(0), windows(1)),
    ],
    ids=["beside a mean", "small windows", "as many heads as tokens", "shifted windows"],
)
def test_what_looks_like_it_is_healthy(runs: tuple[Forward, ...]) -> None:
    assert findings(*runs) == []


class Encoder(nn.Module):
    """Independent of the other models here: a class token, registers, an odd number of tokens."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], heads: int, registers: int) -> None:
        super().__init__()
        self.attend, self.heads = attend, heads
        self.embed, self.extra = nn.Linear(48, 48), nn.Parameter(torch.randn(1 + registers, 48))
        self.place = nn.Parameter(torch.randn(26 + registers, 48) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(map(nn.Linear, (48, 48, 48, 48, 48, 96), (48, 48, 48, 48, 96, 48))) for _ in range(2)
        )
        self.scores = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
        x = torch.cat([self.extra.expand(len(x), -1, -1), self.embed(patches)], dim=1) + self.place
        for q, k, v, out, up, down in self.layers:  # type: ignore[misc]
            y = F.layer_norm(x, (48,))
            parts = (rearrange(each(y), "b n (h d) -> b n h d", h=self.heads) for each in (q, k, v))
            x = x + out(self.attend(*parts))
            x = x + down(F.gelu(up(F.layer_norm(x, (48,)))))
        return self.scores(F.layer_norm(x, (48,))[:, 0])


def forgotten(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v).flatten(2)


def brought_in_front(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(("heads", "registers"), [(3, 0), (3, 4), (2, 2)], ids=["26", "30", "28"])
def test_all_that_follows_is_folded_beneath_it(heads: int, registers: int) -> None:
    torch.manual_seed(0)
    checks = ["input-blindness", "pixel-coverage", "position", "token-mixing", "attention", "residual", "parameters"]
    sick = vitscope.diagnose(Encoder(forgotten, heads, registers), image_size=20, checks=checks)
    assert [each.id for each in sick.causes] == ["attention-between-heads"]
    assert "image-never-reaches-the-scores" in {each.id for each in sick.findings}
    assert vitscope.diagnose(Encoder(brought_in_front, heads, registers), image_size=20, checks=checks).healthy


class WithoutSkips(Small):
    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT + self.place
        for number, (attn, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            x = mlp(self.norms[2 * number + 1](attn(self.norms[2 * number](x))))
        return self.head(self.norms[-1](x).mean(1))


@pytest.mark.parametrize(("run", "expected"), [(by_view, ["attention-between-heads"]), (full, [])])
def test_blocks_without_skips(run: Forward, expected: list[str]) -> None:
    torch.manual_seed(0)
    found = vitscope.diagnose(WithoutSkips(run, run), image_size=16, checks=["token-mixing"])
    assert [each.id for each in found.findings] == expected
    assert not found.skipped


def test_beside_attention_between_tokens_it_may_be_meant() -> None:
    (found,) = findings(full, by_view)
    assert "Where that is meant" in found.summary.en
    assert "意図" in found.summary.ja


def by_sigmoid(self: Attending, x: Tensor) -> Tensor:
    q, k, v = not_turned(self, x)
    return self.out(((q @ k.mT / 4).sigmoid() @ v).reshape(x.shape))


@pytest.mark.parametrize("side", [16, 32], ids=["17 tokens", "as many tokens as the width"])
def test_weights_that_are_no_softmax_hide_it_as_little(side: int) -> None:
    torch.manual_seed(0)
    model = Small(by_sigmoid, by_sigmoid, has_class=side == 16)
    if side == 32:
        model.patch = nn.Conv2d(3, 32, (8, 4), (8, 4))
        model.place = nn.Parameter(torch.randn(1, 32, 32) * 0.02)
    found = vitscope.diagnose(model, image_size=side, checks=["token-mixing"])
    assert [(each.id, each.severity) for each in found.findings] == [("attention-between-heads", "error")]
    assert not found.skipped


class Beside(Small):
    """In front of each attention something else lets tokens meet, on the stream itself."""

    def __init__(self, run: Forward, mixers: list[nn.Module]) -> None:
        super().__init__(*[run] * len(mixers))
        self.patch, self.place = nn.Conv2d(3, 32, 2, 2), nn.Parameter(torch.randn(1, 64, 32) * 0.02)
        self.mixers = nn.ModuleList(mixers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT + self.place
        for number, (mixer, attn, mlp) in enumerate(zip(self.mixers, self.attns, self.mlps, strict=True)):
            x = x + mixer(x)
            x = x + attn(self.norms[2 * number](x))
            x = x + mlp(self.norms[2 * number + 1](x))
        return self.head(self.norms[-1](x).mean(1))


class Depthwise(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(32, 32, 3, padding=1, groups=32)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(rearrange(x, "b (h w) d -> b d h w", h=8)).flatten(2).mT


class OverTokens(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mT).mT


class Rolled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, 1)


@pytest.mark.parametrize("run", [by_view, by_sigmoid], ids=lambda run: run.__name__)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(
    ("mixer", "en", "ja"),
    [
        (Depthwise, "in a convolution (mixers.0)", "畳み込み、mixers.0"),
        (OverTokens, "in a layer over the tokens (mixers.0.0)", "トークン方向の層、mixers.0.0"),
        (Rolled, "Tokens meet elsewhere. Where", "別の場所で"),
    ],
)
def test_where_tokens_meet_elsewhere_it_may_be_meant(
    run: Forward, depth: int, mixer: type[nn.Module], en: str, ja: str
) -> None:
    torch.manual_seed(0)
    patient = patient_of(Beside(run, [mixer() for _ in range(depth)]))
    patient.is_trained = True
    found = list(token_mixing(patient))
    assert named(found) == [("attention-between-heads", "warning")]
    assert len(found[0].evidence["modules"]) == depth
    assert en in found[0].summary.en
    assert ja in found[0].summary.ja
    assert "never meet" not in found[0].summary.en
    assert "beside attention between the tokens" not in found[0].summary.en
