"""What training mode does and evaluation mode does not: faults are named, and what is done in training on purpose is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import sick_training
import torch
import torch.nn.functional as F
from examined_sick import by_the_check_concerned, examined
from sick_case import Case
from test_doctor_forward import Small, built, found
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitscope import create_model
from vitscope.doctor.examine import diagnose

NAMES = {
    "batch-flipped": "scores-of-other-images-in-training",
    "batch-shuffled": "scores-of-other-images-in-training",
    "softmax-in-training": "softmax-in-training-only",
    "softmax-turned-round": "softmax-in-training-only",
    "detached-in-training": "training-leaves-out-parameters",
    "blocks-skipped-in-training": "training-leaves-out-parameters",
    "no-grad-in-training": "training-leaves-out-parameters",
    "moved-in-evaluation": "another-model-in-training",
    "other-pool-in-evaluation": "another-model-in-training",
    "attention-dropped": "dropout-of-everything",
    "fused-attention-dropped": "dropout-of-everything",
    "mha-dropped": "dropout-of-everything",
    "mlp-dropped": "more-dropped-than-kept",
    "mean-over-the-batch": "images-of-a-batch-meet",
    "one-mean-for-all": "images-of-a-batch-meet",
    "counts-its-calls": "state-kept-between-calls",
    "drifts": "state-kept-between-calls",
}


@pytest.mark.parametrize("case", sick_training.CASES, ids=lambda case: case.name)
def test_the_fault_is_named_and_no_other(case: Case) -> None:
    assert {each.id for each in by_the_check_concerned(case).findings} == {NAMES[case.name]}


@pytest.mark.parametrize(
    "case", [case for case in sick_training.CASES if case.mode == "M28"], ids=lambda case: case.name
)
def test_what_follows_the_calls_is_not_called_chance(case: Case) -> None:
    assert not examined(case, ["determinism"]).findings


# honest in training


class TwoHeads(Small):
    """DeiT: both heads in training, their mean in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Any:
        x = self.norm(self.pool(self.between(self.embed(images).flatten(2).transpose(1, 2))))
        one, two = self.head(x), self.other(x)
        return (one, two) if self.training else (one + two) / 2

    def between(self, x: Tensor) -> Tensor:
        return x + self.attns[0](x, x, x)[0]


class Mixing(Small):
    """Mixes each image with another, mostly with little of its own."""

    def enter(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        share = float(torch.rand(())) * 0.2
        return share * images + (1 - share) * images[torch.randperm(len(images))]


class GivingTheOrder(Small):
    """Shuffles, and says how."""

    def forward(self, images: Tensor) -> Any:
        if not self.training:
            return super().forward(images)
        order = torch.randperm(len(images))
        return super().forward(images[order]), order


class Skipping(Small):
    """Leaves its attention out now and then, by Python's numbers."""

    def forward(self, images: Tensor) -> Any:
        if self.training and random.random() < 0.5:
            x = self.embed(images).flatten(2).transpose(1, 2) + self.pos[:, 1:]
            return self.head(self.norm(self.pool(torch.cat([self.class_token(x) + self.pos[:, :1], x], dim=1))))
        return super().forward(images)


class DropPath(Small):
    """transformers' way, which scales what is kept."""

    def between(self, x: Tensor) -> Tensor:
        return x / 0.7 * torch.floor(0.7 + torch.rand(len(x), 1, 1, dtype=x.dtype)) if self.training else x


class KeepingSome(Small):
    def between(self, x: Tensor) -> Tensor:
        return x[:, torch.rand(x.shape[1]).argsort()[:4]] if self.training else x


class Masking(Small):
    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(16))

    def between(self, x: Tensor) -> Tensor:
        return torch.where(torch.rand(*x.shape[:2], 1) < 0.75, self.mask, x) if self.training else x


class AcrossInTraining(Small):
    """BatchFormer: images learn from one another in training."""

    def __init__(self) -> None:
        super().__init__()
        self.across = nn.MultiheadAttention(16, 2)

    def between(self, x: Tensor) -> Tensor:
        return x + self.across(x, x, x)[0] if self.training else x


