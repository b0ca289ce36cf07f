"""What attentions weigh values by, and what becomes of scores behind the head: what is wrong is named, what only looks like it is not."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import sick_finish
import sick_weights
import torch
import torch.nn.functional as F
from examined_sick import by_the_check_concerned
from sick_case import Case
from test_doctor_attention import DIM, E, Inside, Small, findings, patient_of
from torch import Tensor, nn

from vitscope.doctor.attention.check import attention
from vitscope.doctor.finding import Skipped
from vitscope.doctor.forward.output import output


@pytest.mark.parametrize("case", sick_weights.CASES, ids=lambda case: case.name)
def test_the_fault_is_named_and_nothing_else_beside_it(case: Case) -> None:
    found = by_the_check_concerned(case).causes
    assert [(each.id, each.severity) for each in found] == [(sick_weights.WEIGHED[case.name][2], case.severity)]


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("softmax-over-a-map", {"axis": "queries and keys"}),
        ("softmax-over-all-maps", {"axis": "queries and keys"}),
        ("sums-along-the-keys", {"axis": "rows of others"}),
        ("sums-over-queries", {"axis": "queries"}),
        ("softmax-twice", {"largest_ratio": pytest.approx(math.e, rel=1e-3)}),
        ("averaged", {"tokens": 65}),
        ("integer-scale", {"attentions_without_influence_after_some_steps": 2}),
    ],
)
def test_the_evidence_says_how(name: str, evidence: dict[str, object]) -> None:
    (case,) = (each for each in sick_weights.CASES if each.name == name)
    (found,) = by_the_check_concerned(case).causes
    assert {key: found.evidence[key] for key in evidence} == evidence


def raw(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT * E**-0.5


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = raw(q, k).exp()
    return raised / raised.sum(dim=-1, keepdim=True) @ v


def in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = raw(q, k).exp_()
    raised /= raised.sum(dim=-1, keepdim=True)
    return raised.matmul(v)


def divided_behind(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = raw(q, k).exp()
    return raised @ v / raised.sum(dim=-1, keepdim=True)


def one_more_below(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = raw(q, k).exp()
    return raised / (1 + raised.sum(dim=-1, keepdim=True)) @ v


def both_ways(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Columns first, then rows: external attention."""
    over_queries = raw(q, k).softmax(dim=-2)
    return over_queries / over_queries.sum(dim=-1, keepdim=True) @ v


def sinkhorn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    plan = raw(q, k)
    for _ in range(3):
        plan = plan - plan.logsumexp(dim=-2, keepdim=True)
        plan = plan - plan.logsumexp(dim=-1, keepdim=True)
    return plan.exp() @ v


def averaged_for_its_range(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Values are made small for half precision, and large again."""
    tokens = v.shape[-2]
    return raw(q, k).softmax(dim=-1) @ (v / tokens) * tokens


def normed_behind(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.rms_norm(raw(q, k).softmax(dim=-1) @ v / v.shape[-2], v.shape[-1:])


def cosines(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT / 0.1).softmax(dim=-1) @ v


def sharpened(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (raw(q, k).softmax(dim=-1) * 20).softmax(dim=-1) @ v


def capped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (5 * torch.tanh(raw(q, k) / 5)).softmax(dim=-1) @ v


def by_the_logarithm_of_the_tokens(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * E**-0.5 * math.log2(k.shape[-2] + 1)).softmax(dim=-1) @ v


def nowhere_to_choose(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each token is a window of its own."""
    return raw(q.unflatten(-2, (-1, 1)), k.unflatten(-2, (-1, 1))).softmax(dim=-1).matmul(v.unsqueeze(-2)).squeeze(-2)


@pytest.mark.parametrize(
    "inside",
    [
        by_hand,
        in_place,
        one_more_below,
        both_ways,
        sinkhorn,
        averaged_for_its_range,
        normed_behind,
        cosines,
        sharpened,
        capped,
        by_the_logarithm_of_the_tokens,
        nowhere_to_choose,
        lambda q, k, v: (q @ k.mT / 256).softmax(dim=-1) @ v,
    ],
    ids=lambda each: each.__name__,
)
def test_a_design_of_its_own_is_accused_of_nothing(inside: Inside) -> None:
    torch.manual_seed(0)
    model = Small(inside)
    if inside.__name__ == "<lambda>":  # the scale is folded into the weights
        for attn in model.attns:
            attn.qkv.weight.data[: 2 * DIM] *= 8
    assert accused(model) == []


def accused(model: nn.Module) -> list[str]:
    """What is found, also in a model that the lens does not follow."""
    found = list[str]()
    with suppress(Skipped):
        found.extend(each.id for each in attention(patient_of(model)))
    return found


def test_weights_that_are_divided_behind_the_values_may_start_as_ones() -> None:
    torch.manual_seed(0)
    model = Small(divided_behind)
    for attn in model.attns:
        nn.init.zeros_(attn.qkv.weight[:DIM])
        nn.init.zeros_(attn.qkv.bias[:DIM])
    assert accused(model) == []


class Tempered(nn.Module):
    def __init__(self, start: float, *, twice: bool = False) -> None:
        super().__init__()
        self.learned, self.twice = nn.Parameter(torch.tensor(start)), twice

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = raw(q, k).softmax(dim=-1) if self.twice else raw(q, k)
        return (scores * self.learned).softmax(dim=-1) @ v


@pytest.mark.parametrize(("start", "expected"), [(0.0, [("scores-without-influence", "note")]), (1.0, [])])
def test_a_factor_that_is_learned_from_zero_is_a_note(start: float, expected: list[tuple[str, str]]) -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    for attn in model.attns:
        attn.inside = Tempered(start)
    assert [(each.id, each.severity) for each in attention(patient_of(model))] == expected


def test_a_second_softmax_whose_temperature_is_learned_can_choose() -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    for attn in model.attns:
        attn.inside = Tempered(1.0, twice=True)
    assert accused(model) == []


def test_a_scale_that_grows_smaller_layer_by_layer_is_meant() -> None:
    torch.manual_seed(0)
    model = Small(F.scaled_dot_product_attention)
    model.attns.extend(type(model.attns[0])(F.scaled_dot_product_attention, DIM, 3) for _ in range(4))
    for layer, attn in enumerate(model.attns):
        attn.inside = lambda q, k, v, layer=layer: (raw(q, k) / (layer + 1)).softmax(-1) @ v
    model.norms = nn.ModuleList(nn.LayerNorm(DIM) for _ in range(13))
    model.mlps = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(6))
    assert list(attention(patient_of(model))) == []


