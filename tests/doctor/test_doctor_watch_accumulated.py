"""What 'the loss' of a step is where several backwards go into it, and what is said where their losses were not divided."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from watch_parts import ViT, loader_of, parts
from watch_sick import sgd

import vitscope
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops


def watched(
    make: Callable[[nn.Module], torch.optim.Optimizer], every: int, share: float, model: nn.Module | None = None
) -> tuple[Watched, list[float]]:
    p, losses = parts(model, make, loader=loader_of(640)), []
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for _ in range(2):
            for number, (images, labels) in enumerate(p.loader):
                loss = F.cross_entropy(p.model(images), labels)
                (loss * share).backward()
                losses.append(loss.item())
                if number % every == every - 1:
                    p.optimizer.step()
                    p.optimizer.zero_grad()
    return seen, losses


@pytest.mark.parametrize("every", [4, 8])
@pytest.mark.parametrize("depth", [1, 2])
def test_losses_of_several_batches_are_told_as_their_mean_and_as_a_cause(every: int, depth: int) -> None:
    seen, losses = watched(sgd(0.4, momentum=0.9), every, 1.0, ViT(depth=depth))
    (finding,) = [each for each in seen.findings if each.id == "learning-rate-too-high"]
    assert finding.evidence["peak"] <= max(losses)
    assert f"as the mean of the {every} batches of a step" in finding.summary.en
    assert f"each step is {every} times as large" in finding.summary.en
    assert f"{every}倍" in finding.summary.ja
    assert finding.fault.advice.en.startswith("divide the loss")


def test_the_same_cause_is_told_where_the_loss_ends_as_no_number() -> None:
    (finding,) = watched(sgd(0.6, momentum=0.9), 4, 1.0)[0].findings
    assert finding.id == "loss-not-finite"
    assert "each step is 4 times as large" in finding.summary.en


def test_losses_that_were_divided_are_no_cause() -> None:
    seen, _ = watched(sgd(20.0), 4, 0.25)
    (finding,) = [each for each in seen.findings if each.id in ("learning-rate-too-high", "loss-not-finite")]
    assert "as large" not in finding.summary.en


@pytest.mark.parametrize("every", [4, 8])
def test_sums_that_train_are_left_alone(every: int) -> None:
    assert not watched(sgd(0.01, momentum=0.0), every, 1.0)[0].findings


def scaled(clip: float | None, *, growth: int, rate: float) -> tuple[Watched, list[float]]:
    """The scale grows until a step is skipped, again and again."""
    p, losses = parts(optimizer=sgd(rate, momentum=0.0)), []
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**17, growth_interval=growth)
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for _ in range(6):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    loss = F.cross_entropy(p.model(images), labels)
                scaler.scale(loss).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(p.model.parameters(), clip)
                scaler.step(p.optimizer)
                scaler.update()
                losses.append(loss.item())
    return seen, losses


@pytest.mark.parametrize("growth", [6, 20])
def test_losses_of_a_step_that_was_skipped_are_not_added_to_the_next(growth: int) -> None:
    seen, losses = scaled(1.0, growth=growth, rate=0.05)
    assert seen.report.facts["steps"] < len(losses)
    (cause,) = seen.report.causes
    assert cause.id == "gradients-clipped-to-nothing"
    assert {each.id: each.folded_under for each in seen.findings if each is not cause} in (
        {},
        {"loss-does-not-move": "gradients-clipped-to-nothing"},
    )
    assert not scaled(None, growth=growth, rate=0.05)[0].findings
