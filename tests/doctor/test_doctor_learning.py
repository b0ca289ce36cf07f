"""The checks that train: what cannot learn is found and named by where its loss stops, and what learns is not accused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.learning.training import guessing, loss_of

pytestmark = pytest.mark.e2e  # whole examinations


class Small(nn.Module):
    """A sound ViT in few lines, with places where a test can put something else."""

    def __init__(self, dim: int = 32, classes: int = 4, p: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        self.norm1, self.attn = nn.LayerNorm(dim), nn.MultiheadAttention(dim, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim))
        self.drop = nn.Dropout(p)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def read(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)

    def finish(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, images: Tensor) -> Any:
        x = self.drop(self.embed(images).flatten(2).transpose(1, 2) + self.pos)
        y = self.norm1(x)
        x = x + self.drop(self.attn(y, y, y, need_weights=False)[0])
        x = x + self.drop(self.mlp(x))
        return self.finish(self.head(self.drop(self.norm(self.read(x)))))


class Finishing(Small):
    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.last = finish

    def finish(self, scores: Tensor) -> Tensor:
        return self.last(scores)


class Blind(Small):
    def read(self, x: Tensor) -> Tensor:
        return x.mean(dim=1) * 0 + self.pos[:, 0]


class Cut(Small):
    """Nothing of it learns: the scores are looked up, not computed."""

    def finish(self, scores: Tensor) -> Tensor:
        return (scores * 10).round() + 0 * scores


class Hard(Small):
    """So large at the start that nothing it does matters."""

    def finish(self, scores: Tensor) -> Tensor:
        return scores.sin() * 1e-3


def examined(model: nn.Module, *checks: str, **options: Any) -> Examination:
    torch.manual_seed(0)
    return diagnose(model, image_size=16, checks=list(checks), **options)


def built(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


# the first loss


def _loud_head(model: nn.Module) -> nn.Module:
    nn.init.normal_(model.get_parameter("head.weight"), std=1.0)
    return model


def test_a_head_that_starts_too_sure() -> None:
    finding = examined(_loud_head(built(Small)), "initial-loss").findings[0]
    assert (finding.id, finding.severity) == ("first-loss-too-high", "warning")
    assert finding.evidence["loss_of_guessing"] == pytest.approx(math.log(4))
    assert finding.evidence["first_loss"] > math.log(4) + 1
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 1, 2, 3, 0, 1])
    own = diagnose(_loud_head(built(Small)), images=images, labels=labels, checks=["initial-loss"]).findings[0]
    assert own.evidence["on"] == "labels"


def test_first_losses_that_are_none_of_start_values_or_as_they_should_be() -> None:
    assert not examined(built(Small), "initial-loss").findings
    zero = built(Small)
    nn.init.zeros_(zero.get_parameter("head.weight"))
    assert not examined(zero, "initial-loss").findings
    trained = _loud_head(built(Small))
    assert examined(trained, "initial-loss", is_trained=True).skipped
    nn.init.normal_(trained.get_parameter("norm.weight"), mean=1.0, std=0.1)
    examination = examined(trained, "initial-loss")
    assert examination.skipped, "norms that are no longer ones are trained ones"
    assert not examination.findings


def test_probabilities_hide_no_certainty() -> None:
    sure = _loud_head(built(lambda: Finishing(lambda x: x.softmax(dim=-1))))
    assert [each.id for each in examined(sure, "initial-loss").findings] == ["first-loss-too-high"]
    assert not examined(built(lambda: Finishing(lambda x: x.softmax(dim=-1))), "initial-loss").findings


# learning by heart


def test_a_sound_model_learns_a_few_images_by_heart() -> None:
    examination = examined(built(Small), "overfit")
    assert not examination.findings
    assert not examination.skipped


class BlindOfTen(Blind):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 10)


def test_the_loss_of_guessing_on_a_few_labels_is_told_beside_the_one_that_is_known() -> None:
    four, ten = (examined(built(kind), "overfit").findings[0].summary for kind in (Blind, BlindOfTen))
    assert "Guessing on these 32 labels gives 1.386: the scores" in four.en  # ln 4: eight of each class
    assert "ln 4" not in four.ja
    assert "Guessing on these 32 labels gives 2.295 (ln 10 = 2.303 is that of labels spread evenly" in ten.en
    assert "この32枚のラベルでは2.295。ラベルが全クラスに均等ならln 10 = 2.303" in ten.ja


@pytest.mark.parametrize(
    ("kind", "fault", "severity"),
    [
        (lambda: Finishing(lambda x: x.softmax(dim=-1)), "loss-stops-at-a-floor", "warning"),
        (lambda: Finishing(torch.tanh), "loss-stops-at-a-floor", "warning"),
        (Blind, "loss-stays-at-guessing", "warning"),
        (Cut, "nothing-learns", "error"),
        (Hard, "cannot-overfit", "warning"),
    ],
)
def test_where_the_loss_stops_is_named(kind: Callable[[], nn.Module], fault: str, severity: str) -> None:
    model = built(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    finding = examined(model, "overfit").findings[0]
    assert (finding.id, finding.severity) == (fault, severity)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    if "floor" in finding.evidence:
        assert finding.evidence["lowest_loss"] > finding.evidence["floor"] - 1e-3


class Fading(Small):
    """Batch norm keeps what its small convolutions give at a size; evaluation mode, at the start, does not."""

    def __init__(self) -> None:
        super().__init__()
        stem: list[nn.Module] = []
        for before in (3, 8, 8):
            conv = nn.Conv2d(before, 8, 3, padding=1, bias=False)
            nn.init.normal_(conv.weight, std=1e-3)
            stem += [conv, nn.BatchNorm2d(8), nn.ReLU()]
        self.embed = nn.Sequential(*stem, nn.Conv2d(8, 32, 4, 4))  # type: ignore[assignment]


def test_batch_norm_takes_the_statistics_of_the_batch() -> None:
    assert not examined(built(Fading), "overfit").findings


@pytest.mark.parametrize(("loss", "finish"), [("nll", lambda x: x.softmax(dim=-1)), ("bce", torch.sigmoid)])
def test_a_loss_of_its_own_is_the_one_it_is_trained_with(loss: str, finish: Callable[[Tensor], Tensor]) -> None:
    assert not examined(built(lambda: Finishing(finish)), "overfit", loss=loss).findings


def test_dropout_is_too_strong_where_training_mode_cannot_learn() -> None:
    finding = examined(built(lambda: Small(p=0.7)), "overfit").findings[0]
    assert (finding.id, finding.severity) == ("dropout-too-strong", "warning")
    assert finding.evidence["p"] == pytest.approx(0.7)
    assert not examined(built(lambda: Small(p=0.1)), "overfit").findings


def test_large_and_frozen_models_are_skipped() -> None:
    frozen = built(Small)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    assert "frozen" in examined(frozen, "overfit").skipped[0].why.en
    large = Small(dim=32)
    large.ballast = nn.Parameter(torch.zeros(5_000, 5_000))
    assert "--deep" in examined(large, "overfit").skipped[0].why.en


def test_losses_are_as_large_as_cross_entropy_and_guessing_counts_labels() -> None:
    scores, labels = torch.tensor([[2.0, -1.0, 0.0]]), torch.tensor([0])
    assert loss_of(scores, labels, None) == F.cross_entropy(scores, labels)
    assert loss_of(scores.softmax(-1), labels, "nll") == pytest.approx(float(F.cross_entropy(scores, labels)), rel=1e-5)
    assert loss_of(scores.log_softmax(-1), labels, "nll") == pytest.approx(float(F.cross_entropy(scores, labels)))
    assert float(loss_of(scores, labels, "bce")) == pytest.approx(
        float(loss_of(scores.sigmoid(), labels, "bce")), rel=1e-5
    )
    assert float(loss_of(scores, labels, "mse")) == 1 + 1
    assert guessing(torch.tensor([0, 1, 0, 1])) == pytest.approx(math.log(2))
    assert guessing(torch.tensor([3, 3])) == 0


@pytest.mark.parametrize("loss", ["mse", "bce-with-logits", "bce-of-probabilities", "cross-entropy"])
def test_guessing_is_the_lowest_loss_of_scores_that_are_all_alike(loss: str) -> None:
    labels = torch.arange(32) % 4
    alike = torch.full((1, 4), 0.25, dtype=torch.float64)
    alike = {"bce-with-logits": alike.logit(), "cross-entropy": alike.log()}.get(loss, alike)
    expected = guessing(labels, loss)
    assert float(loss_of(alike.expand(32, -1), labels, loss)) == pytest.approx(expected)
    for change in torch.eye(4, dtype=torch.float64) * 0.05:
        assert float(loss_of((alike + change).expand(32, -1), labels, loss)) > expected


@pytest.mark.parametrize("is_on", [False, True])
def test_a_model_with_an_autocast_of_its_own_trains_on_the_weights_of_each_step(is_on: bool) -> None:
    """Its cache of cast weights is emptied by the outermost autocast only, which the doctor's must not be."""
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
        with as_it_was():
            answers = []
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16):
                    answers.append(layer(x).float().detach())
                with torch.no_grad():
                    layer.weight.zero_()
        assert torch.is_autocast_enabled("cpu") is is_on
        assert torch.is_autocast_cache_enabled()
    assert not torch.equal(*answers)


