"""Every healthy model works: an accusation of one that does not would prove nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from healthy_case import Healthy, all_cases
from torch import Tensor, nn

pytestmark = pytest.mark.e2e  # proves the tests' own models: not for every unit test run

CASES = all_cases()


def built(case: Healthy) -> nn.Module:
    """With the start values of seed 0; the test is skipped where the library is not installed."""
    torch.manual_seed(0)
    try:
        return case.build()
    except ModuleNotFoundError as absent:
        pytest.skip(f"{case.name}: {absent}")


def scores_of(out: Any, case: Healthy) -> Tensor:
    """The first tensor of two images by the classes in what came out."""
    if isinstance(out, Tensor):
        return out
    values = out.values() if isinstance(out, Mapping) else out
    return next(each for each in values if isinstance(each, Tensor) and each.shape == (2, case.classes))


def images(case: Healthy) -> Tensor:
    size = (2, case.channels, case.image_size, case.image_size)
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_images_give_finite_scores_and_gradients(case: Healthy) -> None:
    model = built(case)
    for training in (False, True):
        scores = scores_of(model.train(training)(images(case)), case)
        assert scores.shape == (2, case.classes)
        assert scores.isfinite().all()
    loss = F.nll_loss if case.loss == "nll" else F.cross_entropy
    loss(scores, torch.tensor([0, 1])).backward()
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    assert gradients
    assert all(each.isfinite().all() for each in gradients)


@pytest.mark.parametrize("case", [case for case in CASES if case.quick], ids=lambda case: case.name)
def test_the_quick_ones_need_no_other_library_and_little_time(case: Healthy) -> None:
    model, x = built(case), images(case)
    assert case.library in ("by hand", "vitscope")
    model(x)
    start = time.perf_counter()
    model(x.repeat(4, 1, 1, 1))
    assert time.perf_counter() - start < 1


def test_names_are_told_apart() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert 12 <= sum(case.quick for case in CASES) <= 24
    assert all(case.name.startswith(case.library) for case in CASES)
