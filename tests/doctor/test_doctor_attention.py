"""Softmax's axis, scales and widths of heads: what is wrong is found by name, what only looks like it is not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope.doctor.admission import admitted
from vitscope.doctor.attention.check import attention
from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import Patient

DIM, HEADS = 48, 3
E = DIM // HEADS
Inside = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attending(nn.Module):
    def __init__(self, inside: Inside, dim: int, heads: int) -> None:
        super().__init__()
        self.inside, self.heads = inside, heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.learned = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(self.inside(q, k, v).transpose(1, 2).flatten(2))


class Small(nn.Module):
    def __init__(self, inside: Inside, dim: int = DIM, heads: int = HEADS) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, dim, 4, 4), nn.Parameter(0.02 * torch.randn(1, 16, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(5))
        self.attns = nn.ModuleList(Attending(inside, dim, heads) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim)) for _ in range(2))
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT + self.place
        for number, (attn, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            x = x + attn(self.norms[2 * number](x))
            x = x + mlp(self.norms[2 * number + 1](x))
        return self.head(self.norms[4](x).mean(1))


def patient_of(model: nn.Module) -> Patient:
    return admitted(model.eval(), image_size=16, num_classes=10, channels=3, images=None, labels=None, batch_size=None)[
        0
    ]


def findings(inside: Inside, dim: int = DIM, heads: int = HEADS) -> list[Finding]:
    torch.manual_seed(0)
    return list(attention(patient_of(Small(inside, dim, heads))))


def written(before: float = 1.0, behind: float = 1.0, dim: int = -1) -> Inside:
    return lambda q, k, v: (q @ k.mT * before).softmax(dim=dim) * behind @ v


def over_the_batch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * E**-0.5).softmax(dim=0) @ v


def folded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q * E**-0.25 @ (k * E**-0.25).mT).softmax(dim=-1) @ v


def folded_wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q / E**-0.25 @ (k / E**-0.25).mT).softmax(dim=-1) @ v


def by_alpha(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (q, k, v)]
    scores = torch.baddbmm(q.new_zeros(1, 16, 16), flat[0], flat[1].mT, alpha=E**-0.5)
    return (scores.softmax(-1) @ flat[2]).view(q.shape)


def cosine(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * 10).softmax(dim=-1) @ v


def rotary(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    angle = torch.outer(torch.arange(16.0), 0.1 ** torch.arange(E // 2)).to(q)

    def turn(t: Tensor) -> Tensor:
        a, b = t.chunk(2, dim=-1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)

    return F.scaled_dot_product_attention(turn(q), turn(k), v)


def with_output(factor: float) -> Inside:
    return lambda q, k, v: (q @ k.mT).softmax(dim=-1) @ v * factor


WRONG: list[tuple[str, str, Inside]] = [
    ("softmax-over-the-wrong-axis", "error", written(E**-0.5, dim=-2)),
    ("softmax-over-the-wrong-axis", "error", written(E**-0.5, dim=1)),
    ("softmax-over-the-wrong-axis", "error", over_the_batch),
    ("scaled-behind-the-softmax", "error", written(behind=E**-0.5)),
    ("scaled-behind-the-softmax", "error", written(behind=DIM**-0.5)),
    ("scaled-behind-the-softmax", "error", with_output(E**-0.5)),
    ("scaled-behind-the-softmax", "warning", written(E**-0.5, behind=0.77)),
    ("attention-not-scaled", "warning", written()),
    ("attention-not-scaled", "warning", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=1.0)),
    ("scaled-by-the-reciprocal", "error", written(E**0.5)),
    ("scaled-by-the-reciprocal", "error", folded_wrong),
    ("scaled-by-another-number", "note", written(DIM**-0.5)),
    ("scaled-by-another-number", "note", written(HEADS**-0.5)),
]


@pytest.mark.parametrize(("fault", "severity", "inside"), WRONG)
def test_a_wrong_attention_is_one_finding(fault: str, severity: str, inside: Inside) -> None:
    assert [(each.id, each.severity) for each in findings(inside)] == [(fault, severity)]


@pytest.mark.parametrize(
    "inside",
    [
        written(E**-0.5),
        folded,
        by_alpha,
        cosine,
        rotary,
        F.scaled_dot_product_attention,
        lambda q, k, v: (q @ k.mT / math.sqrt(E)).masked_fill(torch.eye(16, dtype=torch.bool), -1e9).softmax(-1) @ v,
    ],
    ids=["plain", "on both", "alpha", "cosine", "rotary", "fused", "not to itself"],
)
def test_a_right_one_is_none(inside: Inside) -> None:
    assert findings(inside) == []


def test_a_learned_temperature_is_nobodys_business() -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    for attn in model.attns:
        attn.inside = lambda q, k, v, t=attn.learned: (q @ k.mT * t.exp()).softmax(-1) @ v
    assert list(attention(patient_of(model))) == []


def test_torchs_own_attention_is_right_with_and_without_weights() -> None:
    for needs in (True, False):
        torch.manual_seed(0)
        model = Small(F.scaled_dot_product_attention)
        for number in range(2):
            model.attns[number] = Torchs(needs)
        assert list(attention(patient_of(model))) == []


class Torchs(nn.Module):
    def __init__(self, needs: bool) -> None:
        super().__init__()
        self.mha, self.needs = nn.MultiheadAttention(DIM, HEADS, batch_first=True), needs

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x, need_weights=self.needs)[0]


def test_the_evidence_holds_the_numbers() -> None:
    (found,) = findings(written(E**0.5))
    assert found.evidence["scale"] == pytest.approx(4)
    assert found.evidence["expected_scale"] == pytest.approx(0.25)
    assert "4" in found.summary.en
    assert "0.25" in found.summary.ja


def test_a_foreign_scale_far_off_is_a_warning() -> None:
    (found,) = findings(written(2**-0.5), dim=96, heads=2)
    assert (found.id, found.severity) == ("scaled-by-another-number", "warning")


@pytest.mark.parametrize(
    ("dim", "heads", "expected"),
    [
        (48, 12, [("heads-too-narrow", "warning")]),
        (48, 4, [("heads-too-narrow", "note")]),
        (51, 3, [("odd-head-width", "note")]),
        (64, 4, []),
        (12, 1, []),
    ],
)
def test_widths(dim: int, heads: int, expected: list[tuple[str, str]]) -> None:
    found = findings(F.scaled_dot_product_attention, dim, heads)
    assert [(each.id, each.severity) for each in found] == expected


def test_heads_that_look_at_one_token_each() -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    for attn in model.attns:
        nn.init.normal_(attn.qkv.weight[: 2 * DIM], std=2.0)
    assert [each.id for each in attention(patient_of(model))] == ["heads-collapsed"]
    nn.init.normal_(model.attns[1].qkv.weight, std=0.1)  # the half of them is not most
    assert list(attention(patient_of(model))) == []


@pytest.mark.parametrize(("rows", "severity"), [(DIM, "note"), (2 * DIM, "warning")])
def test_queries_of_zero_are_a_note_and_keys_of_zero_beside_them_a_warning(rows: int, severity: str) -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    for attn in model.attns:
        nn.init.zeros_(attn.qkv.weight[:rows])
        nn.init.zeros_(attn.qkv.bias[:rows])
    was = {name: each.clone() for name, each in model.state_dict().items()}
    found = list(attention(patient_of(model)))
    assert [(each.id, each.severity) for each in found] == [("heads-exactly-uniform", severity)]
    assert all(torch.equal(each.double(), was[name].double()) for name, each in model.state_dict().items())


class T5(Attending):
    """No scale: the queries start smaller by the root of a head's width."""

    def __init__(self, inside: Inside, dim: int, heads: int) -> None:
        super().__init__(inside, dim, heads)
        for part, std in zip(self.qkv.weight.chunk(3), ((dim * E) ** -0.5, dim**-0.5, dim**-0.5), strict=True):
            nn.init.normal_(part, std=std)
        nn.init.zeros_(self.qkv.bias)


