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

pytestmark = pytest.mark.e2e  # whole loops


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
    assert "jumps" in finding.summary.en  # it does not end higher than it began
    assert "跳ね上がって" in finding.summary.ja


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


def stuck(make: Callable[[], Parts], *, steps: int = 24, clip: float = 0.0) -> Watched:
    """Labels that cannot be learned: the loss stays at that of guessing, whatever the rate."""
    torch.manual_seed(0)
    p = make()
    images, generator = images_of(160)[0], torch.Generator().manual_seed(5)
    with vitscope.watch(p.model, p.optimizer) as watched:
        for number in range(steps):
            batch = images[16 * (number % 10) : 16 * (number % 10 + 1)]
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(batch), torch.randint(CLASSES, (len(batch),), generator=generator)).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(p.model.parameters(), clip)
            p.optimizer.step()
    return watched


def plain(rate: float, kind: type[torch.optim.Optimizer] = torch.optim.AdamW) -> Callable[[], Parts]:
    return lambda: parts(optimizer=lambda m: kind(m.parameters(), lr=rate, weight_decay=0.0))  # type: ignore[call-arg]


class Mean(nn.Module):
    """No token of its own, a head that begins at zero, weights as ViTs have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 4)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
        self.blocks, self.norm, self.head = nn.TransformerEncoder(layer, 3), nn.LayerNorm(32), nn.Linear(32, CLASSES)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x).flatten(2).transpose(1, 2))).mean(1))


TOO_LARGE: dict[str, Callable[[], Parts]] = {
    "adamw": plain(0.05),
    "adam-warmed": plain(0.03, torch.optim.Adam),
    "zero-head": lambda: parts(Mean(), lambda m: torch.optim.AdamW(m.parameters(), 0.03, weight_decay=0.0)),
    "sgd": lambda: parts(Mean(), lambda m: torch.optim.SGD(m.parameters(), 20.0)),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_loss_that_never_leaves_guessing_at_steps_as_large_as_the_weights_is_found(name: str) -> None:
    watched = stuck(TOO_LARGE[name], clip=1.0 if name == "sgd" else 0.0)
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("learning-rate-too-high", "warning"), str(watched)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 5e-3])
@pytest.mark.parametrize("is_mean", [False, True])
def test_a_loss_that_has_not_left_guessing_yet_is_left_alone(rate: float, is_mean: bool) -> None:
    assert not stuck(
        lambda: parts(Mean() if is_mean else None, lambda m: torch.optim.AdamW(m.parameters(), rate, weight_decay=0.0)),
        steps=40,
    ).findings


def test_large_steps_of_a_few_numbers_or_in_the_first_steps_are_left_alone() -> None:
    """A head alone at a large rate; a block that ends after some steps."""

    def head() -> Parts:
        model = ViT()
        model.requires_grad_(False)
        model.head.requires_grad_(True)
        return parts(model, lambda m: torch.optim.AdamW(m.head.parameters(), 0.05, weight_decay=0.0))  # type: ignore[union-attr]

    assert not stuck(head).findings
    assert not stuck(plain(0.03), steps=8).findings
