"""The checks on the forward: each fault is found in a model that has it, by what it does, and not in ones that look like it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitscope
from vitscope.doctor.admission import admitted
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose
from vitscope.doctor.forward.tail import floor_of_width
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.patient import Patient


class Small(nn.Module):
    """A sound ViT in few lines, with places where a test can put something else."""

    def __init__(self, dim: int = 16, depth: int = 1, heads: int = 2, classes: int = 5) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.attns = nn.ModuleList(self.attention(dim, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def attention(self, dim: int, heads: int) -> nn.Module:
        return nn.MultiheadAttention(dim, heads, batch_first=True)

    def enter(self, images: Tensor) -> Tensor:
        return images

    def class_token(self, x: Tensor) -> Tensor:
        return self.cls.expand(len(x), -1, -1)

    def between(self, x: Tensor) -> Tensor:
        return x

    def pool(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)

    def finish(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, images: Tensor) -> Any:
        x = self.embed(self.enter(images)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token(x), x], dim=1) + self.pos
        for norm, attn in zip(self.norms, self.attns, strict=True):
            y = norm(x)
            x = self.between(x + attn(y, y, y, need_weights=False)[0])
        return self.finish(self.head(self.norm(self.pool(x))))


def examined(model: nn.Module, *checks: str, **options: Any) -> Examination:
    torch.manual_seed(0)
    return diagnose(model, image_size=16, checks=list(checks), **options)


def found(model: nn.Module, *checks: str, **options: Any) -> dict[str, str]:
    """The severity of each fault that was found."""
    return {each.id: each.severity for each in examined(model, *checks, **options).findings}


def built(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


def patient_of(model: nn.Module) -> Patient:
    twin, _ = copy_of(model)
    return admitted(twin, image_size=16, num_classes=None, channels=3, images=None, labels=None, batch_size=None)[0]


FORWARD = ("forward", "determinism", "batch-independence", "output")


def test_nothing_is_found_in_a_sound_model() -> None:
    assert found(built(Small), *FORWARD, "initial-loss") == {}


# batch sizes


class OwnBatchSize(Small):
    def class_token(self, x: Tensor) -> Tensor:
        return self.cls.expand(4, -1, -1)


class RowForEach(Small):
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(4, 1, 16))

    def class_token(self, x: Tensor) -> Tensor:
        return self.cls


class SlicedRows(RowForEach):
    """Works at any size up to 64, and starts with all rows alike."""

    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(64, 1, 16))

    def class_token(self, x: Tensor) -> Tensor:
        return self.cls[: len(x)]


class Squeezing(Small):
    def finish(self, scores: Tensor) -> Tensor:
        return scores.squeeze()


@pytest.mark.parametrize(
    ("kind", "fault", "batch_size"),
    [
        (OwnBatchSize, "works-only-at-some-batch-sizes", 4),
        (RowForEach, "batch-size-in-a-parameter", 4),
        (Squeezing, "works-only-at-some-batch-sizes", None),
    ],
)
def test_a_batch_size_that_is_built_in(kind: Callable[[], nn.Module], fault: str, batch_size: int | None) -> None:
    finding = examined(built(kind), "forward", batch_size=batch_size).findings[0]
    assert (finding.id, finding.severity) == (fault, "error")
    if batch_size:
        assert finding.evidence["works_at"] == [4]
    else:
        assert finding.evidence["fails_at"] == [1]
        assert "（バッチサイズ1でのスコアの形状は" in finding.summary.ja
    if fault == "batch-size-in-a-parameter":
        assert finding.evidence["per_place"] == {"cls": [4, 1, 16]}


class OneAtATime(Small):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) != 1:
            raise ValueError("one image at a time")
        return super().forward(images)


def test_a_model_of_one_image_at_a_time_is_looked_into() -> None:
    found = diagnose(OneAtATime(), image_size=16, checks=["attention", "patch-layout"])
    assert not [skip for skip in found.skipped if skip.check in ("attention", "patch-layout")]


class EightAtATime(nn.Module):
    """Patches cut by an einops rearrangement."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = vitscope.create_model("vit-ti8-32", depth=2, dim=32, heads=2, mlp_dim=64, classes=10)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) != 8:
            raise ValueError("eight images at a time")
        return self.vit(images)  # type: ignore[no-any-return]


