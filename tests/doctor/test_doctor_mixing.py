"""Whether tokens meet: masks, axes and heads that keep them apart are found, windows and neighbourhoods that overlap are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

import vitscope
from vitscope.doctor.admission import admitted
from vitscope.doctor.finding import Finding
from vitscope.doctor.mixing.experiments import changed, tokens_of
from vitscope.doctor.mixing.masks import allowed, is_triangular
from vitscope.doctor.mixing.tokens import token_mixing
from vitscope.doctor.patient import Patient

DIM, HEADS, SIDE = 32, 2, 4
N = SIDE * SIDE
Forward = Callable[["Attending", Tensor], Tensor]
"""From tokens B T D to tokens B T D."""


class Attending(nn.Module):
    def __init__(self, run: Forward) -> None:
        super().__init__()
        self.run, self.qkv, self.out = run, nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class Small(nn.Module):
    def __init__(self, *runs: Forward, has_class: bool = False, skip: float = 1.0) -> None:
        super().__init__()
        self.patch, self.skip = nn.Conv2d(3, DIM, 4, 4), skip
        self.token = nn.Parameter(torch.randn(1, 1, DIM)) if has_class else None
        self.place = nn.Parameter(0.02 * torch.randn(1, N + has_class, DIM))
        self.attns = nn.ModuleList(Attending(run) for run in runs)
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(DIM, 64), nn.GELU(), nn.Linear(64, DIM)) for _ in runs)
        self.norms = nn.ModuleList(nn.LayerNorm(DIM) for _ in range(2 * len(runs) + 1))
        self.scales = nn.ParameterList(torch.full((DIM,), skip) for _ in runs)
        self.head = nn.Linear(DIM, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.place
        for number, (attn, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            x = x + self.scales[number] * attn(self.norms[2 * number](x))
            x = x + mlp(self.norms[2 * number + 1](x))
        return self.head(self.norms[-1](x).mean(1))


def patient_of(model: nn.Module) -> Patient:
    return admitted(model.eval(), image_size=16, num_classes=10, channels=3, images=None, labels=None, batch_size=None)[
        0
    ]


def findings(*runs: Forward, is_trained: bool = True, **options: object) -> list[Finding]:
    """As of a trained model, where nothing that starts at zero is looked for by training."""
    torch.manual_seed(0)
    patient = patient_of(Small(*runs, **options))  # type: ignore[arg-type]
    patient.is_trained = is_trained
    return list(token_mixing(patient))


def named(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.id, each.severity) for each in found]


def merged(self: Attending, y: Tensor) -> Tensor:
    return self.out(y.transpose(1, 2).flatten(2))


def full(self: Attending, x: Tensor) -> Tensor:
    return merged(self, F.scaled_dot_product_attention(*self.heads(x)))


def masked(mask: Tensor) -> Forward:
    """Added to the scores before a softmax that is written out."""

    def run(self: Attending, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        return merged(self, (q @ k.mT / 4 + mask.to(q)).softmax(-1) @ v)

    return run


def fused(mask: Tensor) -> Forward:
    return lambda self, x: merged(self, F.scaled_dot_product_attention(*self.heads(x), attn_mask=mask))


def causal(self: Attending, x: Tensor) -> Tensor:
    return merged(self, F.scaled_dot_product_attention(*self.heads(x), is_causal=True))


def windows(shift: int) -> Forward:
    def run(self: Attending, x: Tensor) -> Tensor:
        grid = x.unflatten(1, (SIDE, SIDE)).roll((-shift, -shift), (1, 2))
        inside = rearrange(grid, "b (h p) (w q) d -> (b h w) (p q) d", p=2, q=2)
        out = rearrange(full(self, inside), "(b h w) (p q) d -> b (h p) (w q) d", h=2, w=2, p=2)
        return out.roll((shift, shift), (1, 2)).flatten(1, 2)

    return run


def across_the_batch(self: Attending, x: Tensor) -> Tensor:
    return full(self, x.transpose(0, 1)).transpose(0, 1)


def of_length_one(self: Attending, x: Tensor) -> Tensor:
    return full(self, x.reshape(-1, 1, DIM)).view(x.shape)


def cut_by_view(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.qkv(x).chunk(3, dim=-1)
    return merged(
        self, F.scaled_dot_product_attention(*(t.reshape(len(x), HEADS, -1, DIM // HEADS) for t in (q, k, v)))
    )


def only_values_cut_by_view(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.heads(x)
    v = self.qkv(x)[..., -DIM:].reshape(v.shape)
    return merged(self, (q @ k.mT / 4).softmax(-1) @ v)


def put_by_view(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.heads(x)
    return self.out(((q @ k.mT / 4).softmax(-1) @ v).reshape(x.shape))


def both_by_view(self: Attending, x: Tensor) -> Tensor:
    q, k, v = (t.reshape(len(x), HEADS, -1, DIM // HEADS) for t in self.qkv(x).chunk(3, dim=-1))
    return self.out(((q @ k.mT / 4).softmax(-1) @ v).reshape(x.shape))


def by_head(self: Attending, x: Tensor) -> Tensor:
    """A product of its own for each head, whose results are added."""
    y = F.scaled_dot_product_attention(*self.heads(x))
    weights = self.out.weight.view(DIM, HEADS, -1).permute(1, 2, 0)
    return (y @ weights).sum(dim=1) + self.out.bias


def pooled_queries(self: Attending, x: Tensor) -> Tensor:
    """In windows, whose queries are means of four, said to all of the window: rows of queries do not tell how many heads there are."""
    inside = rearrange(x.unflatten(1, (SIDE, SIDE)), "b (h p) (w q) d -> (b h w) (p q) d", p=2, q=2)
    q, k, v = self.heads(inside)
    y = F.scaled_dot_product_attention(q.mean(dim=-2, keepdim=True), k, v).expand_as(v)
    return rearrange(merged(self, y), "(b h w) (p q) d -> b (h p w q) d", h=2, w=2, p=2)


TRIANGLE = torch.full((N, N), float("-inf")).triu(1)
ROWS = torch.block_diag(*[torch.ones(SIDE, SIDE)] * SIDE).bool()
PLACES = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
NEAR = (PLACES[:, None] - PLACES[None]).abs().amax(dim=-1) <= 1


@pytest.mark.parametrize(
    "run", [causal, masked(TRIANGLE), fused(TRIANGLE.isfinite()), masked(TRIANGLE.clamp(min=-1e4))]
)
def test_a_causal_mask_is_an_error(run: Forward) -> None:
    assert named(findings(run, run)) == [("causal-mask", "error")]


def test_a_causal_mask_in_one_block_of_two_is_a_warning() -> None:
    assert named(findings(full, causal)) == [("causal-mask", "warning")]
    assert "Other blocks have none" in findings(full, causal)[0].summary.en


def times_a_triangle(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.heads(x)
    return merged(self, (q @ k.mT / 4).softmax(-1) * torch.ones(N, N).tril() @ v)


def filled_behind(self: Attending, x: Tensor) -> Tensor:
    q, k, v = self.heads(x)
    return merged(self, (q @ k.mT / 4).softmax(-1).masked_fill(TRIANGLE.isinf(), 0) @ v)


@pytest.mark.parametrize("run", [times_a_triangle, filled_behind])
def test_a_mask_behind_the_softmax_is_told_as_one(run: Forward) -> None:
    (found,) = findings(run, run)
    assert (found.id, found.severity) == ("causal-mask", "warning")
    assert "It stands behind the softmax" in found.summary.en
    assert "マスクがsoftmaxの後にあり" in found.summary.ja
    assert "know nothing" not in found.fault.why.en


def test_by_which_way_halves_hear_of_each_other_is_told() -> None:
    def beside(self: Attending, x: Tensor) -> Tensor:
        return causal(self, x) + 0.1 * x.flip(1)

    assert "the other way round" in findings(causal, masked(TRIANGLE.T))[0].summary.en
    (found,) = findings(beside, beside)
    assert (found.id, found.severity) == ("causal-mask", "warning")
    assert "By other ways than attention" in found.summary.en


def test_a_class_token_behind_the_patches_does_not_hide_a_causal_mask() -> None:
    assert named(findings(causal, causal, has_class=True)) == [("causal-mask", "error")]


@pytest.mark.parametrize(
    ("runs", "sizes"),
    [
        ((fused(torch.eye(N, dtype=torch.bool)),) * 2, [1] * N),
        ((fused(ROWS),) * 2, [4] * 4),
        ((masked(torch.zeros(N, N).masked_fill(~ROWS, -1e9)),) * 2, [4] * 4),
        ((masked(torch.zeros(N, N).masked_fill(~ROWS, -100.0)),) * 2, [4] * 4),
        ((windows(0), windows(0)), [4] * 4),
        ((of_length_one,) * 2, [1] * N),
        ((across_the_batch,) * 2, [1] * N),
    ],
    ids=["diagonal", "rows", "rows, added", "rows, by a hundred", "windows that never shift", "length one", "batch"],
)
def test_patches_that_never_meet_are_an_error(runs: tuple[Forward, ...], sizes: list[int]) -> None:
    (found,) = findings(*runs)
    assert (found.id, found.severity) == ("patches-never-meet", "error")
    assert found.evidence["group_sizes"] == sizes


def test_what_keeps_them_apart_is_said() -> None:
    assert "batch" in findings(across_the_batch)[0].summary.en
    assert "長さ1の軸" in findings(of_length_one)[0].summary.ja
    assert "75.0 %" in findings(fused(ROWS))[0].summary.en


def test_a_class_token_that_hears_of_all_patches_does_not_make_them_meet() -> None:
    mask = torch.eye(N + 1, dtype=torch.bool)
    mask[0] = True
    assert named(findings(fused(mask), fused(mask), has_class=True)) == [("patches-never-meet", "error")]
    mask[:, 0] = True  # and what it has heard it tells
    assert findings(fused(mask), fused(mask), has_class=True) == []


@pytest.mark.parametrize(
    "runs",
    [
        (full, full),
        (fused(~torch.eye(N, dtype=torch.bool)),) * 2,
        (fused(NEAR),) * 2,
        (windows(0), windows(1)),
        (windows(0), full),
        (
            fused(ROWS),
            fused(ROWS[:, torch.arange(N).view(SIDE, SIDE).T.flatten()][torch.arange(N).view(SIDE, SIDE).T.flatten()]),
        ),
        (by_head, by_head),
        (pooled_queries, full),
        (masked(torch.zeros(N, N)),) * 2,
    ],
    ids=[
        "full",
        "not to itself",
        "neighbours",
        "shifted windows",
        "windows, then all",
        "rows, then columns",
        "by head",
        "pooled queries",
        "open mask",
    ],
)
def test_what_lets_patches_meet_is_healthy(runs: tuple[Forward, ...]) -> None:
    assert findings(*runs) == []


def test_branches_that_start_at_zero_are_given_some_steps() -> None:
    assert findings(windows(0), windows(1), is_trained=False, skip=0.0) == []
    assert named(findings(windows(0), windows(0), is_trained=False, skip=0.0)) == [("patches-never-meet", "error")]


def test_collapsed_heads_are_no_mask() -> None:
    torch.manual_seed(0)
    model = Small(full, full)
    for attn in model.attns:
        nn.init.normal_(attn.qkv.weight, std=30.0)
    assert list(token_mixing(patient_of(model))) == []


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (cut_by_view, ["heads-split-across-tokens"]),
        (only_values_cut_by_view, ["heads-split-across-tokens"]),
        (put_by_view, ["heads-merged-across-tokens"]),
        (both_by_view, ["heads-split-across-tokens", "heads-merged-across-tokens"]),
    ],
)
@pytest.mark.parametrize("has_class", [False, True])
def test_heads_across_tokens(run: Forward, expected: list[str], has_class: bool) -> None:
    found = findings(run, run, has_class=has_class)
    assert named(found) == [(each, "error") for each in expected]
    assert found[0].evidence["heads"] == HEADS
    assert len(found[0].evidence["modules"]) == 2


def test_what_a_mask_leaves_open_does_not_hang_on_the_scores() -> None:
    torch.manual_seed(0)
    patient = patient_of(Small(masked(TRIANGLE), fused(ROWS)))
    one, other = (allowed(patient.tape, each) for each in patient.attentions)
    assert torch.equal(one, TRIANGLE.isfinite().expand(HEADS, N, N))
    assert torch.equal(other, ROWS.expand(HEADS, N, N))
    assert (is_triangular(one), is_triangular(one.mT), is_triangular(other)) == ("later", "earlier", None)


def test_tokens_of_a_map_are_its_places() -> None:
    torch.manual_seed(0)
    patient = patient_of(Small(full))
    convolution = next(call for call in patient.tape.calls if call.name == "convolution")
    tokens = tokens_of(convolution, DIM)
    rows = tokens.of(convolution.outputs[0])
    assert rows.shape == (N, DIM)
    assert torch.equal(rows[5], convolution.outputs[0][0, :, 1, 1])
    assert torch.equal(tokens.as_given(rows), convolution.outputs[0])


def test_a_row_that_rounding_alone_moved_has_not_changed() -> None:
    was = torch.zeros(3, 2)
    now = torch.tensor([[1.0, 0.0], [0.0, 1e-8], [0.0, 0.0]])
    assert changed(was, now).tolist() == [True, False, False]
    assert changed(was, was).tolist() == [False, False, False]


def by_an_inverted_mask(self: Attending, x: Tensor) -> Tensor:
    """Filled where it is not the token itself."""
    q, k, v = self.heads(x)
    return merged(self, (q @ k.mT / 4).masked_fill(~torch.eye(N, dtype=torch.bool), float("-inf")).softmax(-1) @ v)


class ByTorch(nn.Module):
    """Independent of the others here: torch's own layers, whose mask says True where nothing may be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(48, 32), nn.Linear(32, 10)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True) for _ in range(2))
        self.place = nn.Parameter(torch.randn(N, 32) * 0.02)
        self.register_buffer("mask", ~torch.eye(N, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)) + self.place
        for layer in self.layers:
            x = layer(x, src_mask=self.mask)
        return self.head(x.mean(1))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Small(by_an_inverted_mask, by_an_inverted_mask),
        lambda: Small(*[fused(torch.eye(N, dtype=torch.bool))] * 2),
        ByTorch,
    ],
    ids=["filled", "fused", "torch"],
)
def test_what_follows_from_an_inverted_mask_is_folded_beneath_it(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    found = vitscope.diagnose(build(), image_size=16, checks=["token-mixing", "attention", "parameters"])
    assert [each.id for each in found.causes] == ["patches-never-meet"]
    assert "scores-without-influence" not in {each.id for each in found.findings}