class AskingForLabels(Small):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.training and labels is None:
            raise ValueError("labels are needed in training")
        return super().forward(x)


class Checkpointing(Small):
    def between(self, x: Tensor) -> Tensor:
        return checkpoint(nn.functional.gelu, x, use_reentrant=True) if self.training else nn.functional.gelu(x)


class Showing(Small):
    """Probabilities for people, scores for the loss."""

    def finish(self, scores: Tensor) -> Tensor:
        return scores if self.training else scores.softmax(dim=-1)


class Cooling(Small):
    def finish(self, scores: Tensor) -> Tensor:
        return scores / 4 if self.training else scores


class OwnBatchNorm(Small):
    """By hand: the batch's mean in training, the followed one in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))

    def between(self, x: Tensor) -> Tensor:
        if not self.training:
            return x - self.mean
        self.mean = self.mean.lerp(x.detach().mean(dim=(0, 1)), 0.1)
        return x - x.mean(dim=(0, 1))


class ByChance(Small):
    """Mixes tokens of two images: each comes from the one or the other."""

    def between(self, x: Tensor) -> Tensor:
        theirs = torch.empty(x.shape[1], 1).bernoulli_(0.9).bool()
        return torch.where(theirs, x[torch.randperm(len(x))], x) if self.training else x


class Normed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.bn = nn.BatchNorm1d(16), nn.Dropout(0.5)

    def between(self, x: Tensor) -> Tensor:
        return self.bn(x)


@pytest.mark.parametrize(
    "kind",
    [
        TwoHeads, Mixing, GivingTheOrder, Skipping, DropPath, KeepingSome, Masking,
        AcrossInTraining, AskingForLabels, Checkpointing, Showing, Cooling, OwnBatchNorm,
        ByChance, Normed,
    ],
)  # fmt: skip
def test_what_is_meant_for_training_is_no_fault(kind: Callable[[], nn.Module]) -> None:
    assert found(built(kind), "determinism", loss="cross-entropy") == {}


# dropout twice in a row


class InARow(Small):
    """What the layer has dropped out is dropped out again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16), nn.Dropout(0.2))

    def between(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.layer(x), 0.1, self.training)


class BesideEachOther(InARow):
    """Each of two takes what neither has dropped out."""

    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1, self.training) + F.dropout(x, 0.2, self.training)


class WithAPathDropped(InARow):
    """Dropout, then stochastic depth, as in timm."""

    def between(self, x: Tensor) -> Tensor:
        branch = self.layer(x)
        return x + (branch * torch.bernoulli(torch.full((len(x), 1, 1), 0.9)).to(x) if self.training else branch)


class ANormBetween(InARow):
    def between(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.norms[0](self.layer(x)), 0.1, self.training)


class NoneOfIt(InARow):
    """The second drops nothing."""

    def between(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.layer(x), 0.0, self.training)


def test_dropout_twice_in_a_row_is_a_note_with_what_both_drop() -> None:
    (note,) = diagnose(built(InARow), image_size=16, checks=["determinism"]).findings
    assert (note.id, note.severity) == ("dropout-twice", "note")
    assert note.evidence["places"] == [["layer.3", "the model"]]
    assert note.evidence["together"] == pytest.approx(0.28)
    assert "28 % of the numbers are dropped where one dropout says 20 %" in note.summary["en"]
    assert "モデル本体" in note.summary["ja"]


def test_vitscopes_own_dropout_is_seen_too() -> None:
    (note,) = diagnose(create_model("bad-vit:double-dropout"), image_size=32, checks=["determinism"]).findings
    assert note.evidence["together"] == pytest.approx(0.19)
    assert len(note.evidence["places"]) == 6


@pytest.mark.parametrize("kind", [BesideEachOther, WithAPathDropped, ANormBetween, NoneOfIt])
def test_dropouts_that_do_not_follow_each_other_are_left_alone(kind: Callable[[], nn.Module]) -> None:
    assert found(built(kind), "determinism") == {}
