"""What a hostile reader of the loop's checks brought: honest loops that were accused, and faults that were missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import CLASSES, Parts, ViT, loader_of, parts, step, train
from watch_sick import scheduled, sgd

import vitscope
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops


def watched_over(p: Parts, run: Callable[[Parts], None]) -> Watched:
    with vitscope.watch(
        p.model, p.optimizer, p.loader, loss_fn=p.loss, scheduler=p.scheduler, val_loader=p.val
    ) as watched:
        run(p)
    return watched


def severities(watched: Watched) -> dict[str, str]:
    return {finding.id: finding.severity for finding in watched.findings}


# the order of the images


class Identities(torch.utils.data.Sampler[list[int]]):
    """Some images of each of some classes in a batch, in runs; the classes are drawn for each batch."""

    def __init__(self, labels: Tensor, classes: int, images: int, batches: int) -> None:
        self.labels, self.classes, self.images, self.batches = labels, classes, images, batches

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.batches):
            drawn = torch.randperm(int(self.labels.max()) + 1)[: self.classes].tolist()
            of = [torch.nonzero(self.labels == each)[:, 0] for each in drawn]
            yield [int(i) for one in of for i in one[torch.randperm(len(one))[: self.images]]]

    def __len__(self) -> int:
        return self.batches


def identities(count: int, classes: int, images: int, batches: int) -> Parts:
    labels = torch.arange(count).repeat(2 * images)
    torch.manual_seed(0)
    pictures = torch.randn(count, 3, 1, 1)[labels] + 0.3 * torch.randn(len(labels), 3, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, count))
    sampler = Identities(labels, classes, images, batches)
    return parts(model, sgd(0.01), loader=DataLoader(TensorDataset(pictures, labels), batch_sampler=sampler))


@pytest.mark.parametrize(
    ("count", "classes", "images", "batches"), [(751, 16, 4, 20), (100, 4, 8, 20), (200, 16, 4, 8)]
)
def test_identities_in_runs_are_no_sorted_set(count: int, classes: int, images: int, batches: int) -> None:
    watched = watched_over(identities(count, classes, images, batches), lambda p: train(p, 2))
    assert "batches-sorted-by-class" not in severities(watched), str(watched)


def test_a_sorted_set_of_small_classes_is_found() -> None:
    labels = torch.arange(60).repeat_interleave(8)
    pictures = torch.randn(len(labels), 3, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 60))
    shuffled = torch.randperm(60)[labels]
    for of, size in ((labels, 32), (shuffled, 30)):
        p = parts(model, sgd(0.01), loader=DataLoader(TensorDataset(pictures, of), batch_size=size))
        assert severities(watched_over(p, train))["batches-sorted-by-class"] == "error"


def begins_anew(p: Parts) -> None:
    for _ in range(30):
        images, labels = next(iter(p.loader))
        step(p, images, labels)


def test_a_loader_that_is_begun_anew_at_each_step_is_found() -> None:
    watched = watched_over(parts(loader=loader_of(shuffle=False)), begins_anew)
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("same-order-in-every-epoch", "warning")
    assert "30 times" in finding.summary.en
    assert not watched_over(parts(), begins_anew).findings


def test_one_loader_for_both_is_found() -> None:
    p = parts()
    p.val = p.loader
    assert severities(watched_over(p, train)) == {"validation-loader-is-the-training-loader": "warning"}


# where the loss goes


def good() -> Parts:
    p = parts()
    train(p, 8)
    return p


def mixup_from_the_second_epoch(p: Parts) -> None:
    for epoch in range(4):
        for images, labels in p.loader:
            other, kept = torch.randperm(len(labels)), 1.0 if epoch == 0 else float(torch.rand(()) * 0.6 + 0.2)
            scores = p.model(kept * images + (1 - kept) * images[other])
            loss = kept * F.cross_entropy(scores, labels) + (1 - kept) * F.cross_entropy(scores, labels[other])
            p.optimizer.zero_grad()
            loss.backward()
            p.optimizer.step()


def ramped_term(p: Parts) -> None:
    assert isinstance(p.model, ViT)
    for number, (images, labels) in enumerate(batch for _ in range(5) for batch in p.loader):
        p.optimizer.zero_grad()
        loss = F.cross_entropy(p.model(images), labels)
        (loss + min(1, number / 30) * 2 * p.model.features(images).square().mean()).backward()
        p.optimizer.step()


def other_objective(p: Parts) -> None:
    """No cross-entropy on the loader's labels, and one that grows: nobody knows whether that is meant."""
    for number, (images, _labels) in enumerate(batch for _ in range(4) for batch in p.loader):
        p.optimizer.zero_grad()
        ((1 + number) * (p.model(images) - 1).square().mean() + number / 10).backward()
        p.optimizer.step()


def other_labels_late(p: Parts) -> None:
    for epoch in range(15):
        for images, labels in p.loader:
            step(p, images, labels if epoch < 10 else torch.randint_like(labels, CLASSES))


@pytest.mark.parametrize(
    ("make", "run", "is_note"),
    [
        (good, mixup_from_the_second_epoch, False),
        (parts, ramped_term, False),
        (parts, other_objective, True),
        (parts, other_labels_late, True),
    ],
)
def test_a_loss_that_climbs_for_another_reason_is_no_rate_that_is_too_high(
    make: Callable[[], Parts], run: Callable[[Parts], None], is_note: bool
) -> None:
    watched = watched_over(make(), run)
    losses = watched.report.facts["losses"]
    assert max(losses[10:]) > 1.3 * min(losses[:10]), losses  # it does climb
    assert severities(watched) == ({"learning-rate-too-high": "note"} if is_note else {}), str(watched)