def test_the_tokens_of_a_batch_are_not_taken_for_those_of_an_image() -> None:
    found = diagnose(built(EightAtATime), image_size=32, checks=["forward", "patch-layout", "token-mixing"])
    assert [f.id for f in found.findings] == ["works-only-at-some-batch-sizes"]


def test_rows_for_places_are_found_while_they_are_still_alike() -> None:
    model = built(SlicedRows)
    finding = examined(model, "batch-independence").findings[0]
    assert finding.id == "scores-by-place-in-the-batch"
    assert finding.evidence["per_place"] == ["cls"]
    assert finding.evidence["change_of_scores"] == 0
    assert not model.get_parameter("cls").any(), "and the model stays as it was"


# images of a batch


class AcrossTheBatch(Small):
    def attention(self, dim: int, heads: int) -> nn.Module:
        return nn.MultiheadAttention(dim, heads)


class AcrossFromZero(AcrossTheBatch):
    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.attns[0].out_proj.weight)


class SequenceFirst(Small):
    """As it should be done."""

    def attention(self, dim: int, heads: int) -> nn.Module:
        return _Turned(dim, heads)


class _Turned(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(dim, heads)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, need_weights: bool) -> tuple[Tensor]:
        return (self.inner(*(x.transpose(0, 1) for x in (q, k, v)))[0].transpose(0, 1),)


class BatchNormed(Small):
    def __init__(self, tracks: bool = True) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(16, track_running_stats=tracks)

    def between(self, x: Tensor) -> Tensor:
        return self.bn(x.transpose(1, 2)).transpose(1, 2)


class TakenForAnother(Small):
    def between(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)


class OverTheCount(Small):
    def finish(self, scores: Tensor) -> Tensor:
        return scores / len(scores)


def test_attention_across_the_batch() -> None:
    finding = examined(built(AcrossTheBatch), "batch-independence").findings[0]
    assert (finding.id, finding.severity) == ("attention-across-the-batch", "error")
    assert finding.evidence["attentions_across_the_batch"] == ["attns.0"]
    assert finding.evidence["influence"] > 1e-3
    later = examined(built(AcrossFromZero), "batch-independence").findings[0]
    assert later.id == "attention-across-the-batch", "also where its branch starts at zero"
    assert later.evidence["influence"] == 0


def test_which_attentions_run_along_the_batch() -> None:
    assert attentions_along_the_batch(patient_of(built(AcrossTheBatch))) == ("attns.0",)
    assert attentions_along_the_batch(patient_of(built(SequenceFirst))) == ()

    class Branching(AcrossTheBatch):  # does not run without numbers
        def between(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > -1e9 else -x

    assert attentions_along_the_batch(patient_of(built(Branching))) == ("attns.0",)

    class OverImages(Small):  # no attention, though a softmax
        def finish(self, scores: Tensor) -> Tensor:
            return scores.softmax(dim=0)

    assert attentions_along_the_batch(patient_of(built(OverImages))) == ()
    finding = examined(built(OverImages), "batch-independence").findings[0]
    assert (finding.id, finding.evidence["operation"]) == ("images-of-a-batch-meet", "_softmax")


class ByTheLargest(Small):
    """All images are divided by one number, which one of them has: Nyström attention starts its inverse like that."""

    def between(self, x: Tensor) -> Tensor:
        return x * (1 + 1e-5 * x.abs().sum(dim=(1, 2)).max())


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_of_a_batch_is_found_whoever_has_it(seed: int) -> None:
    torch.manual_seed(seed)
    (finding,) = examined(ByTheLargest(), "batch-independence").findings
    assert (finding.id, finding.evidence["operation"]) == ("batch-statistics-in-evaluation", "max")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SequenceFirst, {}),
        (BatchNormed, {}),
        (lambda: BatchNormed(tracks=False), {"batch-statistics-in-evaluation": "warning"}),
        (TakenForAnother, {"images-of-a-batch-meet": "error"}),
        (OverTheCount, {"scores-by-batch-size": "error"}),
    ],
)
def test_images_of_a_batch_that_meet_otherwise(kind: Callable[[], nn.Module], expected: dict[str, str]) -> None:
    assert found(built(kind), "batch-independence") == expected


