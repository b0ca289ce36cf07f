"""Schedules in epochs that are stepped for each batch and last some epochs all the same; what looks like them and is meant."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler
from watch_healthy import per_batch, per_epoch
from watch_parts import loader_of, parts, step, train

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops

Make = Callable[[torch.optim.Optimizer], object]


def found(make: Make, images: int, *, epochs: int, run: Callable[..., None] = per_batch) -> list[Finding]:
    p = parts(loader=loader_of(images))
    p.scheduler = make(p.optimizer)
    with vitscope.watch(p.model, p.optimizer, p.loader, scheduler=p.scheduler) as watched:
        run(p, epochs)
    return list(watched.findings)


def cosine(period: float) -> Make:
    return lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.5 * (1 + math.cos(math.pi * t / period)))


IN_EPOCHS: dict[str, Make] = {
    "step": lambda o: lr_scheduler.StepLR(o, 8, 0.1),
    "half-a-step": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "three-milestones": lambda o: lr_scheduler.MultiStepLR(o, [10, 20, 25], 0.1),
    "two-milestones": lambda o: lr_scheduler.MultiStepLR(o, [7, 15], 0.1),
    "one-milestone": lambda o: lr_scheduler.MultiStepLR(o, [15], 0.1),
    "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.05, 13),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 13, power=0.5),
    "milestones-to-the-middle": lambda o: lr_scheduler.MultiStepLR(o, [9, 18, 30], 0.1),
    "warmed-up": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.StepLR(o, 7, 0.1)], [3]
    ),
}
IN_BATCHES: dict[str, Make] = {
    "step-an-epoch": lambda o: lr_scheduler.StepLR(o, 20, 0.1),
    "a-quarter": lambda o: lr_scheduler.StepLR(o, 15, 0.1),
    "exponential-to-a-ten-thousandth": lambda o: lr_scheduler.ExponentialLR(o, 1e-4 ** (1 / 60)),
    "exponential-to-a-thousandth": lambda o: lr_scheduler.ExponentialLR(o, 0.89),
    "half-and-three-quarters": lambda o: lr_scheduler.MultiStepLR(o, [30, 45], 0.1),
    "milestones-at-whole-epochs": lambda o: lr_scheduler.MultiStepLR(o, [20], 0.1),
    "linear-to-the-end": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.05, 60),
    "linear-warm-up": lambda o: lr_scheduler.LinearLR(o, 0.05, 1.0, 7),
    "a-rate-that-grows-once": lambda o: lr_scheduler.MultiStepLR(o, [7], 10.0),
    "three-late-milestones": lambda o: lr_scheduler.MultiStepLR(o, [20, 35, 50], 0.1),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 60),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 60),
}


@pytest.mark.parametrize("images", [160, 320])
@pytest.mark.parametrize("name", IN_EPOCHS)
def test_a_schedule_that_is_over_while_the_training_goes_on_is_found(name: str, images: int) -> None:
    (finding,) = found(IN_EPOCHS[name], images, epochs=960 // images)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "warning")


@pytest.mark.parametrize("images", [160, 320])
@pytest.mark.parametrize("name", IN_BATCHES)
def test_a_schedule_that_lasts_as_long_as_the_training_is_left_alone(name: str, images: int) -> None:
    assert not found(IN_BATCHES[name], images, epochs=960 // images)


@pytest.mark.parametrize("period", [5, 10])
def test_cycles_that_are_meant_are_left_alone(period: int) -> None:
    assert not found(cosine(period), 320, epochs=3)


def test_other_cosines_of_a_function_are_asked_after() -> None:
    (finding,) = found(cosine(8), 320, epochs=3)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "note")
    assert "whether that is meant" in finding.summary.en


CONSTANT_FIRST: dict[str, Make] = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 30),
    "decay": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
}


@pytest.mark.parametrize("name", CONSTANT_FIRST)
def test_a_schedule_that_may_begin_later_is_asked_after(name: str) -> None:
    """As `if epoch >= 10: scheduler.step()`."""
    (finding,) = found(CONSTANT_FIRST[name], 160, epochs=3, run=train)
    assert (finding.id, finding.severity) == ("scheduler-never-stepped", "note")
    assert "Where it is to begin later" in finding.summary.en
    assert "開始する意図なら問題ありません" in finding.summary.ja


WARM_UPS: dict[str, Make] = {
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.01, total_iters=5),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=100),
    "by-hand": lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, (t + 1) / 500)),
}


@pytest.mark.parametrize("name", WARM_UPS)
def test_a_warm_up_that_is_not_stepped_is_found(name: str) -> None:
    findings = {finding.id: finding.severity for finding in found(WARM_UPS[name], 160, epochs=2, run=train)}
    assert findings == {"scheduler-never-stepped": "warning"}


def test_a_schedule_that_is_constant_first_is_left_alone_where_it_is_stepped() -> None:
    assert not found(
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 1.0 if t < 10 else 0.9**t), 160, epochs=4, run=per_epoch
    )


@pytest.mark.parametrize("name", ["two-milestones", "one-milestone", "linear", "milestones-to-the-middle", "step"])
def test_the_same_schedules_are_left_alone_where_they_step_for_each_epoch(name: str) -> None:
    assert not found(IN_EPOCHS[name], 80, epochs=16, run=per_epoch)


def test_a_drop_within_the_first_epoch_is_seen_without_its_scheduler() -> None:
    p = parts(loader=loader_of(320))
    scheduler = lr_scheduler.MultiStepLR(p.optimizer, [5, 10])
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for _ in range(5):
            for images, labels in p.loader:
                step(p, images, labels)
                scheduler.step()
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "warning")


@pytest.mark.parametrize("make", [lambda o: lr_scheduler.ExponentialLR(o, 0.85), lambda o: lr_scheduler.StepLR(o, 6)])
def test_a_decay_that_will_soon_be_over_is_asked_after(make: Make) -> None:
    (finding,) = found(make, 320, epochs=1)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "note")
    assert "a thousandth" in finding.summary.en
    assert "千分の一" in finding.summary.ja
    assert not found(make, 320, epochs=1, run=per_epoch)


def test_a_cosine_that_ends_with_the_training_is_no_question() -> None:
    assert not found(lambda o: lr_scheduler.CosineAnnealingLR(o, 25), 80, epochs=25, run=per_epoch)


@pytest.mark.parametrize("size", [19, 15])
def test_steps_a_little_shorter_than_an_epoch_are_asked_after(size: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> object:
        return lr_scheduler.StepLR(optimizer, size, 0.1)

    (finding,) = found(make, 320, epochs=2)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "note")
    assert not found(lambda o: lr_scheduler.StepLR(o, 20, 0.1), 320, epochs=2)


LONG_IN_BATCHES: dict[str, Make] = {
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=1_500),
    "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=1_500),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 1_500),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [800, 1_300]),
    "warmed-up": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=20), lr_scheduler.PolynomialLR(o, 1_480)], [20]
    ),
}
LONG_IN_EPOCHS: dict[str, Make] = {
    "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=300),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 100),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [100, 150, 200]),
}


@pytest.mark.parametrize("name", LONG_IN_BATCHES)
def test_a_length_that_no_training_has_in_epochs_is_one_in_batches(name: str) -> None:
    (finding,) = found(LONG_IN_BATCHES[name], 80, epochs=3, run=per_epoch)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "warning")
    assert finding.evidence["length"] in (1_300, 1_500)


@pytest.mark.parametrize("name", LONG_IN_EPOCHS)
def test_a_length_that_trainings_have_in_epochs_is_left_alone(name: str) -> None:
    assert not found(LONG_IN_EPOCHS[name], 80, epochs=3, run=per_epoch)


@pytest.mark.parametrize("total", [15, 100, 300])
def test_a_one_cycle_that_may_be_meant_in_epochs_is_asked_after(total: int) -> None:
    """That the batches of an epoch divide it tells nothing sure."""
    (finding,) = found(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=total), 80, epochs=2, run=per_epoch)
    assert (finding.id, finding.severity) == ("scheduler-at-the-wrong-rate", "note")
    assert f"or are {total // 5} epochs meant, counted in batches?" in finding.summary.en
    assert not found(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=total), 112, epochs=2, run=per_epoch)