def test_a_sigmoid_before_bce_with_logits_stops_at_the_floor_of_both() -> None:
    found = examined(Finishing(torch.sigmoid), "output", "overfit", loss="bce-with-logits")
    floor = next(each for each in found.findings if each.id == "loss-stops-at-a-floor")
    assert floor.folded_under == "sigmoid-applied-twice"
    assert floor.evidence["floor"] == pytest.approx(math.log(1 + math.exp(-1)) + 3 * math.log(2))
    assert floor.evidence["lowest_loss"] > floor.evidence["floor"]


class Scrambled(Small):
    """Patches that a reshape without a permute makes, and a finish."""

    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed, self.last = nn.Linear(48, 32), finish  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Any:
        x = self.embed(images.unfold(2, 4, 4).unfold(3, 4, 4).reshape(len(images), 16, 48)) + self.pos
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return self.last(self.head(self.norm(self.read(x + self.mlp(x)))))


def test_a_plateau_is_folded_under_the_fault_whose_floor_it_is() -> None:
    found = examined(Scrambled(lambda x: x.softmax(dim=-1)), "patch-layout", "output", "overfit", loss="cross-entropy")
    folded = {each.id: each.folded_under for each in found.findings}
    assert folded == {
        "patches-cut-wrong": None,
        "softmax-in-the-model": None,
        "loss-stops-at-a-floor": "softmax-in-the-model",
    }