# determinism


class Dropping(Small):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1)


class DroppingInTraining(Small):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class Choosing(Small):
    """Leaves out tokens by chance, as masked training does."""

    def between(self, x: Tensor) -> Tensor:
        order = torch.rand(x.shape[1], device=x.device).argsort()
        return x[:, order[:8]]


class LeavingOut(Small):
    """Leaves out what comes behind by chance, as stochastic depth does."""

    def between(self, x: Tensor) -> Tensor:
        return x if float(torch.rand(())) < 0.5 else 2 * x + 1


class OutsideOfTorch(Small):
    def finish(self, scores: Tensor) -> Tensor:
        return scores + random.random()


@pytest.mark.parametrize(
    ("kind", "severity", "names"),
    [
        (Dropping, "error", "dropout"),
        (Choosing, "warning", "rand"),
        (LeavingOut, "warning", "rand"),
        (OutsideOfTorch, "error", ""),
    ],
)
def test_what_draws_in_evaluation(kind: Callable[[], nn.Module], severity: str, names: str) -> None:
    finding = examined(built(kind), "determinism").findings[0]
    assert (finding.id, finding.severity) == ("random-in-evaluation", severity)
    drawn = finding.evidence.get("drawn_by", [])
    assert names in drawn[0] if names else drawn == []


def test_dropout_that_evaluation_switches_off_is_none() -> None:
    assert found(built(DroppingInTraining), "determinism", "batch-independence") == {}


def test_chance_is_not_taken_for_the_influence_of_a_neighbour() -> None:
    for kind in (Dropping, OutsideOfTorch):
        examination = examined(built(kind), "batch-independence")
        assert not examination.findings
        assert [skip.check for skip in examination.skipped] == ["batch-independence"]


# traces


class Writing(Small):
    def enter(self, images: Tensor) -> Tensor:
        return images.sub_(0.5)


class Averaging(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))

    def between(self, x: Tensor) -> Tensor:
        self.mean.lerp_(x.detach().mean(dim=(0, 1)), 0.1)
        return x - self.mean


class Remembering(Small):
    def __init__(self) -> None:
        super().__init__()
        self._maps: list[Tensor] = []

    def between(self, x: Tensor) -> Tensor:
        self._maps.append(x.detach())
        return x


class Joining(Remembering):
    """One tensor that grows."""

    def between(self, x: Tensor) -> Tensor:
        self._maps[:] = [torch.cat([*self._maps, x.detach()])]
        return x


KEPT: list[Tensor] = []


class RememberingOutside(Small):
    def between(self, x: Tensor) -> Tensor:
        KEPT.append(x.detach())
        return x


