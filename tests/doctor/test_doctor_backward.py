"""A forward that runs and cannot be differentiated: nothing else would say that the model cannot be trained."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from sick_by_hand import OfCore
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


def divided_in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT * q.shape[-1] ** -0.5).exp()
    weights /= weights.sum(dim=-1, keepdim=True)
    return weights @ v


class Gated(nn.Module):
    """A gate that is written over before its sigmoid goes back through it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn, self.gate = nn.MultiheadAttention(dim, heads, batch_first=True), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        gate.mul_(self.attn(x, x, x, need_weights=False)[0])
        return gate


def of_frozen_parts() -> nn.Module:
    model = LinearHost(Gated)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("to_logits" in name)
    return model


def written_over_and_not_needed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT
    scores *= q.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ v


@pytest.mark.parametrize(
    "build",
    [partial(ConvHost, partial(OfCore, divided_in_place)), partial(LinearHost, Gated)],
    ids=["attention", "gate"],
)
def test_a_loss_that_cannot_be_differentiated_is_an_error(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    found = diagnose(build(), image_size=32, checks=["forward", "gradient"])
    assert [(each.id, each.severity) for each in found.findings] == [("backward-fails", "error")]
    assert "modified by an inplace operation" in found.findings[0].summary.en
    assert "modified by an inplace operation" in found.findings[0].summary.ja


@pytest.mark.parametrize(
    "build",
    [of_frozen_parts, partial(LinearHost, partial(OfCore, written_over_and_not_needed))],
    ids=["frozen", "not needed"],
)
def test_what_can_be_is_not_accused(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert not diagnose(build(), image_size=32, checks=["gradient"]).findings
