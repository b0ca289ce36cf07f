"""Loops with a fault each, every fault written in two ways at least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import CLASSES, DictSet, Parts, ViT, evaluate, images_of, loader_of, parts, step, train


@dataclass(frozen=True)
class Sick:
    """A loop, and what has to be found in it."""

    name: str
    finds: str
    severity: str
    make: Callable[[], Parts]
    run: Callable[[Parts], None]
    raises: type[Exception] | None = None


CASES: list[Sick] = []


def sick(
    finds: str, severity: str, make: Callable[[], Parts] = parts, raises: type[Exception] | None = None
) -> Callable[[Callable[[Parts], None]], Callable[[Parts], None]]:
    def taken(run: Callable[[Parts], None]) -> Callable[[Parts], None]:
        CASES.append(Sick(run.__name__, finds, severity, make, run, raises))
        return run

    return taken


def sgd(lr: float = 0.05, momentum: float = 0.9) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda m: torch.optim.SGD(m.parameters(), lr=lr, momentum=momentum)


def scheduled(make: Callable[[torch.optim.Optimizer], object], **others: object) -> Callable[[], Parts]:
    def made() -> Parts:
        p = parts(**others)  # type: ignore[arg-type]
        return replace(p, scheduler=make(p.optimizer))

    return made


# L7: clearing


@sick("gradients-not-cleared", "error")
def zero_grad_missing(p: Parts) -> None:
    for images, labels in p.loader:
        F.cross_entropy(p.model(images), labels).backward()
        p.optimizer.step()


@sick("gradients-not-cleared", "error")
def zero_grad_once_per_epoch(p: Parts) -> None:
    for _ in range(2):
        p.model.zero_grad(set_to_none=False)
        for images, labels in p.loader:
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()


@sick("gradients-not-cleared", "error", lambda: parts(optimizer=sgd(0.01)))
def steps_every_batch_clears_every_fourth(p: Parts) -> None:
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / 4).backward()
            p.optimizer.step()
            if number % 4 == 3:
                p.optimizer.zero_grad()


@sick("gradients-not-cleared", "error")
def clears_another_optimizer(p: Parts) -> None:
    other = torch.optim.SGD(ViT().parameters(), lr=0.1)
    for images, labels in p.loader:
        other.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(p.model.parameters(), 1.0)
        p.optimizer.step()


@sick("gradients-cleared-before-the-step", "error")
def zero_grad_between(p: Parts) -> None:
    for images, labels in p.loader:
        loss = F.cross_entropy(p.model(images), labels)
        loss.backward()
        p.optimizer.zero_grad()
        p.optimizer.step()


@sick("gradients-cleared-before-the-step", "error", lambda: parts(optimizer=sgd()))
def model_zero_grad_between(p: Parts) -> None:
    for images, labels in p.loader:
        loss = F.cross_entropy(p.model(images), labels)
        loss.backward()
        p.model.zero_grad(set_to_none=False)
        p.optimizer.step()


@sick("gradients-clipped-to-nothing", "warning")
def clipped_to_nothing(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(p.model.parameters(), 1e-6)
        p.optimizer.step()


@sick("gradients-clipped-to-nothing", "warning", lambda: parts(optimizer=sgd()))
def clamped_to_nothing(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        torch.nn.utils.clip_grad_value_(p.model.parameters(), 1e-7)
        p.optimizer.step()


@sick("no-gradient-at-the-step", "error")
def clipped_to_zero(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(p.model.parameters(), 0.0)
        p.optimizer.step()


@sick("no-gradient-at-the-step", "error")
def backward_forgotten(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels)
        p.optimizer.step()


@sick("accumulated-gradients-thrown-away", "warning")
def clears_each_micro_batch(p: Parts) -> None:
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            p.optimizer.zero_grad()
            (F.cross_entropy(p.model(images), labels) / 2).backward()
            if number % 2:
                p.optimizer.step()


@sick("accumulated-gradients-thrown-away", "warning")
def clears_each_micro_batch_behind(p: Parts) -> None:
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / 5).backward()
            if (number + 1) % 5 == 0:
                p.optimizer.step()
            p.model.zero_grad()


# L8: what the optimizer holds


def _of_an_older_model() -> Parts:
    p = parts()
    return replace(p, model=ViT())


@sick("optimizer-holds-another-model", "error", _of_an_older_model)
def recreated_model(p: Parts) -> None:
    train(p, 2)


def _copied() -> Parts:
    import copy

    p = parts(optimizer=sgd())
    return replace(p, model=copy.deepcopy(p.model))


@sick("optimizer-holds-another-model", "error", _copied)
def copied_model(p: Parts) -> None:
    for images, labels in p.loader:
        p.model.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        p.optimizer.step()


def _head_swapped() -> Parts:
    p = parts()
    assert isinstance(p.model, ViT)
    p.model.head = nn.Linear(32, CLASSES)
    return p


@sick("parameters-replaced", "error", _head_swapped)
def head_swapped(p: Parts) -> None:
    train(p, 1)


@sick("parameters-replaced", "error")
def positions_swapped_in_the_block(p: Parts) -> None:
    assert isinstance(p.model, ViT)
    p.model.pos_embed = nn.Parameter(torch.randn(1, 17, 32) * 0.02)
    train(p, 1)


@sick(
    "parameters-left-out",
    "warning",
    lambda: parts(
        optimizer=lambda m: torch.optim.AdamW([p for n, p in m.named_parameters() if "head" not in n], lr=1e-3)
    ),
)
def head_left_out(p: Parts) -> None:
    train(p, 1)


def _token_added() -> Parts:
    p = parts()
    assert isinstance(p.model, ViT)
    p.model.final = nn.Linear(CLASSES, CLASSES)
    return p


@sick("parameters-left-out", "warning", _token_added)
def layer_added_afterwards(p: Parts) -> None:
    train(p, 1)


class CutBeforeTheHead(ViT):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).detach())


@sick("parameters-without-gradient", "error", lambda: parts(CutBeforeTheHead()))
def features_detached(p: Parts) -> None:
    train(p, 1)


class WithoutGradients(ViT):
    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().features(x)


@sick("parameters-without-gradient", "error", lambda: parts(nn.Sequential(WithoutGradients(), nn.ReLU()), sgd()))
def backbone_under_no_grad(p: Parts) -> None:
    for images, labels in p.loader:
        loss = F.cross_entropy(p.model(images), labels)
        p.optimizer.zero_grad()
        loss.backward()
        p.optimizer.step()


class PositionsAsData(ViT):
    def features(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed.data
        return self.norm(self.blocks(x))[:, 0]


@sick("parameters-without-gradient", "warning", lambda: parts(PositionsAsData()))
def positions_as_data(p: Parts) -> None:
    train(p, 2)


@sick("no-step", "error")
def step_forgotten(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()


def _with_cosine() -> Parts:
    p = parts()
    return replace(p, scheduler=lr_scheduler.CosineAnnealingLR(p.optimizer, 100))


@sick("no-step", "error", _with_cosine)
def only_the_scheduler_steps(p: Parts) -> None:
    for images, labels in p.loader:
        F.cross_entropy(p.model(images), labels).backward()
        p.scheduler.step()  # type: ignore[attr-defined]


@sick("parameters-do-not-move", "error")
def loss_times_zero_and_hooked(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        saved = {k: v.clone() for k, v in p.model.state_dict().items()}
        p.optimizer.step()
        p.model.load_state_dict(saved)


@sick("parameters-do-not-move", "error", lambda: parts(ViT().half(), sgd(1e-10)))
def rate_below_rounding(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images.half()).float(), labels).backward()
        p.optimizer.step()


# the loss


@sick("loss-detached", "error", raises=RuntimeError)
def loss_detached_raises(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images).detach(), labels).backward()
        p.optimizer.step()


@sick("loss-detached", "error")
def loss_rewrapped(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        loss = torch.tensor(F.cross_entropy(p.model(images), labels).item(), requires_grad=True)
        loss.backward()
        p.optimizer.step()


@sick("loss-detached", "error", lambda: parts(optimizer=sgd()))
def under_no_grad(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        with torch.no_grad():
            loss = F.cross_entropy(p.model(images), labels)
        loss.requires_grad_()
        loss.backward()
        p.optimizer.step()


@sick("probabilities-into-cross-entropy", "error", lambda: parts(ViT(final=nn.Softmax(-1))))
def softmax_then_cross_entropy(p: Parts) -> None:
    train(p, 1)


@sick("probabilities-into-cross-entropy", "error", lambda: parts(ViT(final=nn.Softmax(-1)), loss=None))
def softmax_then_functional(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels, label_smoothing=0.1).backward()
        p.optimizer.step()


@sick("probabilities-into-cross-entropy", "error", lambda: parts(ViT(final=nn.Sigmoid())))
def sigmoid_then_cross_entropy(p: Parts) -> None:
    train(p, 1)


@sick("scores-into-nll-loss", "error", lambda: parts(loss=nn.NLLLoss()))
def nll_of_scores(p: Parts) -> None:
    train(p, 2)


@sick("scores-into-nll-loss", "error", lambda: parts(optimizer=sgd(0.01), loss=None))
def functional_nll_of_scores(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.nll_loss(p.model(images), labels).backward()
        p.optimizer.step()


@sick("loss-made-larger", "error", lambda: parts(loss=None))
def likelihood_with_a_minus_too_few(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        logarithms = F.log_softmax(p.model(images), dim=-1)
        logarithms.gather(1, labels[:, None]).mean().backward()
        p.optimizer.step()


@sick("loss-made-larger", "error")
def cross_entropy_with_a_minus(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        (-F.cross_entropy(p.model(images), labels, label_smoothing=0.1)).backward()
        p.optimizer.step()


@sick(
    "loss-made-larger",
    "error",
    lambda: parts(optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=1e-3, maximize=True)),
)
def maximised(p: Parts) -> None:
    train(p, 1)


def relabelled(labels_of: Callable[[Tensor], Tensor]) -> Callable[[Parts], None]:
    """A loop whose loss is of labels that are made of the loader's."""

    def run(p: Parts) -> None:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            (p.loss or F.cross_entropy)(p.model(images), labels_of(labels)).backward()
            p.optimizer.step()

    return run


