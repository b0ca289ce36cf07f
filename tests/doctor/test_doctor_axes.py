"""A softmax along another axis than the keys is told first, by the true name of that axis, whatever sizes are alike; that images meet follows
from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from test_doctor_attention import Attending as Split
from test_doctor_attention import Small, findings, written
from torch import Tensor, nn

import vitscope
from vitscope.doctor.examination import Examination

pytestmark = [
    pytest.mark.e2e,  # whole examinations
    pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning"),
]
Shares = Callable[[Tensor], Tensor]
CHECKS = ["forward", "batch-independence", "input-blindness", "token-mixing", "attention", "residual"]


class Folded(nn.Module):
    """Heads beside the batch in one axis of three."""

    def __init__(self, shares: Shares, dim: int, heads: int) -> None:
        super().__init__()
        self.shares, self.heads = shares, heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three (b h) n d", three=3, h=self.heads)
        shares = self.shares(torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5)
        return self.out(rearrange(torch.bmm(shares, v), "(b h) n d -> b n (h d)", h=self.heads))


class Beside(Split):
    """Four axes: batch, heads, queries, keys."""

    def __init__(self, shares: Shares, dim: int, heads: int) -> None:
        super().__init__(lambda q, k, v: shares(q @ k.mT * q.shape[-1] ** -0.5) @ v, dim, heads)


def by_hand(*axes: int) -> Shares:
    def shares(scores: Tensor) -> Tensor:
        raised = (scores - scores.amax(axes, keepdim=True)).exp()
        return raised / raised.sum(axes, keepdim=True)

    return shares


def examined(kind: type[nn.Module], shares: Shares, heads: int = 3, images: int = 4, side: int = 16) -> Examination:
    torch.manual_seed(0)
    model = Small(written(), 48, heads)
    if side != 16:
        model.place = nn.Parameter(0.02 * torch.randn(1, (side // 4) ** 2, 48))
    model.attns = nn.ModuleList(kind(shares, 48, heads) for _ in range(2))
    return vitscope.diagnose(model, images=torch.randn(images, 3, side, side), checks=CHECKS)


OVER_IMAGES = "over the images of the batch"
TOGETHER = "over the batch and the heads, which are one axis there"
CASES: list[tuple[type[nn.Module], Shares, str]] = [
    (Folded, F.softmax, TOGETHER),
    (Folded, nn.Softmax(dim=0), TOGETHER),
    (Folded, nn.Softmax(dim=1), "over the queries"),
    (Beside, F.softmax, "over the heads"),
    (Beside, nn.Softmax(), "over the heads"),
    (Beside, nn.Softmax(dim=1), "over the heads"),
    (Beside, nn.Softmax(dim=0), OVER_IMAGES),
    (Beside, lambda scores: scores.softmax(-2), "over the queries"),
    (Beside, lambda scores: scores.flatten(2).softmax(-1).view(scores.shape), "over all queries and keys together"),
    (Beside, by_hand(0), OVER_IMAGES),
    (Beside, by_hand(1), "over the heads"),
    (Beside, by_hand(0, 1, 2, 3), "of all images together"),
    (Folded, by_hand(0), TOGETHER),
]


@pytest.mark.parametrize(("kind", "shares", "axis"), CASES)
def test_the_axis_is_named_first_and_truly(kind: type[nn.Module], shares: Shares, axis: str) -> None:
    found = examined(kind, shares)
    first, *rest = found.findings
    assert first.id == "softmax-over-the-wrong-axis"
    assert axis in first.summary.en
    assert all(each.folded_under == first.id for each in rest)
    assert all(skip.check != "attention" for skip in found.skipped)
    images_meet = axis in (OVER_IMAGES, TOGETHER, "of all images together")
    assert images_meet == any(each.check == "batch-independence" for each in rest)
    assert "dim=-1" in first.fault.code


@pytest.mark.parametrize(
    ("heads", "images", "side"),
    [(3, 1, 16), (1, 4, 16), (3, 3, 16), (4, 4, 8), (3, 16, 16)],
    ids=["one image", "one head", "as many images as heads", "as many heads as tokens", "as many images as tokens"],
)
def test_sizes_that_are_alike_change_no_word(heads: int, images: int, side: int) -> None:
    over_heads = "of which there is one" if heads == 1 else "over the heads"
    together = OVER_IMAGES if heads == 1 else TOGETHER
    for kind, shares, axis in ((Beside, nn.Softmax(0), OVER_IMAGES), (Beside, nn.Softmax(1), over_heads)):
        assert axis in examined(kind, shares, heads, images, side).findings[0].summary.en
    assert together in examined(Folded, F.softmax, heads, images, side).findings[0].summary.en


def test_sums_that_are_all_the_same_are_one_number() -> None:
    (found,) = (each for each in examined(Beside, nn.Softmax(0)).findings if each.check == "attention")
    assert "sums to 16 instead of 1" in found.summary.en
    assert "1ではなく16になっています" in found.summary.ja
    assert "バッチの軸" in found.summary.ja


@pytest.mark.parametrize("kind", [Beside, Folded])
@pytest.mark.parametrize("shares", [nn.Softmax(dim=-1), by_hand(-1)], ids=["softmax", "by hand"])
def test_along_the_keys_nothing_is_wrong(kind: type[nn.Module], shares: Shares) -> None:
    assert examined(kind, shares).causes == ()


class Alone(nn.Module):
    """Independent of the others here: one head, tokens first, and a softmax without an axis, which of three takes the first."""

    def __init__(self, axis: int | None, is_first: bool) -> None:
        super().__init__()
        self.axis, self.is_first = axis, is_first
        self.embed, self.place = nn.Linear(64, 40), nn.Parameter(torch.randn(24, 40) * 0.1)
        self.q, self.k, self.v, self.o = (nn.Linear(40, 40) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(40, 80), nn.Linear(80, 40), nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=8, q=8)) + self.place
        y = F.layer_norm(x, (40,))
        q, k, v = self.q(y), self.k(y), self.v(y)
        if self.is_first:
            scores = torch.einsum("bid,bjd->ijb", q, k) / 40**0.5
            y = torch.einsum("ijb,bjd->bid", F.softmax(scores, dim=self.axis), v)
        else:
            y = F.softmax(q @ k.transpose(1, 2) / 40**0.5, dim=self.axis) @ v
        x = x + self.o(y)
        return self.head((x + self.down(F.gelu(self.up(F.layer_norm(x, (40,)))))).mean(1))


@pytest.mark.parametrize(
    ("axis", "is_first", "said"),
    [
        (None, False, OVER_IMAGES),
        (0, False, OVER_IMAGES),
        (1, False, "over the queries"),
        (-1, False, ""),
        (-1, True, OVER_IMAGES),
        (0, True, "over the queries"),
        (1, True, ""),
    ],
)
def test_three_axes_of_one_head(axis: int | None, is_first: bool, said: str) -> None:
    torch.manual_seed(1)
    found = vitscope.diagnose(Alone(axis, is_first), image_size=(32, 48), channels=1, checks=CHECKS)
    if said:
        assert found.findings[0].id == "softmax-over-the-wrong-axis"
        assert said in found.findings[0].summary.en
    else:
        assert found.healthy
        assert not any(each.check == "attention" for each in found.findings)


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    (found,) = (each for each in findings(written(1.0), 12, 12) if each.id == "heads-too-narrow")
    assert "by one number only" in found.summary.en


class InWindows(Folded):
    """Four windows of four tokens each beside the batch, heads behind it."""

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b (h p w q) d -> (b h w) (p q) d", h=2, p=2, w=2, q=2)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.out((self.shares(q @ k.mT * q.shape[-1] ** -0.5) @ v).transpose(1, 2).flatten(2))
        return rearrange(x, "(b h w) (p q) d -> b (h p w q) d", h=2, p=2, w=2, q=2)


def test_windows_beside_the_batch_are_no_heads() -> None:
    (found,) = (each for each in examined(InWindows, nn.Softmax(0)).findings if each.check == "attention")
    assert "over the batch and the windows" in found.summary.en
    assert "ウィンドウ" in found.summary.ja
    (found,) = (each for each in examined(InWindows, nn.Softmax(1)).findings if each.check == "attention")
    assert "over the heads" in found.summary.en


class Pooled(nn.Module):
    """Tokens are read out by scores of a layer, or of learned queries."""

    def __init__(self, queries: int, axis: int) -> None:
        super().__init__()
        self.model, self.queries, self.axis = Small(F.scaled_dot_product_attention), queries, axis
        self.ask = nn.Linear(48, 1) if queries == 1 else nn.Linear(48, 48)
        self.learned = nn.Parameter(torch.randn(1, queries, 48))
        self.model.head, self.head = nn.Identity(), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        model = self.model
        x = model.patch(x).flatten(2).mT + model.place
        for number, (attn, mlp) in enumerate(zip(model.attns, model.mlps, strict=True)):
            x = x + attn(model.norms[2 * number](x))
            x = x + mlp(model.norms[2 * number + 1](x))
        x = model.norms[4](x)
        scores = self.ask(x).mT if self.queries == 1 else self.learned.expand(len(x), -1, -1) @ self.ask(x).mT / 48**0.5
        return self.head((scores.softmax(self.axis) @ x).mean(1))


@pytest.mark.parametrize(
    ("queries", "axis", "said"),
    [(1, 0, OVER_IMAGES), (3, 0, OVER_IMAGES), (1, 1, "the queries, of which there is one"), (1, 2, ""), (3, 2, "")],
)
def test_the_axis_of_a_read_out(queries: int, axis: int, said: str) -> None:
    torch.manual_seed(0)
    found = vitscope.diagnose(Pooled(queries, axis), image_size=16, checks=CHECKS)
    assert [each.id for each in found.causes] == (["softmax-over-the-wrong-axis"] if said else [])
    assert not said or said in found.causes[0].summary.en
