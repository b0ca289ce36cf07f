"""Scores that lose the axis of a batch of one are an error, and no other check is lost for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from healthy_hosts import Host
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations


class Squeezed(Host):
    def read(self, tokens: Tensor) -> Tensor:
        return super().read(tokens).squeeze()


class SqueezedWhereItIsOne(Host):
    """By hand, behind a mean over the patches."""

    def read(self, tokens: Tensor) -> Tensor:
        scores = self.head(tokens[:, 1:].mean(dim=1))
        return scores[0] if len(scores) == 1 else scores


CHECKS = ["forward", "patch-layout", "token-mixing", "attention", "residual", "parameters", "batch-independence"]


def examined(model: nn.Module) -> Any:
    return diagnose(model, image_size=32, checks=CHECKS)


@pytest.mark.parametrize("kind", [Squeezed, SqueezedWhereItIsOne])
def test_scores_without_the_axis_of_the_batch_cost_no_other_check(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind()
    found = examined(model)
    errors = [each for each in found.findings if each.severity == "error"]
    assert [each.id for each in errors] == ["works-only-at-some-batch-sizes"]
    assert errors[0].evidence["fails_at"] == [1]
    assert found.not_made == ()
    assert not model._forward_hooks


def test_a_sound_model_says_nothing_of_it() -> None:
    torch.manual_seed(0)
    found = examined(Host())
    assert [each.id for each in found.findings if each.check == "forward"] == []
