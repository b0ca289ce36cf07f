"""What a loss is, how large, and where it goes, in loops that hide it: scalers, class weights, several losses at a step, windows of a few batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import Parts, ViT, images_of, loader_of, parts, train
from watch_sick import sgd

import vitscope
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops

WEIGHTS = torch.linspace(0.5, 2, 10)


def watched_over(
    p: Parts, loss: Callable[[Tensor, Tensor], Tensor], *, scaler: torch.amp.GradScaler | None = None
) -> Watched:
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, enabled=scaler is not None):
                value = loss(p.model(images), labels)
            if scaler is None:
                value.backward()
                p.optimizer.step()
            else:
                scaler.scale(value).backward()
                scaler.step(p.optimizer)
                scaler.update()
    return watched


def ids(watched: Watched) -> list[str]:
    return [finding.id for finding in watched.findings]


def test_a_second_division_is_found_under_a_scaler() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    watched = watched_over(parts(optimizer=sgd()), lambda z, y: F.cross_entropy(z, y) / len(y), scaler=scaler)
    assert ids(watched) == ["loss-divided-twice"]


@pytest.mark.parametrize("divided", [True, False])
def test_a_second_division_is_found_under_class_weights(divided: bool) -> None:
    watched = watched_over(
        parts(optimizer=sgd()), lambda z, y: F.cross_entropy(z, y, weight=WEIGHTS) / (len(y) if divided else 1)
    )
    assert ids(watched) == (["loss-divided-twice"] if divided else [])


@pytest.mark.parametrize("divided", [True, False])
def test_a_second_division_is_found_where_some_labels_are_ignored(divided: bool) -> None:
    images, labels = images_of()
    labels[::4] = -100
    p = parts(loader=DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True), optimizer=sgd())
    watched = watched_over(p, lambda z, y: F.cross_entropy(z, y) / (len(y) if divided else 1))
    assert ids(watched) == (["loss-divided-twice"] if divided else [])


def test_autocast_inside_of_the_model_is_seen() -> None:
    class Inside(ViT):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.float16):
                return super().forward(x)

    watched = watched_over(parts(Inside()), F.cross_entropy)
    assert ids(watched) == ["fp16-without-a-scaler"]
    assert "%" not in watched.findings[0].summary.en or watched.findings[0].evidence["share_of_exact_zeros"] >= 1e-3


@pytest.mark.parametrize("lanes", ["nothing", "labels", "loss"])
def test_a_cross_entropy_of_probabilities_is_found_whoever_tells_the_labels(lanes: str) -> None:
    p = parts(ViT(final=nn.Softmax(-1)))
    assert p.loss is not None
    loader = p.loader if lanes == "labels" else None
    with vitscope.watch(p.model, p.optimizer, loader, loss_fn=p.loss if lanes == "loss" else None) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            p.loss(p.model(images), labels).backward()
            p.optimizer.step()
    assert "probabilities-into-cross-entropy" in ids(watched)


def test_what_the_loss_is_counts_as_examined_only_where_it_could_be_told() -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            (p.model(images) - F.one_hot(labels, 10)).square().mean().backward()
            p.optimizer.step()
    assert "loop-loss" not in watched.report.checks_run
    assert "loss_fn=" in next(skip.why.en for skip in watched.report.skipped if skip.check == "loop-loss")


@pytest.mark.parametrize(("every", "seen"), [(32, 20), (16, 12)])
def test_a_window_that_is_shorter_than_an_accumulated_batch_is_no_error(every: int, seen: int) -> None:
    p = parts(loader=loader_of(640))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for number, (images, labels) in enumerate(p.loader):
            if number == seen:
                break
            (F.cross_entropy(p.model(images), labels) / every).backward()
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("no-step", "note")


def test_several_losses_at_a_step_are_one() -> None:
    """A small penalty and a cross-entropy in turn are no loss that climbs."""
    p = parts(optimizer=lambda m: torch.optim.AdamW(m.parameters(), 1e-4, weight_decay=0.0))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for _ in range(3):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                penalty = 1e-5 * sum(q.square().sum() for q in p.model.parameters())
                penalty.backward()  # type: ignore[union-attr]
                F.cross_entropy(p.model(images), labels).backward()
                p.optimizer.step()
    assert not watched.findings, str(watched)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.5, 1e-3])
def test_a_rate_far_too_high_is_found_whatever_the_seed(seed: int, rate: float) -> None:
    p = parts()
    torch.manual_seed(seed)
    p.model = ViT(depth=2)
    p.optimizer = torch.optim.AdamW(p.model.parameters(), rate, weight_decay=0.0)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 2)
    assert ids(watched) == (["learning-rate-too-high"] if rate == 0.5 else [])


def run_with(loss: Callable[[Tensor, Tensor], Tensor], *, told: bool = True, epochs: int = 4) -> dict[str, str]:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader if told else None) as watched:
        for _ in range(epochs):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                loss(p.model(images), labels).backward()
                p.optimizer.step()
    return {finding.id: finding.severity for finding in watched.findings}


OF_SOFTMAX: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "functional": lambda scores, labels: F.cross_entropy(scores.softmax(-1), labels),
    "smoothed": lambda scores, labels: F.cross_entropy(torch.softmax(scores, 1), labels, label_smoothing=0.1),
    "by-hand": lambda scores, labels: F.nll_loss(F.softmax(scores, 1).log_softmax(1), labels),
}


@pytest.mark.parametrize("name", OF_SOFTMAX)
def test_a_softmax_in_the_loop_is_read_from_the_gradient(name: str) -> None:
    assert run_with(OF_SOFTMAX[name]) == {"probabilities-into-cross-entropy": "error"}


def focal(scores: Tensor, labels: Tensor) -> Tensor:
    each = F.cross_entropy(scores, labels, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def mixed(scores: Tensor, labels: Tensor) -> Tensor:
    target = 0.7 * F.one_hot(labels, scores.shape[1]).float() + 0.3 * F.one_hot(labels.flip(0), scores.shape[1]).float()
    return F.cross_entropy(scores, target)


@pytest.mark.parametrize(
    "loss",
    [
        focal,
        mixed,
        lambda scores, labels: F.cross_entropy(scores, labels, label_smoothing=0.3),
        lambda scores, labels: F.cross_entropy(scores, labels, weight=torch.linspace(0.2, 3.0, scores.shape[1])),
        lambda scores, labels: 1 - scores.softmax(-1).gather(1, labels[:, None]).mean(),
        lambda scores, labels: F.cross_entropy(scores / 4, labels),
        lambda scores, labels: F.binary_cross_entropy_with_logits(scores, F.one_hot(labels, scores.shape[1]).float()),
    ],
    ids=["focal", "mixed", "smoothed", "weighted", "robust", "tempered", "binary"],
)
def test_other_losses_are_not_taken_for_a_wrong_cross_entropy(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert not run_with(loss)
