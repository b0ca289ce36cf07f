"""Watching changes nothing: not the training, not what is left behind, not what an error of the loop's does."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from watch_parts import Parts, ViT, evaluate, loader_of, parts, step, train
from watch_sick import zero_grad_missing

import vitscope
from vitscope._core.errors import UsageError
from vitscope.doctor.loop.fit import fitted
from vitscope.doctor.loop.undisturbed import undisturbed

pytestmark = pytest.mark.e2e  # whole loops


def weights(run: Callable[[Parts], None], *, watching: bool) -> tuple[dict[str, Tensor], list[object]]:
    """The weights and all random states after a loop of 70 steps, which is over all of the watcher's own experiments."""
    np.random.seed(1)
    p = parts(val=loader_of(70, seed=1))
    p.scheduler = lr_scheduler.CosineAnnealingLR(p.optimizer, 70)
    torch.manual_seed(1)
    block = (
        vitscope.watch(p.model, p.optimizer, p.loader, loss_fn=p.loss, scheduler=p.scheduler, val_loader=p.val)
        if watching
        else nullcontext()
    )
    with block:
        run(p)
    # Python's own random numbers are drawn by beartype while the tests run; see below
    states: list[object] = [np.random.rand(), torch.rand(3).tolist()]
    return {name: value.clone() for name, value in p.model.state_dict().items()}, states


def ordinary(p: Parts) -> None:
    for _ in range(7):
        train(p, 1)
        evaluate(p)
        p.scheduler.step()  # type: ignore[attr-defined]


def scaled(p: Parts) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for _ in range(3):
        for images, labels in p.loader:
            p.model.zero_grad(set_to_none=False)
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(p.model(images), labels)
            scaler.scale(loss).backward()
            scaler.step(p.optimizer)
            scaler.update()


