"""Losses that do not move: what explains them stands first, and no rate is proposed that is below the one in use. Losses that
are those of guessing: nothing more is said of them where anything else holds them there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from watch_parts import Parts, parts, step, train
from watch_sick import mislabelled, sgd

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops


def seen(p: Parts, each: Callable[[Parts, Tensor, Tensor], None] = step, epochs: int = 6) -> dict[str, Finding]:
    with vitscope.watch(p.model, p.optimizer, p.loader, scheduler=p.scheduler, val_loader=p.val) as watched:
        train(p, epochs, each)
    return {each.id: each for each in watched.findings}


def rewrapped(p: Parts, images: Tensor, labels: Tensor) -> None:
    p.optimizer.zero_grad()
    torch.tensor(F.cross_entropy(p.model(images), labels).item(), requires_grad=True).backward()
    p.optimizer.step()


def without_history(p: Parts, images: Tensor, labels: Tensor) -> None:
    p.optimizer.zero_grad()
    with torch.no_grad():
        loss = F.cross_entropy(p.model(images), labels)
    loss.requires_grad_().backward()
    p.optimizer.step()


def zeroed(p: Parts, images: Tensor, labels: Tensor) -> None:
    p.optimizer.zero_grad()
    F.cross_entropy(p.model(images), labels).backward()
    for parameter in p.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    p.optimizer.step()


@pytest.mark.parametrize(
    ("each", "cause"),
    [
        (rewrapped, "loss-detached"),
        (without_history, "loss-detached"),
        (zeroed, "no-gradient-at-the-step"),
    ],
)
def test_a_loss_that_cannot_move_is_folded_under_what_holds_it(each: Callable[..., None], cause: str) -> None:
    found = seen(parts(), each)
    assert found["loss-does-not-move"].folded_under == cause
    assert [one.id for one in found.values() if one.folded_under is None] == [cause]


def test_a_rate_that_is_too_low_is_raised() -> None:
    fault = seen(parts(optimizer=sgd(1e-6, 0.0)))["loss-does-not-move"].fault
    assert fault.advice.en.startswith("raise the learning rate")
    assert "SGD" in fault.code
    assert "lr=0.05" in fault.code


def of_next_to_nothing(p: Parts, images: Tensor, labels: Tensor) -> None:
    p.optimizer.zero_grad()
    (F.cross_entropy(p.model(images), labels) * 1e-6).backward()
    p.optimizer.step()


def test_no_rate_is_proposed_below_the_one_in_use() -> None:
    fault = seen(parts(optimizer=sgd(0.1, 0.0)), of_next_to_nothing)["loss-does-not-move"].fault
    assert "the rate itself is a usual one" in fault.advice.en
    assert not fault.code


def never_cleared(p: Parts, images: Tensor, labels: Tensor) -> None:
    F.cross_entropy(p.model(images), labels).backward()
    p.optimizer.step()


shuffled = mislabelled(lambda x, y: (x, y[torch.randperm(len(y))]), optimizer=sgd(0.02))


def test_a_loss_of_guessing_is_told_of_only_where_nothing_else_explains_it() -> None:
    assert set(seen(shuffled(), epochs=4)) == {"loss-never-leaves-guessing"}
    found = seen(shuffled(), never_cleared, epochs=4)
    assert "gradients-not-cleared" in found
    assert "loss-never-leaves-guessing" not in found
