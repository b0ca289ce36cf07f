"""Loops with nothing wrong, of which many look as if there were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import CLASSES, Parts, ViT, evaluate, images_of, loader_of, parts, step, train
from watch_sick import mislabelled, relabelled, scheduled, sgd


@dataclass(frozen=True)
class Healthy:
    """A loop in which nothing may be found, but what is named."""

    name: str
    make: Callable[[], Parts]
    run: Callable[[Parts], None]
    notes: tuple[str, ...] = ()


CASES: list[Healthy] = []


def healthy(
    make: Callable[[], Parts] = parts, notes: tuple[str, ...] = ()
) -> Callable[[Callable[[Parts], None]], Callable[[Parts], None]]:
    def taken(run: Callable[[Parts], None]) -> Callable[[Parts], None]:
        CASES.append(Healthy(run.__name__, make, run, notes))
        return run

    return taken


def validated(**others: object) -> Parts:
    return parts(val=loader_of(70, seed=1, shuffle=False), **others)  # type: ignore[arg-type]


@healthy(validated)
def plain(p: Parts) -> None:
    for _ in range(3):
        train(p, 1)
        evaluate(p)


@healthy()
def accumulation(p: Parts) -> None:
    for _ in range(4):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / 5).backward()
            if (number + 1) % 5 == 0:
                torch.nn.utils.clip_grad_norm_(p.model.parameters(), 1.0)
                p.optimizer.step()
                p.optimizer.zero_grad()


@healthy()
def accumulation_that_leaves_a_rest(p: Parts) -> None:
    for _ in range(3):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / 3).backward()
            if (number + 1) % 3 == 0 or number + 1 == len(p.loader):
                p.optimizer.step()
                p.model.zero_grad(set_to_none=False)


@healthy()
def bf16(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(p.model(images), labels)
            loss.backward()
            p.optimizer.step()


@healthy()
def fp16_with_scaler(p: Parts) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(p.model(images), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(p.optimizer)
            torch.nn.utils.clip_grad_norm_(p.model.parameters(), 1.0)
            scaler.step(p.optimizer)
            scaler.update()


@healthy()
def fp16_scaled_by_hand(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(p.model(images), labels)
            (loss * 512).backward()
            for parameter in p.model.parameters():
                assert parameter.grad is not None
                parameter.grad /= 512
            p.optimizer.step()


def _warmed(o: torch.optim.Optimizer) -> object:
    return lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.01, total_iters=8), lr_scheduler.CosineAnnealingLR(o, 22)], [8]
    )


def per_batch(p: Parts, epochs: int = 3) -> None:
    for _ in range(epochs):
        for images, labels in p.loader:
            step(p, images, labels)
            p.scheduler.step()  # type: ignore[attr-defined]


def per_epoch(p: Parts, epochs: int = 3) -> None:
    for _ in range(epochs):
        train(p, 1)
        p.scheduler.step()  # type: ignore[attr-defined]


CASES += [
    Healthy("warmup_and_cosine", scheduled(_warmed), per_batch),
    Healthy(
        "one_cycle", scheduled(lambda o: lr_scheduler.OneCycleLR(o, 2e-3, total_steps=30)), lambda p: per_batch(p, 3)
    ),
    Healthy("cosine_per_epoch", scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 20)), per_epoch),
    Healthy(
        "cosine_of_300_epochs",
        scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 300)),
        per_epoch,
        ("scheduler-at-the-wrong-rate",),
    ),
    Healthy("step_per_epoch", scheduled(lambda o: lr_scheduler.MultiStepLR(o, [1, 2])), per_epoch),
    Healthy("warm_restarts", scheduled(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6)), per_batch),
    Healthy("cyclic", scheduled(lambda o: lr_scheduler.CyclicLR(o, 1e-4, 1e-3, 5, cycle_momentum=False)), per_batch),
    Healthy(
        "warmup_from_zero_per_batch",
        scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, t / 20))),
        per_batch,
    ),
    Healthy("slow_exponential_per_batch", scheduled(lambda o: lr_scheduler.ExponentialLR(o, 0.97)), per_batch),
]


def _long() -> Parts:
    return parts(loader=loader_of(320))


@healthy(
    scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 15), loader=loader_of(320)), ("scheduler-at-the-wrong-rate",)
)
def fifteen_steps_of_a_longer_epoch(p: Parts) -> None:
    for number, (images, labels) in enumerate(p.loader):
        if number == 15:
            break
        step(p, images, labels)
        p.scheduler.step()  # type: ignore[attr-defined]


@healthy(_long)
def cycles_that_nobody_told_of(p: Parts) -> None:
    cycles = lr_scheduler.CyclicLR(p.optimizer, 1e-4, 1e-3, 5, cycle_momentum=False)
    for _ in range(2):
        for images, labels in p.loader:
            step(p, images, labels)
            cycles.step()


@healthy(_long)
def one_cycle_after_another(p: Parts) -> None:
    for _ in range(2):
        cycle = lr_scheduler.OneCycleLR(p.optimizer, 1e-3, total_steps=20)
        for images, labels in p.loader:
            step(p, images, labels)
            cycle.step()


@healthy(scheduled(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=20), loader=loader_of(320)))
def one_epoch_to_the_end(p: Parts) -> None:
    for images, labels in p.loader:
        step(p, images, labels)
        if p.scheduler.last_epoch < 19:  # type: ignore[attr-defined]
            p.scheduler.step()  # type: ignore[attr-defined]


@healthy(scheduled(lambda o: lr_scheduler.ReduceLROnPlateau(o)))
def plateau_at_every_fifth_epoch(p: Parts) -> None:
    train(p, 3)


@healthy(scheduled(lambda o: SWALR(o, 1e-4)))
def averaging_that_has_not_begun(p: Parts) -> None:
    train(p, 3)


class ByEpoch:
    """As timm's."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - epoch / 10)