CASES += [
    Sick(name, "loss-of-other-labels", severity, make, relabelled(labels_of))
    for name, severity, make, labels_of in (
        ("labels_shuffled", "error", parts, lambda y: y[torch.randperm(len(y))]),
        ("labels_turned_round", "error", lambda: parts(loss=None), lambda y: y.flip(0)),
        ("labels_all_zero", "error", lambda: parts(loss=None), lambda y: y * 0),
        ("labels_halved", "warning", lambda: parts(nn.Sequential(ViT(), nn.Identity()), sgd()), lambda y: y // 2),
        ("labels_at_random", "warning", lambda: parts(loss=None), lambda y: torch.randint(0, CLASSES, y.shape)),
    )
]


def _of_one_class(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        (p.loss or F.cross_entropy)(p.model(images), labels * 0).backward()
        p.optimizer.step()


CASES += [
    Sick("one_class", "cross-entropy-of-one-score", "error", lambda: parts(ViT(classes=1)), _of_one_class),
    Sick(
        "one_score_of_another_model",
        "cross-entropy-of-one-score",
        "error",
        lambda: parts(nn.Sequential(nn.Flatten(), nn.Linear(768, 1)), sgd(), loss=None),
        _of_one_class,
    ),
    Sick(
        "hardly_any_rate", "loss-does-not-move", "note", lambda: parts(optimizer=sgd(1e-6, 0.0)), lambda p: train(p, 6)
    ),
    Sick(
        "hardly_any_rate_of_adam",
        "loss-does-not-move",
        "note",
        lambda: parts(ViT(depth=2), lambda m: torch.optim.AdamW(m.parameters(), lr=1e-9), loss=nn.CrossEntropyLoss()),
        lambda p: train(p, 6),
    ),
]


@sick("loss-divided-twice", "warning", lambda: parts(optimizer=sgd()))
def loss_over_len(p: Parts) -> None:
    assert p.loss is not None
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        (p.loss(p.model(images), labels) / len(images)).backward()
        p.optimizer.step()


@sick("loss-divided-twice", "warning", lambda: parts(loss=None))
def loss_over_len_accumulated(p: Parts) -> None:
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            (F.cross_entropy(p.model(images), labels) / images.size(0) / 2).backward()
            if number % 2:
                p.optimizer.step()
                p.optimizer.zero_grad()


@sick("loss-not-finite", "error")
def loss_nan(p: Parts) -> None:
    for number, (images, labels) in enumerate(p.loader):
        p.optimizer.zero_grad()
        scores = p.model(images)
        loss = F.cross_entropy(scores, labels) + (torch.log(scores.min() * 0 - 1) if number > 3 else 0)
        loss.backward()
        p.optimizer.step()


@sick("loss-not-finite", "error", lambda: parts(optimizer=sgd(1e12)))
def diverged(p: Parts) -> None:
    train(p, 2)


@sick(
    "learning-rate-too-high",
    "warning",
    lambda: parts(ViT(depth=2), optimizer=lambda m: torch.optim.AdamW(m.parameters(), 0.5)),
)
def rate_too_high_adam(p: Parts) -> None:
    train(p, 2)


@sick("learning-rate-too-high", "warning", lambda: parts(optimizer=sgd(1.0)))
def rate_too_high_sgd(p: Parts) -> None:
    train(p, 2)


@sick("fp16-without-a-scaler", "warning")
def fp16_without_scaler(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(p.model(images), labels)
        loss.backward()
        p.optimizer.step()


@sick("fp16-without-a-scaler", "warning", lambda: parts(ViT().half(), sgd(0.01)))
def pure_half(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images.half()).float(), labels).backward()
        p.optimizer.step()


class Alone(nn.Module):
    """Dropout that is no nn.Dropout."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.rate, self.training)


# modes


def _validated() -> Parts:
    return parts(val=loader_of(64, seed=1, shuffle=False))


@sick("trained-in-evaluation-mode", "warning", _validated)
def never_back_to_train(p: Parts) -> None:
    assert p.val is not None
    for _ in range(2):
        for images, labels in p.loader:
            step(p, images, labels)
        p.model.eval()
        with torch.no_grad():
            for images, _labels in p.val:
                p.model(images)


@sick("trained-in-evaluation-mode", "warning")
def eval_from_the_start(p: Parts) -> None:
    p.model.eval()
    for images, labels in p.loader:
        step(p, images, labels)


@sick("watched-model-never-called", "note")
def the_parts_are_called(p: Parts) -> None:
    assert isinstance(p.model, ViT)
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model.head(p.model.features(images)), labels).backward()
        p.optimizer.step()


@sick("watched-model-never-called", "note", lambda: parts(optimizer=sgd()))
def another_object_is_called(p: Parts) -> None:
    """As a model that was compiled in the block."""
    called = torch.compile(p.model, backend="eager")
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(called.forward(images), labels).backward()
        p.optimizer.step()


@sick("validated-in-training-mode", "warning", _validated)
def no_eval(p: Parts) -> None:
    for _ in range(2):
        train(p, 1)
        evaluate(p, mode=True)


@sick("validated-in-training-mode", "warning")
def no_eval_on_an_unknown_loader(p: Parts) -> None:
    other = loader_of(64, seed=1, shuffle=False)
    for _ in range(2):
        train(p, 1)
        evaluate(replace(p, val=other), mode=True)


@sick("too-much-dropout", "warning", lambda: parts(ViT(dropout=0.7)))
def dropout_everywhere(p: Parts) -> None:
    train(p, 2)


@sick("too-much-dropout", "warning", lambda: parts(ViT(final=Alone(0.9))))
def dropout_that_is_no_module(p: Parts) -> None:
    train(p, 7)


@sick("trained-on-validation-batches", "warning", lambda: parts(val=loader_of(70, seed=1)))
def backward_in_validation(p: Parts) -> None:
    assert p.val is not None
    for _ in range(3):
        p.model.train()
        for images, labels in p.loader:
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
            p.optimizer.zero_grad()
        p.model.eval()
        for images, labels in p.val:
            F.cross_entropy(p.model(images), labels).backward()


@sick("trained-on-validation-batches", "warning", lambda: parts(optimizer=sgd(0.01), val=loader_of(70, seed=1)))
def backward_of_one_validation_batch_at_times(p: Parts) -> None:
    assert p.val is not None
    for _ in range(2):
        for number, (images, labels) in enumerate(p.loader):
            if number % 4 == 3:
                p.model.eval()
                some, theirs = next(iter(p.val))
                p.model.zero_grad()
                F.cross_entropy(p.model(some), theirs).backward()
                p.model.train()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
            p.model.zero_grad(set_to_none=False)


@sick("trained-on-validation-batches", "warning", _validated)
def validation_that_steps(p: Parts) -> None:
    assert p.val is not None
    for loader in (p.loader, p.val):
        for images, labels in loader:
            step(p, images, labels)


@sick("trained-on-validation-batches", "warning", _validated)
def only_the_validation_set(p: Parts) -> None:
    assert p.val is not None
    for _ in range(3):
        for images, labels in p.val:
            step(p, images, labels)


# schedules


def _stepping(each_batch: bool, epochs: int = 2) -> Callable[[Parts], None]:
    def run(p: Parts) -> None:
        for _ in range(epochs):
            for images, labels in p.loader:
                step(p, images, labels)
                if each_batch:
                    p.scheduler.step()  # type: ignore[attr-defined]
            if not each_batch:
                p.scheduler.step()  # type: ignore[attr-defined]

    return run


def _schedule(name: str, make: Callable[[torch.optim.Optimizer], object], *, each_batch: bool) -> None:
    CASES.append(
        Sick(name, "scheduler-at-the-wrong-rate", "warning", scheduled(make), _stepping(each_batch=each_batch))
    )


_schedule("cosine_in_epochs_per_batch", lambda o: lr_scheduler.CosineAnnealingLR(o, 5), each_batch=True)
_schedule("steps_in_epochs_per_batch", lambda o: lr_scheduler.StepLR(o, 2, 0.1), each_batch=True)
_schedule("exponential_per_batch", lambda o: lr_scheduler.ExponentialLR(o, 0.4), each_batch=True)
CASES.append(
    Sick(
        "lambda_that_climbs_again",
        "scheduler-at-the-wrong-rate",
        "note",  # cycles that are meant may look so
        scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.5 * (1 + math.cos(math.pi * t / 8)))),
        _stepping(each_batch=True),
    )
)
_schedule("one_cycle_per_epoch", lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=1_200), each_batch=False)
_schedule("long_cosine_per_epoch", lambda o: lr_scheduler.CosineAnnealingLR(o, 39_100), each_batch=False)


def _warmed(o: torch.optim.Optimizer, warmup: int, then: object) -> object:
    return lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o, 0.01, total_iters=warmup), then], [warmup])  # type: ignore[list-item]


_schedule(
    "warmup_and_cosine_in_epochs_per_batch",
    lambda o: _warmed(o, 2, lr_scheduler.CosineAnnealingLR(o, 4)),
    each_batch=True,
)
_schedule(
    "warmup_and_steps_in_epochs_per_batch", lambda o: _warmed(o, 1, lr_scheduler.StepLR(o, 2, 0.1)), each_batch=True
)
_schedule(
    "warmup_and_cosine_in_batches_per_epoch",
    lambda o: _warmed(o, 500, lr_scheduler.CosineAnnealingLR(o, 38_600)),
    each_batch=False,
)
_schedule(
    "linear_decay_in_epochs_per_batch",
    lambda o: lr_scheduler.LambdaLR(o, lambda t: t / 2 if t < 2 else max(0.0, (8 - t) / 6)),
    each_batch=True,
)
_schedule("polynomial_in_epochs_per_batch", lambda o: lr_scheduler.PolynomialLR(o, 8), each_batch=True)
CASES.append(
    Sick(
        "warmup_in_batches_per_epoch",
        "scheduler-at-the-wrong-rate",
        "warning",
        scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, (t + 1) / 500))),
        _stepping(each_batch=False, epochs=4),
    )
)


@sick("scheduler-at-the-wrong-rate", "warning", scheduled(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2)))
def plateau_per_batch(p: Parts) -> None:
    for _ in range(4):
        for images, labels in p.loader:
            step(p, images, labels)
            p.scheduler.step(1.0)  # type: ignore[attr-defined]


def _scheduled_before(make: Callable[[torch.optim.Optimizer], object]) -> Callable[[], Parts]:
    def made() -> Parts:
        p = parts()
        return replace(p, scheduler=make(torch.optim.AdamW(p.model.parameters(), 1e-3)))

    return made


@sick("scheduler-of-another-optimizer", "warning", _scheduled_before(lambda o: lr_scheduler.CosineAnnealingLR(o, 30)))
def scheduler_of_an_older_optimizer(p: Parts) -> None:
    for images, labels in p.loader:
        step(p, images, labels)
        p.scheduler.step()  # type: ignore[attr-defined]


@sick("scheduler-of-another-optimizer", "warning", _scheduled_before(lambda o: lr_scheduler.StepLR(o, 1, 0.1)))
def scheduler_of_an_older_optimizer_per_epoch(p: Parts) -> None:
    for _ in range(3):
        train(p, 1)
        p.scheduler.step()  # type: ignore[attr-defined]


@sick("scheduler-never-stepped", "note", scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 30)))
def scheduler_forgotten(p: Parts) -> None:
    train(p, 2)


@sick(
    "scheduler-never-stepped",
    "warning",
    scheduled(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=30), loss=None),
)
def one_cycle_forgotten(p: Parts) -> None:
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()


CASES.append(
    Sick(
        "first_epoch_at_zero",
        "learning-rate-zero-at-the-start",
        "note",
        scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: min(1.0, epoch / 3))),
        _stepping(each_batch=False, epochs=3),
    )
)


@sick("learning-rate-zero-at-the-start", "note")
def first_epoch_at_zero_by_hand(p: Parts) -> None:
    for epoch in range(2):
        for group in p.optimizer.param_groups:
            group["lr"] = 1e-3 * epoch / 5
        train(p, 1)


@sick("learning-rate-always-zero", "warning", lambda: parts(optimizer=sgd(0.0)))
def made_without_a_rate(p: Parts) -> None:
    train(p, 1)


@sick(
    "learning-rate-always-zero", "error", lambda: parts(optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=0.0))
)
def adamw_without_a_rate(p: Parts) -> None:
    train(p, 2)


@sick("learning-rate-always-zero", "error")
def warmup_in_whole_numbers(p: Parts) -> None:
    for epoch in range(3):
        for group in p.optimizer.param_groups:
            group["lr"] = 1e-3 * (epoch // 5)
        train(p, 1)


@sick("scheduler-before-optimizer", "note", scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 100)))
def scheduler_first(p: Parts) -> None:
    for images, labels in p.loader:
        p.scheduler.step()  # type: ignore[attr-defined]
        step(p, images, labels)


@sick("scheduler-before-optimizer", "note", scheduled(lambda o: lr_scheduler.StepLR(o, 30)))
def scheduler_first_in_the_epoch(p: Parts) -> None:
    for _ in range(2):
        p.scheduler.step()  # type: ignore[attr-defined]
        train(p, 1)


# settings


@sick(
    "l2-decay-in-adam",
    "warning",
    lambda: parts(optimizer=lambda m: torch.optim.Adam(m.parameters(), weight_decay=5e-4)),
)
def adam_with_decay(p: Parts) -> None:
    train(p, 1)


@sick(
    "l2-decay-in-adam",
    "warning",
    lambda: parts(optimizer=lambda m: torch.optim.NAdam([{"params": list(m.parameters()), "weight_decay": 0.03}])),
)
def nadam_with_decay_in_a_group(p: Parts) -> None:
    train(p, 1)


@sick(
    "decay-on-norms-and-positions", "note", lambda: parts(optimizer=lambda m: torch.optim.AdamW(m.parameters(), 1e-3))
)
def decay_on_everything(p: Parts) -> None:
    train(p, 1)


@sick(
    "decay-on-norms-and-positions",
    "note",
    lambda: parts(
        optimizer=lambda m: torch.optim.AdamW(
            [
                {"params": [p for p in m.parameters() if p.ndim > 1]},
                {"params": [p for p in m.parameters() if p.ndim < 2], "weight_decay": 0.0},
            ],
            1e-3,
        )
    ),
)
def decay_on_positions_only(p: Parts) -> None:
    train(p, 1)


# data


@sick("batches-sorted-by-class", "error", lambda: parts(loader=loader_of(shuffle=False, by_class=True)))
def sorted_by_class(p: Parts) -> None:
    train(p, 1)


def _sorted_dicts() -> Parts:
    images, labels = images_of(by_class=True)
    return parts(loader=DataLoader(DictSet(images, labels), batch_size=20))


@sick("batches-sorted-by-class", "error", _sorted_dicts)
def sorted_dicts(p: Parts) -> None:
    for _ in range(2):
        for batch in p.loader:
            step(p, batch["pixel_values"], batch["labels"])  # type: ignore[call-overload]


@sick("same-order-in-every-epoch", "warning", lambda: parts(loader=loader_of(shuffle=False)))
def unshuffled(p: Parts) -> None:
    train(p, 2)


class Fixed(torch.utils.data.Sampler[int]):
    """The same permutation in each epoch."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(torch.randperm(160, generator=torch.Generator().manual_seed(3)).tolist())

    def __len__(self) -> int:
        return 160


def _fixed() -> Parts:
    images, labels = images_of()
    return parts(loader=DataLoader(DictSet(images, labels), batch_size=20, sampler=Fixed()))


@sick("same-order-in-every-epoch", "warning", _fixed)
def same_permutation(p: Parts) -> None:
    for _ in range(2):
        for batch in p.loader:
            images: Tensor = batch["pixel_values"]  # type: ignore[call-overload]
            step(p, images, batch["labels"])  # type: ignore[call-overload]


@sick("validation-leaves-samples-out", "note", lambda: parts(val=loader_of(70, seed=1, shuffle=False, drop_last=True)))
def drop_last_in_validation(p: Parts) -> None:
    train(p, 1)
    evaluate(p)


@sick(
    "validation-leaves-samples-out",
    "note",
    lambda: parts(val=DataLoader(DictSet(*images_of(50, seed=2)), batch_size=40, drop_last=True)),
)
def drop_last_in_dict_validation(p: Parts) -> None:
    assert p.val is not None
    for _ in range(2):
        train(p, 1)
        p.model.eval()
        with torch.no_grad():
            for batch in p.val:
                p.model(batch["pixel_values"])  # type: ignore[call-overload]


def mislabelled(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], **others: object) -> Callable[[], Parts]:
    """Images and labels after a change, enough of them that none is learned by heart in some epochs."""

    def made() -> Parts:
        data = TensorDataset(*change(*images_of(640)))
        return parts(loader=DataLoader(data, 32, shuffle=True), val=loader_of(160, seed=1, shuffle=False), **others)

    return made


@sick("loss-never-leaves-guessing", "note", mislabelled(lambda x, y: (x, y[torch.randperm(len(y))])))
def labels_in_another_order(p: Parts) -> None:
    for _ in range(4):
        train(p, 1)
        evaluate(p)


@sick("loss-never-leaves-guessing", "note", mislabelled(lambda x, y: (x.roll(1, 0), y), optimizer=sgd(0.05)))
def images_one_before_their_labels(p: Parts) -> None:
    train(p, 4)


@sick("gradients-clipped-after-the-step", "warning", lambda: parts(optimizer=sgd(0.01)))
def clipped_behind_the_step(p: Parts) -> None:
    for images, labels in p.loader:
        p.optimizer.zero_grad()
        F.cross_entropy(p.model(images), labels).backward()
        p.optimizer.step()
        nn.utils.clip_grad_norm_(p.model.parameters(), 0.5)


@sick("gradients-clipped-after-the-step", "warning")
def clipped_behind_the_step_and_cleared_at_once(p: Parts) -> None:
    for number, (images, labels) in enumerate(p.loader):
        (F.cross_entropy(p.model(images), labels) / 2).backward()
        if number % 2:
            p.optimizer.step()
            nn.utils.clip_grad_norm_(p.model.parameters(), 0.1)
            p.model.zero_grad()