@pytest.mark.parametrize("run", [ordinary, scaled, zero_grad_missing])
def test_the_training_is_bit_for_bit_the_same(run: Callable[[Parts], None]) -> None:
    (plain, states), (watched, same) = weights(run, watching=False), weights(run, watching=True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert states == same


def test_random_states_are_put_back() -> None:
    def draws() -> list[object]:
        return [random.random(), np.random.rand(), torch.rand(3).tolist()]

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    wanted = draws()
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    with undisturbed():
        draws()
    assert draws() == wanted


def surroundings(p: Parts) -> list[object]:
    assert p.loss is not None
    methods = [
        vars(owner).get(name)
        for owner, name in (
            (torch.Tensor, "backward"),
            (torch.optim.Optimizer, "zero_grad"),
            (torch.nn.Module, "zero_grad"),
            (torch.amp.GradScaler, "scale"),
            (torch.amp.GradScaler, "step"),
            (DataLoader, "__iter__"),
            (lr_scheduler.LRScheduler, "step"),
            (lr_scheduler.StepLR, "step"),
            (type(p.optimizer), "zero_grad"),
        )
    ]
    hooks = [
        *(len(module._forward_hooks) for module in (p.model, p.loss)),
        len(p.optimizer._optimizer_step_pre_hooks),
        len(p.optimizer._optimizer_step_post_hooks),
    ]
    return [*methods, *hooks, sorted(vars(p.model)), p.model.training, type(p.loader)]


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_left_behind(raises: bool) -> None:
    p = parts(val=loader_of(70, seed=1))
    p.scheduler = lr_scheduler.StepLR(p.optimizer, 30)
    before = surroundings(p)
    with pytest.raises(ZeroDivisionError) if raises else nullcontext():  # noqa: SIM117  the error has to pass through
        with vitscope.watch(
            p.model, p.optimizer, p.loader, loss_fn=p.loss, scheduler=p.scheduler, val_loader=p.val
        ) as watched:
            zero_grad_missing(p)
            assert surroundings(p) != before
            if raises:
                raise ZeroDivisionError("the user's own")
    assert surroundings(p) == before
    assert [finding.id for finding in watched.findings if finding.severity == "error"] == ["gradients-not-cleared"]
    assert any("ZeroDivisionError" in note.en for note in watched.report.notes) is raises


def test_the_report_is_there_inside_of_the_block_and_readable() -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        zero_grad_missing(p)
        assert "gradients-not-cleared" in {finding.id for finding in watched.findings}
    assert "zero_grad" in str(watched.report) == str(watched)
    html = watched._repr_html_()
    assert "<table>" in html
    assert "zero_grad" in html
    for lang in ("en", "ja"):
        said = json.loads(json.dumps(watched.report.to_dict(lang), allow_nan=False))
        assert said["healthy"] is False
        assert said["facts"]["steps"] == 10


def test_copies_and_pickles_made_inside_tell_nothing() -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
        twin = copy.deepcopy(p.model)
        twin.zero_grad()
        twin.eval()
        with torch.no_grad():
            for images, _ in loader_of(70):
                twin(images)
        file = io.BytesIO()
        torch.save(p.model, file)
        pickle.loads(pickle.dumps(p.model))(torch.zeros(2, 3, 16, 16))
    assert watched.report.facts["forwards"] == 10
    assert not watched.findings


def test_accelerate() -> None:
    """The loop's objects are Accelerate's: gradients are accumulated by it, and the loss goes through it."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    p = parts()
    scheduler = lr_scheduler.CosineAnnealingLR(p.optimizer, 15)
    model, optimizer, loader, stepped = accelerator.prepare(p.model, p.optimizer, p.loader, scheduler)
    with vitscope.watch(model, optimizer, loader, loss_fn=p.loss, scheduler=stepped) as watched:
        for _ in range(3):
            for images, labels in loader:
                with accelerator.accumulate(model):
                    accelerator.backward(F.cross_entropy(model(images), labels))
                    optimizer.step()
                    stepped.step()
                    optimizer.zero_grad()
    assert watched.report.facts["steps"] == 15
    assert watched.report.facts["backwards_per_step"] == 2
    assert not watched.findings, str(watched)


def test_an_optimizer_that_was_stepped_by_its_own_method_is_not_accused() -> None:
    class Own(torch.optim.SGD):
        def second_step(self) -> None:
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= 0.01 * parameter.grad

    p = parts(optimizer=lambda m: Own(m.parameters(), lr=0.1))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.second_step()  # type: ignore[attr-defined]
    assert not watched.findings
    assert {"loop-parameters", "loop-gradients"} <= {skip.check for skip in watched.report.skipped}


def test_a_block_without_a_training_tells_nothing() -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer) as watched:
        pass
    assert {skip.check for skip in watched.report.skipped} == {
        "loop-parameters",
        "loop-gradients",
        "loop-loss",
        "loop-modes",
        "loop-schedule",
        "loop-settings",
        "loop-data",
    }


def test_a_list_of_batches_cannot_be_watched_and_says_so() -> None:
    p = parts()
    batches = list(p.loader)
    with vitscope.watch(p.model, p.optimizer, batches) as watched:
        for images, labels in batches:
            step(p, images, labels)
    assert not watched.findings
    assert any("list" in note.en for note in watched.report.notes)


def test_what_is_no_model_or_no_optimizer_is_refused_before_anything_is_hooked() -> None:
    p = parts()
    with pytest.raises(UsageError, match="watch was given"), vitscope.watch(p.model, object()):
        pass
    assert not p.model._forward_hooks


def test_a_loss_is_read_from_its_gradient() -> None:
    scores = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])

    def read(loss: Tensor, scale: float = 1.0) -> tuple[bool, float, float]:
        (gradient,) = torch.autograd.grad(loss, scores)
        fit = fitted(scores.detach(), gradient, labels, scale=scale)
        assert fit is not None
        return fit.is_cross_entropy, round(fit.size, 4), round(fit.smoothing, 4)

    assert read(F.cross_entropy(scores, labels)) == (True, 1.0, 0.0)
    assert read(F.cross_entropy(scores, labels) / 8) == (True, 0.125, 0.0)
    assert read(F.cross_entropy(scores, labels, reduction="sum")) == (True, 8.0, 0.0)
    assert read(64 * F.cross_entropy(scores, labels, label_smoothing=0.1), 64.0) == (True, 1.0, 0.1)
    assert not read(F.mse_loss(scores, F.one_hot(labels, 5).float()))[0]
    assert not read(F.cross_entropy(scores, labels.flip(0)))[0]


def test_the_model_is_read_in_both_modes_without_being_touched() -> None:
    p = parts(ViT(dropout=0.5))
    hits: list[int] = []
    p.model.register_forward_hook(lambda *_: hits.append(1))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 2)
    assert len(hits) == 20
    (found,) = [finding for finding in watched.findings if finding.id == "too-much-dropout"]
    assert found.evidence["median_dropout"] == 0.5
    assert found.evidence["loss_in_training_mode"] > found.evidence["loss_in_evaluation_mode"]


OWN = torch.Generator()
NUMPYS = np.random.default_rng(0)


class DrawsForItself(ViT):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * (torch.rand(len(x), 1, 1, 1, generator=OWN) > 0.1) * float(NUMPYS.random() > 0.1)
        return super().forward(x)


class WithNorm(torch.nn.Module):
    """Its norm's forward was replaced by a function over the old one, which a copy of the model would call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 10)
        before = self.norm.forward
        self.norm.forward = lambda x: before(x) * 1.0  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x)).mean((-1, -2)))


@pytest.mark.parametrize("make", [DrawsForItself, WithNorm])
def test_what_a_copy_shares_with_its_model_is_left_alone(make: Callable[[], torch.nn.Module]) -> None:
    def trained(*, watching: bool) -> tuple[dict[str, Tensor], list[float]]:
        OWN.manual_seed(5)
        NUMPYS.bit_generator.state = np.random.default_rng(5).bit_generator.state
        torch.manual_seed(0)
        p = parts(make())
        torch.manual_seed(1)
        with vitscope.watch(p.model, p.optimizer, p.loader) if watching else nullcontext():
            train(p, 2)
        return p.model.state_dict(), [*torch.rand(2, generator=OWN).tolist(), NUMPYS.random()]

    (plain, drawn), (watched, same) = trained(watching=False), trained(watching=True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert drawn == same