@healthy(scheduled(ByEpoch))
def told_the_epoch_at_its_top(p: Parts) -> None:
    for epoch in range(3):
        p.scheduler.step(epoch)  # type: ignore[attr-defined]
        train(p, 1)


@healthy(scheduled(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=60), loader=loader_of(320)))
def a_schedule_that_counts_micro_batches(p: Parts) -> None:
    for _ in range(3):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / 4).backward()
            if number % 4 == 3:
                p.optimizer.step()
                p.optimizer.zero_grad()
            p.scheduler.step()  # type: ignore[attr-defined]


@healthy(scheduled(lambda o: lr_scheduler.LinearLR(o, 0.01, total_iters=20)))
def warmup_of_twenty_epochs(p: Parts) -> None:
    per_epoch(p, 4)


def _without_labels() -> Parts:
    data = TensorDataset(images_of()[0], torch.zeros(160, dtype=torch.long))
    return parts(ViT(classes=32), loader=DataLoader(data, batch_size=16, shuffle=True))


@healthy(_without_labels)
def two_views_and_no_labels(p: Parts) -> None:
    for _ in range(2):
        for images, _same in p.loader:
            p.optimizer.zero_grad()
            views = [images + 0.1 * torch.randn_like(images) for _ in range(2)]
            one, two = (F.normalize(p.model(each), dim=-1) for each in views)
            F.cross_entropy(one @ two.T / 0.2, torch.arange(len(images))).backward()
            p.optimizer.step()


