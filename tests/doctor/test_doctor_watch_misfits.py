"""Losses that the loop gives squashed scores, told by the gradient that they leave; honest losses, of which some leave nearly the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watch_parts import Pooled, ViT, parts

import vitscope
from vitscope.doctor.loop.fit import fitted
from vitscope.doctor.loop.misfits import MISFITS, UNCLEAR
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops

Loss = Callable[[Tensor, Tensor], Tensor]


def hot(scores: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, scores.shape[1]).to(scores)


def focal(z: Tensor, y: Tensor) -> Tensor:
    log_p = z.log_softmax(1).gather(1, y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def generalised(z: Tensor, y: Tensor) -> Tensor:
    return ((1 - z.softmax(1).gather(1, y[:, None]) ** 0.7) / 0.7).mean()


def poly(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y) + (1 - z.softmax(1).gather(1, y[:, None])).mean()


SICK: dict[str, Loss] = {
    "cross_entropy(sigmoid)": lambda z, y: F.cross_entropy(z.sigmoid(), y),
    "cross_entropy(tanh)": lambda z, y: F.cross_entropy(z.tanh(), y),
    "binary_cross_entropy_with_logits(sigmoid)": lambda z, y: F.binary_cross_entropy_with_logits(
        z.sigmoid(), hot(z, y)
    ),
    "binary_cross_entropy_with_logits(softmax)": lambda z, y: F.binary_cross_entropy_with_logits(
        z.softmax(1), hot(z, y)
    ),
    "nll_loss(softmax)": lambda z, y: F.nll_loss(z.softmax(1), y),
}
HONEST: dict[str, Loss] = {
    "cross-entropy": F.cross_entropy,
    "smoothed": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
    "temperature": lambda z, y: F.cross_entropy(z / 4, y),
    "logit-scale": lambda z, y: F.cross_entropy(3.3 * z, y),
    "soft-capped": lambda z, y: F.cross_entropy(5 * (z / 5).tanh(), y),
    "binary": lambda z, y: F.binary_cross_entropy_with_logits(z, hot(z, y)),
    "binary-weighted": lambda z, y: F.binary_cross_entropy_with_logits(z, hot(z, y), pos_weight=torch.tensor(3.0)),
    "binary-smoothed": lambda z, y: F.binary_cross_entropy_with_logits(z, 0.9 * hot(z, y) + 0.01),
    "brier": lambda z, y: F.mse_loss(z.softmax(1), hot(z, y)),
    "squared": lambda z, y: F.mse_loss(z, hot(z, y)),
    "squared-sigmoid": lambda z, y: F.mse_loss(z.sigmoid(), hot(z, y)),
    "squared-tanh": lambda z, y: F.mse_loss(z.tanh(), 2 * hot(z, y) - 1),
    "focal": focal,
    "generalised": generalised,
    "poly": poly,
    "margin": F.multi_margin_loss,
    "huber": lambda z, y: F.smooth_l1_loss(z, hot(z, y)),
    "distilled": lambda z, y: F.kl_div(
        z.log_softmax(1), (2 * hot(z, y) + z.detach().roll(1, 0)).softmax(1), reduction="batchmean"
    ),
    "mixed": lambda z, y: 0.7 * F.cross_entropy(z, y) + 0.3 * F.cross_entropy(z, y.flip(0)),
}


def named(loss: Loss, spread: float, classes: int, seed: int) -> str:
    generator = torch.Generator().manual_seed(seed)
    scores = (spread * torch.randn(16, classes, generator=generator)).requires_grad_(True)
    labels = torch.randint(classes, (16,), generator=generator)
    (gradient,) = torch.autograd.grad(loss(scores, labels), scores)
    fit = fitted(scores.detach(), gradient, labels, scale=1.0)
    assert fit is not None
    return fit.misfit


@pytest.mark.parametrize("classes", [2, 3, 4, 10, 100])
@pytest.mark.parametrize("name", HONEST)
def test_honest_losses_are_no_misfit(name: str, classes: int) -> None:
    for spread in (0.05, 0.3, 1.0, 3.0):
        assert {named(HONEST[name], spread, classes, seed) for seed in range(3)} <= {"", UNCLEAR}, spread


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("name", SICK)
def test_misfits_are_told_by_their_gradient(name: str, classes: int) -> None:
    assert set(MISFITS) == set(SICK)
    assert {named(SICK[name], spread, classes, seed) for seed in range(3) for spread in (1.0, 3.0)} == {name}


def watched(loss: Loss, model: nn.Module) -> Watched:
    p = parts(model)
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for _ in range(4):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                loss(p.model(images), labels).backward()
                p.optimizer.step()
    return seen


@pytest.mark.parametrize("make", [ViT, Pooled])
@pytest.mark.parametrize("name", SICK)
def test_losses_of_squashed_scores_are_found(name: str, make: Callable[[], nn.Module]) -> None:
    (finding,) = watched(SICK[name], make()).findings
    is_raw = name.startswith("nll")
    assert finding.id == ("scores-into-nll-loss" if is_raw else "probabilities-into-cross-entropy")
    assert finding.severity == ("warning" if is_raw or "tanh" in name else "error")


def test_the_mean_absolute_error_of_the_probability_is_a_loss_of_its_own() -> None:
    seen = watched(lambda z, y: 1 - z.softmax(1).gather(1, y[:, None]).mean(), ViT())
    assert not seen.findings


def test_a_loss_that_is_not_known_is_said_not_to_be() -> None:
    seen = watched(generalised, ViT())
    assert not seen.findings
    (skip,) = [each for each in seen.report.skipped if each.check == "loop-loss"]
    assert "was not recognised" in skip.why.en
    assert "判別できなかった" in skip.why.ja
    assert "loop-loss" not in seen.report.checks_run
