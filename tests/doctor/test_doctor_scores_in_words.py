"""What is said of scores fits the numbers beside it: the first loss of probabilities, scores of which few are large, what stands behind the head."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_doctor_forward import Finishing, Small, built, examined
from torch import Tensor, nn

from vitscope.doctor.finding import Finding


def first_loss(model: nn.Module) -> Finding:
    (finding,) = examined(model, "initial-loss").findings
    assert finding.id == "first-loss-too-high"
    return finding


def loud(model: nn.Module) -> nn.Module:
    nn.init.normal_(model.get_parameter("head.weight"), std=2.0)
    return model


def normalised(x: Tensor) -> Tensor:
    return (x - x.amax(-1, keepdim=True)).exp() / (x - x.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True)


@pytest.mark.parametrize("finish", [lambda x: x.softmax(dim=-1), normalised])
def test_of_probabilities_both_losses_are_told(finish: Callable[[Tensor], Tensor]) -> None:
    finding = first_loss(loud(built(lambda: Finishing(finish, classes=10))))
    said = finding.summary["en"]
    as_they_are = float(said.split("as they are is ")[1].split(" ")[0])
    assert math.log(10) < as_they_are < math.log(math.e + 9), "no cross-entropy of probabilities is above that"
    assert "-ln p" in said
    assert "-ln p" in finding.summary["ja"]
    assert finding.evidence["spread_of_scores"] > 1, "of the logarithms, which are what is sure"


def test_scores_of_which_one_is_large_are_not_called_spread() -> None:
    def one_large(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] + 12, x[:, 1:]], dim=1)

    said = first_loss(built(lambda: Finishing(one_large, classes=1000))).summary["en"]
    assert "standard deviation" not in said
    assert "is 12 over their mean" in said


def test_free_scores_are_told_of_as_before() -> None:
    said = first_loss(loud(built(Small))).summary["en"]
    assert said.startswith("The first loss is ")
    assert "standard deviation" in said


def long_one(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def scaled_by_hand(x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    ("finish", "fault", "left_out", "ja"),
    [
        (torch.tanh, "bounded-scores", "tanh", "tanh は不要"),
        (lambda x: F.layer_norm(x, x.shape[-1:]), "bounded-scores", "LayerNorm", "LayerNorm は不要"),
        (lambda x: F.rms_norm(x, x.shape[-1:]), "bounded-scores", "normalisation", "正規化は不要"),
        (lambda x: x.clamp(-1, 1), "bounded-scores", "clamp", "clamp は不要"),
        (lambda x: x.softmax(-1) * 2, "bounded-scores", "softmax", "softmax は不要"),
        (long_one, "bounded-scores", "normalisation", "正規化は不要"),
        (scaled_by_hand, "bounded-scores", "normalisation", "正規化は不要"),
        (lambda x: x.atan(), "bounded-scores", "", ""),
        (torch.relu, "rectified-scores", "ReLU", "ReLU は不要"),
        (F.gelu, "rectified-scores", "GELU", "GELU は不要"),
        (F.silu, "rectified-scores", "SiLU", "SiLU は不要"),
        (lambda x: -F.relu(-x), "rectified-scores", "ReLU", "ReLU は不要"),
    ],
)
def test_the_fix_leaves_out_what_stands_there(
    finish: Callable[[Tensor], Tensor], fault: str, left_out: str, ja: str
) -> None:
    (finding,) = examined(built(lambda: Finishing(finish, classes=10)), "output").findings
    assert finding.id == fault
    assert finding.fault.code == "return self.head(x)" + (f"   # no {left_out}" if left_out else "")
    assert finding.to_dict("ja")["code"] == "return self.head(x)" + (f"   # {ja}" if ja else "")