def test_a_scale_of_no_known_number_is_said_to_be_none() -> None:
    (found,) = findings(lambda q, k, v: (q @ k.mT * 0.0123).softmax(-1) @ v)
    assert (found.id, found.severity) == ("scaled-by-another-number", "warning")
    assert "no root of any width" in found.summary.en
    assert findings(lambda q, k, v: (q @ k.mT * 0.2).softmax(-1) @ v) == []


@pytest.mark.parametrize("run", ["product", "by hand"])
def test_a_small_whole_number_is_taken_for_no_power_of_another(run: str) -> None:
    def inside(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if run == "product":
            return (q @ k.mT * 5).softmax(-1) @ v
        scores = 4 * (q @ k.mT)
        raised = (scores - scores.amax(-1, keepdim=True)).exp()
        return raised / raised.sum(-1, keepdim=True) @ v

    (found,) = findings(inside, 64, 2)
    assert (found.id, found.severity) == ("scaled-by-another-number", "warning")
    assert "number of heads" not in found.summary.en
    assert "ヘッド数" not in found.summary.ja
    (telling,) = findings(lambda q, k, v: (q @ k.mT * 24**-2).softmax(-1) @ v, 48, 2)
    assert "24**-2, and 24 is the width of a head" in telling.summary.en
    assert "24の-2乗に当たります" in telling.summary.ja


class Finished(Small):
    def __init__(self, *tail: nn.Module) -> None:
        super().__init__(F.scaled_dot_product_attention)
        self.head = nn.Sequential(self.head, *tail)


class NegativeDistances(nn.Module):
    """How far an image is from the prototypes of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(10, 10))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x, self.prototypes, compute_mode="use_mm_for_euclid_dist")


@pytest.mark.parametrize(
    "tail",
    [nn.LayerNorm(10), nn.LogSigmoid(), NegativeDistances(), nn.BatchNorm1d(10, affine=False)],
    ids=lambda each: type(each).__name__,
)
def test_scores_that_are_finished_otherwise_are_no_fault(tail: nn.Module) -> None:
    torch.manual_seed(0)
    assert list(output(patient_of(Finished(tail)))) == []


def test_the_floor_under_normed_scores_is_the_one_that_is_reached() -> None:
    (case,) = (each for each in sick_finish.CASES if each.name == "normed-scores")
    (found,) = by_the_check_concerned(case).findings
    assert (found.id, found.evidence["floor"]) == ("bounded-scores", pytest.approx(0.2784, abs=1e-3))
    (case,) = (each for each in sick_finish.CASES if each.name == "negative-scores")
    (found,) = by_the_check_concerned(case).findings
    assert found.id == "rectified-scores"
    assert "above" in found.summary.en


def cosine(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT


def divided_cosines(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (cosine(q, k) / E**0.5).softmax(dim=-1) @ v


def fused_cosines(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v)


@pytest.mark.parametrize("inside", [divided_cosines, fused_cosines])
def test_cosines_divided_by_the_root_of_the_width_are_nearly_even_for_ever(inside: Inside) -> None:
    (found,) = (each for each in findings(inside) if each.id == "weights-always-nearly-even")
    assert found.severity == "warning"
    assert found.evidence["largest_ratio"] == pytest.approx(math.exp(2 / E**0.5), rel=1e-3)


def ten_times_cosines(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (10 * cosine(q, k)).softmax(dim=-1) @ v


def normed_by_their_width(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(F.rms_norm(q, (E,)), F.rms_norm(k, (E,)), v)


def centred(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(F.layer_norm(q, (E,)), F.layer_norm(k, (E,)), v)


@pytest.mark.parametrize("inside", [ten_times_cosines, normed_by_their_width, centred])
def test_normed_queries_and_keys_that_can_choose_are_left_alone(inside: Inside) -> None:
    assert not [each for each in findings(inside) if each.id == "weights-always-nearly-even"]