class FillingATable(Small):
    """The first call makes what the others use."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, Tensor] = {}

    def between(self, x: Tensor) -> Tensor:
        if x.shape[1] not in self.tables:
            self.tables[x.shape[1]] = torch.linspace(0, 1, x.shape[1]).to(x)[:, None]
        return x + self.tables[x.shape[1]].to(x)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Writing, "writes-into-its-input"),
        (Averaging, "state-kept-between-calls"),
        (Remembering, "memory-grows-with-each-call"),
        (Joining, "memory-grows-with-each-call"),
        (RememberingOutside, "memory-grows-with-each-call"),
    ],
)
def test_what_a_forward_leaves_behind(kind: Callable[[], nn.Module], fault: str) -> None:
    model = built(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    findings = examined(model, "forward").findings
    assert {each.id: each.severity for each in findings} == {fault: "warning"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    if kind is Remembering:
        assert findings[0].evidence["kept_in"] == ["_maps"]
        assert findings[0].evidence["tensors_per_call"] == 1


def test_a_table_that_the_first_call_fills_is_no_memory_that_grows() -> None:
    assert found(built(FillingATable), "forward") == {}


# devices, precisions, numbers


class OnTheCPU(Small):
    def between(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, x.shape[1])[:, None].to(x.dtype)


class MovedBack(Small):
    """On the CPU in between, and back: slow, and right."""

    def between(self, x: Tensor) -> Tensor:
        where = x.mean(dim=-1).cpu().argsort(dim=1).to(x.device)
        return x.gather(1, where[..., None].expand_as(x))


class PlainConstant(Small):
    def __init__(self) -> None:
        super().__init__()
        self.wave = torch.linspace(0, 1, 17)[:, None]

    def between(self, x: Tensor) -> Tensor:
        return x + self.wave


class Cached(Small):
    """A plain tensor that the first forward makes, where the model is."""

    wave: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.wave = None

    def between(self, x: Tensor) -> Tensor:
        if self.wave is None:
            self.wave = torch.linspace(0, 1, x.shape[1]).to(x)[:, None]
        return x + self.wave


class Asking(Small):
    """Looks at a number, which no model without numbers can."""

    def between(self, x: Tensor) -> Tensor:
        return x if x.abs().max() < 1e9 else x / 2


class InFloat(Small):
    def enter(self, images: Tensor) -> Tensor:
        return images.float()


class InDouble(Small):
    def between(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, x.shape[1], dtype=torch.float64, device=x.device)[:, None]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (OnTheCPU, {"hard-wired-device": "warning"}),
        (PlainConstant, {"hard-wired-device": "warning"}),
        (MovedBack, {}),
        (Cached, {}),
        (Asking, {}),
        (InFloat, {"hard-wired-precision": "warning"}),
        (InDouble, {"hard-wired-precision": "warning"}),
    ],
)
def test_what_is_tied_to_a_device_or_a_precision(kind: Callable[[], nn.Module], expected: dict[str, str]) -> None:
    assert found(built(kind), "forward") == expected


def test_the_fix_for_a_plain_tensor_names_it() -> None:
    code = examined(built(PlainConstant), "forward").findings[0].fault.code
    assert code.startswith("self.wave = nn.Parameter(wave)")
    assert 'self.register_buffer("wave", wave)' in code


def test_scores_that_are_no_numbers_explain_all_else() -> None:
    class Rooting(Small):
        def between(self, x: Tensor) -> Tensor:
            return x + (x - 9).sqrt()

    finding = examined(built(Rooting), "forward").findings[0]
    assert (finding.id, finding.severity) == ("non-finite-scores", "error")
    assert finding.evidence["operation"] == "sqrt"
    assert set(finding.fault.explains) == set(CHECKS) - {"forward"}


# output


class Finishing(Small):
    def __init__(self, finish: Callable[[Tensor], Tensor], **sizes: int) -> None:
        super().__init__(**sizes)
        self.last = finish

    def finish(self, scores: Tensor) -> Tensor:
        return self.last(scores)


def _by_hand(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


@pytest.mark.parametrize(
    ("finish", "loss", "expected"),
    [
        (lambda x: x.softmax(dim=-1), None, {"softmax-in-the-model": "warning"}),
        (lambda x: x.softmax(dim=-1), "cross-entropy", {"softmax-in-the-model": "error"}),
        (lambda x: x.softmax(dim=-1), "mse", {}),
        (_by_hand, None, {"softmax-in-the-model": "warning"}),
        (torch.sigmoid, None, {"sigmoid-in-the-model": "warning"}),
        (torch.sigmoid, "cross-entropy", {"sigmoid-in-the-model": "error"}),
        (torch.sigmoid, "bce", {}),
        (lambda x: x.log_softmax(dim=-1), None, {}),
        (lambda x: x.log_softmax(dim=-1), "nll", {}),
        (lambda x: x.log_softmax(dim=-1), "cross-entropy", {"log-softmax-before-cross-entropy": "note"}),
        (torch.tanh, "cross-entropy", {"bounded-scores": "warning"}),
        (lambda x: x.clamp(-1, 1), None, {"bounded-scores": "warning"}),
        (F.relu, None, {"rectified-scores": "warning"}),
        (F.gelu, None, {"rectified-scores": "warning"}),
        (lambda x: 30 * torch.tanh(x / 30), None, {}),
        (lambda x: x * 0.01, None, {}),
        (lambda x: -(x.abs()), None, {}),
        (lambda x: F.dropout(x, 0.25, training=False), None, {}),
    ],
)
def test_what_stands_between_the_last_product_and_the_scores(
    finish: Callable[[Tensor], Tensor], loss: str | None, expected: dict[str, str]
) -> None:
    assert found(built(lambda: Finishing(finish)), "output", loss=loss) == expected


def test_a_scale_that_is_learned_undoes_a_bound_and_dropout_is_found_in_training_mode_only() -> None:
    class Scaled(Small):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(5.0))

        def finish(self, scores: Tensor) -> Tensor:
            return self.scale * scores.tanh()

    assert found(built(Scaled), "output") == {}

    class Dropped(Small):
        def finish(self, scores: Tensor) -> Tensor:
            return F.dropout(scores, 0.25, self.training)

    finding = examined(built(Dropped), "output").findings[0]
    assert (finding.id, finding.severity, finding.evidence["p"]) == ("dropout-behind-the-head", "warning", 0.25)

    class Before(Small):
        def pool(self, x: Tensor) -> Tensor:
            return F.dropout(x.mean(dim=1), 0.25, self.training)

    assert found(built(Before), "output") == {}


def test_a_head_of_zeros_is_no_rectified_one() -> None:
    model = built(Small)
    assert isinstance(model, Small)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    assert found(model, "output") == {}


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize(("squeeze", "width"), [("softmax", 1.0), ("sigmoid", 1.0), ("tanh", 2.0)])
def test_floors_of_the_loss_are_those_that_no_scores_pass(classes: int, squeeze: str, width: float) -> None:
    """The scores are driven to their best by gradient descent, and end on the floor."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "softmax": lambda x: x.softmax(dim=-1),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    x = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.5)
    for _ in range(300):
        loss = F.cross_entropy(functions[squeeze](x), torch.tensor([0]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    floor = floor_of_width(classes, width)
    lowest = float(loss.detach())
    assert lowest == pytest.approx(floor, abs=1e-3)
    assert lowest >= floor - 1e-9
    if width == 1.0:
        assert floor == pytest.approx(math.log(math.e + classes - 1) - 1)


class Sequence(nn.Module):
    """Tokens first in torch's own layers, or in an attention of one's own."""

    def __init__(self, kind: str, has_class: bool) -> None:
        super().__init__()
        self.patch, self.has_class = nn.Conv2d(3, 32, 8, 8), has_class
        self.place = nn.Parameter(torch.randn(4, 32) * 0.02)
        self.kind, self.norm, self.head = kind, nn.LayerNorm(32), nn.Linear(32, 10)
        self.layer: nn.Module = (
            nn.TransformerEncoderLayer(32, 2, 64) if kind == "layer" else nn.MultiheadAttention(32, 2)
        )
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT + self.place
        y = self.norm(x)
        if self.kind == "own":
            q, k, v = self.qkv(y).unflatten(-1, (3, 2, 16)).permute(2, 1, 3, 0, 4)
            x = x + torch.nn.functional.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
        else:
            x = x + (self.layer(y) if self.kind == "layer" else self.layer(y, y, y)[0])
        return self.head(x[:, 0] if self.has_class else x.mean(1))


@pytest.mark.parametrize("has_class", [False, True])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("layer", "nn.TransformerEncoderLayer(dim, heads, batch_first=True)"),
        ("attention", "nn.MultiheadAttention(dim, heads, batch_first=True)"),
        ("own", ".transpose(1, 2)"),
    ],
)
def test_the_fix_names_the_class_that_is_there(kind: str, code: str, has_class: bool) -> None:
    torch.manual_seed(0)
    found = diagnose(Sequence(kind, has_class), image_size=16, checks=["input-blindness", "batch-independence"])
    told = [each.fault.code for each in found.findings if "attentions_across_the_batch" in each.evidence]
    assert told
    assert all(code in each for each in told)


class Nested(Small):
    """Images stand by themselves in a nested tensor, which has no sizes to ask for."""

    def between(self, x: Tensor) -> Tensor:
        each = torch.nested.as_nested_tensor(list(x))
        shares = torch.matmul(each, each.transpose(-1, -2)).softmax(-1)
        return x + torch.matmul(shares, each).to_padded_tensor(0.0)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_no_attention_along_the_batch() -> None:
    result = examined(Nested(), "batch-independence")
    assert (result.findings, result.skipped) == ((), ())