def test_a_loss_that_climbs_under_a_warm_up_is_a_rate_that_is_too_high() -> None:
    p = parts(ViT(depth=2), lambda m: torch.optim.AdamW(m.parameters(), 1e-3, weight_decay=0.0))

    def run(p: Parts) -> None:
        for number, (images, labels) in enumerate(batch for _ in range(5) for batch in p.loader):
            for group in p.optimizer.param_groups:
                group["lr"] = min(1.0, 1e-3 * 1.5 ** max(0, number - 12))
            step(p, images, labels)

    assert severities(watched_over(p, run))["learning-rate-too-high"] == "warning"


# what the loss is


@pytest.mark.parametrize("is_given", [True, False])
def test_a_softmax_in_the_loop_is_found(is_given: bool) -> None:
    def run(p: Parts) -> None:
        assert p.loss is not None
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            scores = p.model(images)
            p.loss(scores.softmax(1) if is_given else 2 * scores, labels).backward()
            p.optimizer.step()

    watched = watched_over(parts(), run)
    assert severities(watched) == ({"probabilities-into-cross-entropy": "error"} if is_given else {})
    assert not is_given or watched.findings[0].summary.en.startswith("The loss is a cross-entropy and is given")


def test_soft_targets_are_no_probabilities_into_the_loss() -> None:
    def run(p: Parts) -> None:
        assert p.loss is not None
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            p.loss(p.model(images), F.one_hot(labels, CLASSES) * 0.9 + 0.1 / CLASSES).backward()
            p.optimizer.step()

    assert not watched_over(parts(), run).findings


@pytest.mark.parametrize(("images", "severity"), [(160, "note"), (208, "warning")])
def test_a_loss_over_the_batches_of_an_epoch_is_found(images: int, severity: str) -> None:
    def run(p: Parts) -> None:
        for _ in range(2):
            for pictures, labels in p.loader:
                p.optimizer.zero_grad()
                (F.cross_entropy(p.model(pictures), labels) / len(p.loader)).backward()
                p.optimizer.step()

    watched = watched_over(parts(optimizer=sgd(), loader=loader_of(images)), run)
    assert severities(watched) == {"loss-divided-twice": severity}
    assert f"1/{images // 16}" in watched.findings[0].summary.en


def test_an_epoch_that_is_one_step_may_be_divided_by_its_batches() -> None:
    def run(p: Parts) -> None:
        for _ in range(5):
            for images, labels in p.loader:
                (F.cross_entropy(p.model(images), labels) / len(p.loader)).backward()
            p.optimizer.step()
            p.optimizer.zero_grad()

    assert not watched_over(parts(optimizer=sgd()), run).findings


# gradients under a scaler


@pytest.mark.parametrize("unscales", [True, False])
def test_clipping_before_the_gradients_are_unscaled_is_found(unscales: bool) -> None:
    def run(p: Parts) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            scaler.scale(F.cross_entropy(p.model(images), labels)).backward()
            if unscales:
                scaler.unscale_(p.optimizer)
            nn.utils.clip_grad_norm_(p.model.parameters(), 1.0)
            scaler.step(p.optimizer)
            scaler.update()

    watched = watched_over(parts(optimizer=sgd()), run)
    assert severities(watched) == ({} if unscales else {"gradients-clipped-to-nothing": "warning"}), str(watched)


# schedules


def per_batch(epochs: int) -> Callable[[Parts], None]:
    def run(p: Parts) -> None:
        for _ in range(epochs):
            for images, labels in p.loader:
                step(p, images, labels)
                p.scheduler.step()  # type: ignore[attr-defined]

    return run


def triangles(number: int) -> float:
    return 0.1 + 0.9 * (1 - abs((number / 10) % 2 - 1))


def restarts_with_a_warm_up(number: int) -> float:
    within = number % 15
    return (within + 1) / 5 if within < 5 else 0.5 * (1 + math.cos(math.pi * (within - 5) / 10))


@pytest.mark.parametrize("cycle", [triangles, restarts_with_a_warm_up])
def test_cycles_written_as_a_function_are_no_schedule_that_was_over(cycle: Callable[[int], float]) -> None:
    watched = watched_over(scheduled(lambda o: lr_scheduler.LambdaLR(o, cycle))(), per_batch(5))
    assert not watched.findings, str(watched)


def test_a_function_that_climbs_at_the_end_is_a_note() -> None:
    make = scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 - n / 20 if n < 18 else 0.1 + (n - 17) / 40))
    watched = watched_over(make(), per_batch(3))
    assert severities(watched) == {"scheduler-at-the-wrong-rate": "note"}, str(watched)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.ExponentialLR(o, 0.6),
        lambda o: lr_scheduler.StepLR(o, 4, 0.1),
        lambda o: lr_scheduler.LambdaLR(o, lambda n: 0.6**n),
    ],
)
def test_a_schedule_in_epochs_that_lasts_a_little_longer_than_one_is_found(
    make: Callable[[torch.optim.Optimizer], object],
) -> None:
    watched = watched_over(scheduled(make)(), per_batch(4))
    assert severities(watched) == {"scheduler-at-the-wrong-rate": "warning"}, str(watched)
    honest = watched_over(scheduled(make)(), per_batch(2))  # it may end with its schedule
    assert not honest.findings, str(honest)


# modes


class Retrieval(ViT):
    """Scores where it learns, features where it is judged."""

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.head(features) if self.training else features


def test_a_model_that_gives_another_shape_in_evaluation_mode_is_examined() -> None:
    watched = watched_over(parts(Retrieval(), loader=loader_of(640)), train)
    assert "loop-modes" in watched.report.checks_run, str(watched)
    assert not watched.findings, str(watched)