def test_a_scale_that_the_weights_make_up_for_is_a_note() -> None:
    def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).softmax(dim=-1) @ v

    torch.manual_seed(0)
    model = Small(unscaled)
    assert [each.severity for each in attention(patient_of(model)) if each.id == "attention-not-scaled"] == ["warning"]
    model.attns = nn.ModuleList(T5(unscaled, DIM, HEADS) for _ in range(2))
    assert [each.severity for each in attention(patient_of(model)) if each.id == "attention-not-scaled"] == ["note"]


@pytest.mark.parametrize("axis", [1, 2], ids=["the groups", "the heads of a group"])
def test_a_softmax_over_groups_of_heads_is_found(axis: int) -> None:
    def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.unflatten(1, (2, 2)), k.unflatten(1, (2, 2))[:, :, :1], v.unflatten(1, (2, 2))[:, :, :1]
        return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=axis) @ v).flatten(1, 2)

    (found,) = (each for each in findings(grouped, 64, 4) if each.id == "softmax-over-the-wrong-axis")
    assert found.evidence["axis"] == "heads"


def on_queries(factor: float, scale: float | None = None) -> Inside:
    return lambda q, k, v: F.scaled_dot_product_attention(q * factor, k, v, scale=scale)


@pytest.mark.parametrize(
    ("dim", "inside", "expected"),
    [
        (192, on_queries(64**-0.5), [("scaled-twice", "warning")]),
        (192, lambda q, k, v: (q / 8 @ k.mT / 8).softmax(dim=-1) @ v, [("scaled-twice", "warning")]),
        (192, lambda q, k, v: (q / 8 @ (k / 8).mT).softmax(dim=-1) @ v, [("scaled-twice", "warning")]),
        (48, on_queries(E**-0.5), [("scaled-twice", "note")]),
        (192, written(1 / 64), [("scaled-by-another-number", "note")]),
        (192, on_queries(1.0, 1 / 64), [("scaled-by-another-number", "note")]),
        (192, on_queries(1 / 8, 1.0), []),
        (192, on_queries(64**-0.25, 64**-0.25), []),
        (24, on_queries(8**-0.5), [("heads-too-narrow", "note")]),
    ],
    ids=["fused", "by hand", "both sides", "16 wide", "muP", "muP fused", "once", "two roots", "8 wide"],
)
def test_a_scale_applied_twice_is_told_and_mup_at_most_noted(
    dim: int, inside: Inside, expected: list[tuple[str, str]]
) -> None:
    assert [(each.id, each.severity) for each in findings(inside, dim)] == expected


def test_mup_is_named_in_the_note_of_one_over_the_width_and_left_alone_where_weights_are_larger() -> None:
    (found,) = findings(written(1 / 64), 192)
    assert "muP" in found.summary.en
    assert "muP" in found.summary.ja
    torch.manual_seed(0)
    model = Small(written(1 / 64), 192)
    for attn in model.attns:
        nn.init.normal_(attn.qkv.weight[:384], std=(8 / 192) ** 0.5)
    assert list(attention(patient_of(model))) == []
    for attn in model.attns:
        nn.init.zeros_(attn.qkv.weight[:192])
        nn.init.zeros_(attn.qkv.bias[:192])
    assert [each.id for each in attention(patient_of(model))] == ["heads-exactly-uniform"]
