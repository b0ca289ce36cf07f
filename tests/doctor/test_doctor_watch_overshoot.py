"""A learning rate that is far too high: first steps that overshoot, also where the loss comes back, and where no loader tells the labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watch_parts import CLASSES, Parts, ViT, images_of, loader_of, parts

import vitscope
from vitscope.doctor.loop.fit import fitted, labels_in
from vitscope.doctor.loop.watch import Watched


def adam(rate: float, seed: int, *, large: bool = True, told: bool = True, **others: float) -> Watched:
    torch.manual_seed(seed)
    model = ViT(64, depth=4) if large else ViT(depth=2)
    loader = loader_of(seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0)
    with vitscope.watch(model, optimizer, loader if told else None) as watched:
        for _ in range(3):
            for images, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(images), labels, **others).backward()  # type: ignore[arg-type]
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    return watched


def severities(watched: Watched) -> dict[str, str]:
    return {finding.id: finding.severity for finding in watched.findings}


@pytest.mark.parametrize("told", [True, False])
def test_steps_that_overshoot_and_stay_are_a_warning_whoever_tells_the_labels(told: bool) -> None:
    for seed in range(3):
        assert severities(adam(0.3, seed, told=told)) == {"learning-rate-too-high": "warning"}
    assert severities(adam(0.3, 0, told=told, label_smoothing=0.1)) == {"learning-rate-too-high": "warning"}


def test_what_comes_back_is_asked_after() -> None:
    watched = adam(0.1, 2)
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("learning-rate-too-high", "note")
    assert "came back" in finding.fault.why.en
    assert "回復" in finding.fault.why.ja
    assert finding.evidence["peak"] > 6


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 1e-2, 3e-2])
@pytest.mark.parametrize("large", [False, True])
def test_rates_that_train_are_left_alone(rate: float, large: bool) -> None:
    for seed in range(2):
        assert not severities(adam(rate, seed, large=large, told=bool(seed)))


def runs(p: Parts, loss: Callable[[Tensor, Tensor, int], Tensor], *, told: bool) -> Watched:
    with vitscope.watch(p.model, p.optimizer, p.loader if told else None) as watched:
        number = 0
        for _ in range(3):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                loss(p.model(images), labels, number).backward()
                p.optimizer.step()
                number += 1
    return watched


@pytest.mark.parametrize("told", [True, False])
def test_a_loss_that_rises_for_another_reason_is_no_overshoot(told: bool) -> None:
    """A term that is ramped up; labels that change once they are learned."""

    def ramped(scores: Tensor, labels: Tensor, number: int) -> Tensor:
        return F.cross_entropy(scores, labels) + 0.5 * number * (scores.detach() * 0 + 1).mean()

    def others(scores: Tensor, labels: Tensor, number: int) -> Tensor:
        return F.cross_entropy(scores, labels if number < 20 else (labels + 1) % CLASSES)

    for loss in (ramped, others):
        for severity in severities(runs(parts(), loss, told=told)).values():
            assert severity == "note"


def test_the_labels_stand_in_the_gradient() -> None:
    images, labels = images_of(32)
    scores = nn.Linear(768, CLASSES)(images.flatten(1)).detach().requires_grad_()
    labels[3] = -100
    for smoothing in (0.0, 0.2):
        scores.grad = None
        F.cross_entropy(scores, labels, label_smoothing=smoothing).backward()
        assert scores.grad is not None
        told = labels_in(scores.grad)
        assert told.tolist() == [max(int(label), -1) for label in labels]
        fit = fitted(scores.detach(), scores.grad, told, scale=1.0)
        assert fit is not None
        assert fit.is_cross_entropy
        assert fit.smoothing == pytest.approx(smoothing, abs=1e-3)


@pytest.mark.parametrize("kind", ["mse", "bce", "mixed", "distilled"])
def test_no_labels_are_read_into_other_losses(kind: str) -> None:
    torch.manual_seed(0)
    scores = torch.randn(32, CLASSES, requires_grad=True)
    target = F.one_hot(torch.randint(CLASSES, (32,)), CLASSES).float()
    mixed = 0.6 * target + 0.4 * target.flip(0)
    loss = {
        "mse": lambda: F.mse_loss(scores, target),
        "bce": lambda: F.binary_cross_entropy_with_logits(scores, target),
        "mixed": lambda: F.cross_entropy(scores, mixed),
        "distilled": lambda: F.cross_entropy(scores, torch.randn(32, CLASSES).softmax(-1)),
    }[kind]()
    loss.backward()
    assert scores.grad is not None
    fit = fitted(scores.detach(), scores.grad, labels_in(scores.grad), scale=1.0)
    assert fit is None or not fit.is_cross_entropy