class AtRandom(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """It draws for itself."""

    def __init__(self) -> None:
        self.images, self.labels = images_of()

    def __len__(self) -> int:
        return 160

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = int(torch.randint(160, ()))
        return self.images[drawn], self.labels[drawn]


@healthy(lambda: parts(loader=DataLoader(AtRandom(), batch_size=16)))
def a_data_set_that_draws_at_random(p: Parts) -> None:
    train(p, 2)


class TwoHeads(nn.Module):
    """Layers with names like tokens'."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.cls_head, self.head_dist, self.reg_proj = nn.Linear(16, 10), nn.Linear(16, 10), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reg_proj(self.stem(x).mean((-1, -2)))
        return self.cls_head(x) + self.head_dist(x)


@healthy(
    lambda: parts(
        TwoHeads(),
        lambda m: torch.optim.AdamW(
            [
                {"params": [q for q in m.parameters() if q.ndim > 1]},
                {"params": [q for q in m.parameters() if q.ndim < 2], "weight_decay": 0.0},
            ],
            1e-3,
            weight_decay=0.05,
        ),
    )
)
def heads_named_like_tokens(p: Parts) -> None:
    train(p, 1)


@healthy(lambda: parts(WithNorm()))
def batch_norm_re_estimated_from_elsewhere(p: Parts) -> None:
    train(p, 1)
    update_bn(loader_of(96, seed=2), p.model)


@healthy(scheduled(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=5)))
def plateau(p: Parts) -> None:
    for _ in range(3):
        train(p, 1)
        p.scheduler.step(1.0)  # type: ignore[attr-defined]


@healthy(scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 10)))
def short_window_of_a_per_epoch_schedule(p: Parts) -> None:
    train(p, 1)


@healthy(lambda: parts(optimizer=sgd()))
def set_to_zero(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad(set_to_none=False)
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()


@healthy()
def cleared_by_hand(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            for parameter in p.model.parameters():
                parameter.grad = None
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()


@healthy()
def gradients_by_autograd_grad(p: Parts) -> None:
    names = list(p.model.parameters())
    for images, labels in p.loader:
        loss = F.cross_entropy(p.model(images), labels)
        for parameter, gradient in zip(names, torch.autograd.grad(loss, names), strict=True):
            parameter.grad = gradient
        p.optimizer.step()


@healthy(notes=("watched-model-never-called",))
def forward_called_directly(p: Parts) -> None:
    for images, labels in p.loader:
        for parameter in p.model.parameters():
            parameter.grad = None
        torch.autograd.backward(F.cross_entropy(p.model.forward(images), labels))
        p.optimizer.step()


@healthy(validated)
def ema_evaluation(p: Parts) -> None:
    ema = AveragedModel(p.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(2):
        for images, labels in p.loader:
            step(p, images, labels)
            ema.update_parameters(p.model)
        evaluate(p, ema)


class WithNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((-1, -2)))


@healthy(lambda: parts(WithNorm()))
def batch_norm_re_estimated(p: Parts) -> None:
    train(p, 2)
    update_bn(p.loader, p.model)


def _frozen() -> Parts:
    model = ViT()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    return validated(model=model, optimizer=lambda m: torch.optim.AdamW(m.head.parameters(), 1e-2, weight_decay=0.0))


@healthy(_frozen)
def frozen_backbone(p: Parts) -> None:
    for _ in range(2):
        train(p, 1)
        evaluate(p)


@healthy(_frozen)
def frozen_backbone_in_evaluation_mode(p: Parts) -> None:
    p.model.eval()
    for _ in range(2):
        for images, labels in p.loader:
            step(p, images, labels)


@healthy(
    lambda: parts(optimizer=lambda m: torch.optim.AdamW(m.head.parameters(), 1e-2, weight_decay=0.0)),
    ("parameters-left-out",),
)
def only_the_head_without_freezing(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.model.zero_grad()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()


@healthy(validated)
def gradients_of_validation_batches_that_are_cleared(p: Parts) -> None:
    """A saliency map, an attack: a backward in the validation, and nothing of it is left for the training."""
    assert p.val is not None
    for epoch in range(3):
        p.model.train()
        for images, labels in p.loader:
            if epoch % 2:
                p.optimizer.zero_grad()
            else:
                for parameter in p.model.parameters():
                    parameter.grad = None
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
        p.model.eval()
        for images, labels in p.val:
            F.cross_entropy(p.model(images), labels).backward()


CASES += [
    Healthy(
        "classes_with_other_numbers",
        parts,
        relabelled(lambda y: (y + 3) % CLASSES),
        notes=("loss-of-other-labels",),
    ),
    Healthy(
        "few_labels_that_are_wrong",
        lambda: parts(loss=None),
        relabelled(lambda y: torch.where(torch.rand(y.shape) < 0.3, torch.randint(0, CLASSES, y.shape), y)),
    ),
]


@healthy(lambda: parts(ViT(classes=4)))
def rotations_told_apart(p: Parts) -> None:
    """A task that makes its labels itself."""
    for _ in range(2):
        for images, _labels in p.loader:
            turns = torch.randint(0, 4, (1,)).expand(len(images))
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images.rot90(int(turns[0]), (-2, -1))), turns).backward()
            p.optimizer.step()


@healthy()
def images_and_labels_shuffled_alike(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            order = torch.randperm(len(labels))
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images[order]), labels[order]).backward()
            p.optimizer.step()


@healthy(lambda: parts(ViT(classes=32)))
def images_against_each_other(p: Parts) -> None:
    for _ in range(2):
        for images, _labels in p.loader:
            p.optimizer.zero_grad()
            features = F.normalize(p.model(images), dim=-1)
            F.cross_entropy(10 * features @ features.T, torch.arange(len(images))).backward()
            p.optimizer.step()


CASES += [
    Healthy("slow_but_it_moves", lambda: parts(optimizer=sgd(3e-3)), lambda p: train(p, 6)),
    Healthy(
        "a_long_warm_up_that_has_begun",
        scheduled(lambda o: lr_scheduler.LinearLR(o, 1e-6, total_iters=10_000), optimizer=sgd(1e-3)),
        lambda p: per_batch(p, 6),
    ),
]


@healthy(lambda: parts(ViT(classes=1), loss=nn.BCEWithLogitsLoss()))
def one_score_with_its_own_loss(p: Parts) -> None:
    assert p.loss is not None
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            p.loss(p.model(images)[:, 0], (labels % 2).float()).backward()
            p.optimizer.step()


class WithAnotherHead(ViT):
    """The other head is as large as the rest, and this loop has no use for it."""

    def __init__(self, *, is_computed: bool, classes: int = 1000) -> None:
        super().__init__()
        self.other, self.is_computed = nn.Linear(32, classes), is_computed
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 32))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        features = self.features(x)
        return (self.head(features), self.other(features)) if self.is_computed else self.head(features)


def _second_head(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            scores = p.model(images)
            F.cross_entropy(scores[0] if isinstance(scores, tuple) else scores, labels).backward()
            p.optimizer.step()


class Dropping(ViT):
    """Each of its layers is left out a quarter of the time."""

    def features(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x) if not self.training or torch.rand(()) < 0.75 else x
        return self.norm(x)[:, 0]


CASES += [
    Healthy("a_second_head_that_is_not_called", lambda: parts(WithAnotherHead(is_computed=False)), _second_head),
    Healthy("a_second_head_that_no_loss_is_of", lambda: parts(WithAnotherHead(is_computed=True)), _second_head),
    Healthy("layers_dropped_by_chance", lambda: parts(Dropping(depth=3)), lambda p: train(p, 2)),
]


@healthy(lambda: parts(WithAnotherHead(is_computed=True, classes=CLASSES)))
def tasks_in_turn(p: Parts) -> None:
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images)[number % 2], labels).backward()
            p.optimizer.step()


@healthy()
def phases_in_turn(p: Parts) -> None:
    """First the head alone, then all of it."""
    assert isinstance(p.model, ViT)
    for is_whole in (False, True):
        p.model.requires_grad_(is_whole)
        p.model.head.requires_grad_()
        train(p, 2)


@healthy(
    lambda: parts(
        optimizer=lambda m: torch.optim.AdamW(
            [q for n, q in m.named_parameters() if "head" not in n], 1e-3, weight_decay=0.0
        )
    )
)
def two_optimizers(p: Parts) -> None:
    assert isinstance(p.model, ViT)
    other = torch.optim.SGD(p.model.head.parameters(), lr=0.1)
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            other.zero_grad()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
            other.step()


@healthy(
    lambda: parts(
        optimizer=lambda m: torch.optim.AdamW([*m.parameters(), nn.Parameter(torch.ones(1))], 1e-3, weight_decay=0.0)
    )
)
def a_parameter_of_the_loss(p: Parts) -> None:
    (temperature,) = [q for q in p.optimizer.param_groups[0]["params"] if q.shape == (1,)]
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images) * temperature, labels).backward()
            p.optimizer.step()


@healthy(lambda: parts(loss=nn.CrossEntropyLoss(label_smoothing=0.1)))
def mixup(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            share, order = float(torch.rand(())), torch.randperm(len(images))
            scores = p.model(share * images + (1 - share) * images[order])
            p.optimizer.zero_grad()
            loss = share * F.cross_entropy(scores, labels) + (1 - share) * F.cross_entropy(scores, labels[order])
            loss.backward()
            p.optimizer.step()


@healthy(lambda: parts(ViT(final=nn.Softmax(-1)), loss=nn.NLLLoss()))
def softmax_and_nll(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            assert p.loss is not None
            p.loss(torch.log(p.model(images)), labels).backward()
            p.optimizer.step()


@healthy(lambda: parts(ViT(final=nn.LogSoftmax(-1)), loss=nn.NLLLoss()))
def log_softmax_and_nll(p: Parts) -> None:
    train(p, 2)


@healthy(lambda: parts(ViT(final=nn.Softmax(-1))))
def softmax_and_log_in_cross_entropy(p: Parts) -> None:
    assert p.loss is not None
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        p.loss(torch.log(p.model(images)), labels).backward()
        p.optimizer.step()


@healthy(lambda: parts(ViT(final=nn.Softmax(-1)), loss=nn.MSELoss()))
def softmax_and_mse(p: Parts) -> None:
    assert p.loss is not None
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        p.loss(p.model(images), F.one_hot(labels, CLASSES).float()).backward()
        p.optimizer.step()


@healthy(lambda: parts(ViT(final=nn.Sigmoid()), loss=nn.BCELoss()))
def sigmoid_and_bce(p: Parts) -> None:
    assert p.loss is not None
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        p.loss(p.model(images), F.one_hot(labels, CLASSES).float()).backward()
        p.optimizer.step()


@healthy(lambda: parts(loader=loader_of(16)))
def one_batch_overfitted(p: Parts) -> None:
    p.model.eval()
    p.model.train()
    train(p, 30)


@healthy(lambda: parts(ViT(dropout=0.0), val=loader_of(70, seed=1)), ("validated-in-training-mode",))
def no_dropout_and_no_eval(p: Parts) -> None:
    train(p, 2)
    evaluate(p, mode=True)


@healthy()
def teacher_in_training_mode(p: Parts) -> None:
    """Consistency of two views: one of them without a gradient."""
    for _ in range(2):
        for images, labels in p.loader:
            with torch.no_grad():
                target = p.model(images).softmax(-1)
            scores = p.model(images)
            p.optimizer.zero_grad()
            (F.cross_entropy(scores, labels) + F.mse_loss(scores.softmax(-1), target)).backward()
            p.optimizer.step()


@healthy(lambda: parts(optimizer=lambda m: torch.optim.LBFGS(m.parameters(), lr=0.1, max_iter=3)))
def closure(p: Parts) -> None:
    for images, labels in p.loader:

        def again(images: Tensor = images, labels: Tensor = labels) -> Tensor:
            p.optimizer.zero_grad()
            loss = F.cross_entropy(p.model(images), labels)
            loss.backward()
            return loss

        p.optimizer.step(again)


@healthy()
def best_weights_kept_by_copies(p: Parts) -> None:
    best = copy.deepcopy(p.model)
    for _ in range(2):
        train(p, 1)
        best = copy.deepcopy(p.model)
        best.zero_grad()
        with torch.no_grad():
            best(images_of(4)[0])


@healthy(lambda: parts(optimizer=sgd(0.001)))
def summed_loss_with_clipping(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images), labels, reduction="sum").backward()
            torch.nn.utils.clip_grad_norm_(p.model.parameters(), 1.0)
            p.optimizer.step()


class Balanced(torch.utils.data.Sampler[list[int]]):
    """Four classes with four images each."""

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __iter__(self):  # type: ignore[no-untyped-def]
        for _ in range(12):
            classes = torch.randperm(CLASSES)[:4]
            yield [int(index) for c in classes for index in (self.labels == c).nonzero()[:, 0][torch.randperm(8)[:4]]]

    def __len__(self) -> int:
        return 12


def _balanced() -> Parts:
    images, labels = images_of(300)
    return parts(loader=DataLoader(TensorDataset(images, labels), batch_sampler=Balanced(labels)))


@healthy(_balanced)
def class_balanced_batches(p: Parts) -> None:
    train(p, 2)


@healthy()
def next_of_iter(p: Parts) -> None:
    batches = iter(p.loader)
    for _ in range(25):
        try:
            images, labels = next(batches)
        except StopIteration:
            batches = iter(p.loader)
            images, labels = next(batches)
        step(p, images, labels)


@healthy(lambda: parts(optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-3, weight_decay=0.0)))
def every_other_network_trains_too(p: Parts) -> None:
    """A head of its own on the model's scores, whose loss also reaches the model between its steps, and is cleared."""
    probe = nn.Linear(CLASSES, CLASSES)
    other = torch.optim.SGD(probe.parameters(), lr=0.1)
    for _ in range(2):
        for images, labels in p.loader:
            other.zero_grad()
            F.cross_entropy(probe(p.model(images)), labels).backward()
            other.step()
            step(p, images, labels)


@healthy(lambda: replace(parts(), loss=None))
def manual_penalty(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            penalty = sum(q.square().sum() for q in p.model.parameters())
            (F.cross_entropy(p.model(images), labels) + 1e-4 * penalty).backward()
            p.optimizer.step()


@healthy(
    lambda: parts(
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=0, maximize=True), loss=None
    )
)
def a_likelihood_that_is_maximised(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.log_softmax(p.model(images), dim=-1).gather(1, labels[:, None]).mean().backward()
        p.optimizer.step()


@healthy(lambda: parts(optimizer=sgd(0.0)))
def made_without_a_rate_that_is_set_at_each_step(p: Parts) -> None:
    for epoch in range(3):
        for number, (images, labels) in enumerate(p.loader):
            for group in p.optimizer.param_groups:
                group["lr"] = 0.05 * min(1.0, (epoch + number / len(p.loader)) / 2)
            step(p, images, labels)


@healthy(mislabelled(lambda x, y: (x, torch.where(torch.rand(len(y)) < 0.5, torch.randint_like(y, 10), y))))
def half_of_the_labels_are_wrong(p: Parts) -> None:
    for _ in range(4):
        train(p, 1)
        evaluate(p)


@healthy(mislabelled(lambda x, y: (x + 3 * torch.randn_like(x), y), optimizer=sgd(0.05)))
def images_under_noise(p: Parts) -> None:
    train(p, 4)


@healthy(mislabelled(lambda x, y: (x, y[torch.randperm(len(y))])))
def labels_shuffled_for_too_short_a_while(p: Parts) -> None:
    train(p, 2)


@healthy(
    mislabelled(
        lambda x, y: (x, y[torch.randperm(len(y))]),
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=1e-5, weight_decay=0),
    )
)
def shuffled_at_a_pace_at_which_nothing_is_learned(p: Parts) -> None:
    train(p, 4)


@healthy(mislabelled(lambda x, y: (x, y[torch.randperm(len(y))])))
def shuffled_behind_a_frozen_backbone(p: Parts) -> None:
    for name, parameter in p.model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    train(p, 4)


@healthy()
def clipped_before_the_step_and_measured_behind_it(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        nn.utils.clip_grad_norm_(p.model.parameters(), 0.1)
        p.optimizer.step()
        nn.utils.clip_grad_norm_(p.model.parameters(), float("inf"))


@healthy(lambda: parts(optimizer=sgd(0.01)))
def gradients_that_are_cleared_by_hand_in_part(p: Parts) -> None:
    for images, labels in p.loader:
        F.cross_entropy(p.model(images), labels).backward()
        p.optimizer.step()
        for parameter in p.model.blocks.parameters():
            parameter.grad = None
        p.optimizer.zero_grad()
