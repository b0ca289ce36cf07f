"""Gradients that are cleared in part, and gradients that an optimizer unscales itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from watch_parts import Parts, ViT, parts

import vitscope
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops


def watched(p: Parts, clear: Callable[[Parts], object], *, epochs: int = 2) -> Watched:
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for _ in range(epochs):
            for images, labels in p.loader:
                clear(p)
                F.cross_entropy(p.model(images), labels).backward()
                p.optimizer.step()
    return seen


def the_blocks(p: Parts) -> None:
    assert isinstance(p.model, ViT)
    p.model.blocks.zero_grad()


def all_but_the_head(p: Parts) -> None:
    for name, parameter in p.model.named_parameters():
        if "head" not in name and parameter.grad is not None:
            parameter.grad.zero_()


def the_matrices(p: Parts) -> None:
    for parameter in p.model.parameters():
        parameter.grad = None if parameter.ndim > 1 else parameter.grad


@pytest.mark.parametrize(
    ("clear", "left"),
    [
        (the_blocks, {"cls_token", "pos_embed", "patch", "norm", "head"}),
        (all_but_the_head, {"head"}),
        (the_matrices, {"patch", "blocks", "norm", "head"}),
    ],
    ids=["blocks", "all-but-the-head", "matrices"],
)
def test_gradients_that_are_cleared_in_part_are_named(clear: Callable[[Parts], object], left: set[str]) -> None:
    (finding,) = [f for f in watched(parts(), clear).findings if f.severity != "note"]
    assert (finding.id, finding.severity) == ("gradients-not-cleared", "error")
    names = finding.evidence["not_cleared"]
    assert {name.partition(".")[0] for name in names} == left
    assert names[0] in finding.summary.en
    assert names[0] in finding.summary.ja
    assert "19 of the 19 optimizer steps" in finding.summary.en


def by_data(p: Parts) -> None:
    for parameter in p.model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()


def by_parts(p: Parts) -> None:
    for part in p.model.children():
        part.zero_grad()
    assert isinstance(p.model, ViT)
    p.model.cls_token.grad = p.model.pos_embed.grad = None


@pytest.mark.parametrize(
    "clear", [by_data, by_parts, lambda p: p.optimizer.zero_grad(False)], ids=["data", "parts", "zero"]
)
def test_gradients_that_are_cleared_part_by_part_are_cleared(clear: Callable[[Parts], object]) -> None:
    assert not watched(parts(), clear).findings


def test_a_part_that_stands_still_need_not_be_cleared() -> None:
    """Its learning rate is 0: what is in its gradients is of no account."""

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        assert isinstance(model, ViT)
        rest = [q for n, q in model.named_parameters() if "blocks" in n]
        return torch.optim.SGD(
            [{"params": rest}, {"params": [q for n, q in model.named_parameters() if "blocks" not in n], "lr": 0.0}],
            lr=0.01,
        )

    assert not watched(parts(optimizer=optimizer), the_blocks).findings


def test_a_part_of_which_another_network_is_made_is_cleared_before_its_own_backward() -> None:
    """As a discriminator: the other's loss reaches it between its steps."""
    p = parts()
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for _ in range(2):
            for images, labels in p.loader:
                (-F.cross_entropy(p.model(images), labels)).backward()
                other.step()
                p.optimizer.zero_grad()
                F.cross_entropy(p.model(images), labels).backward()
                p.optimizer.step()
    assert "gradients-not-cleared" not in {finding.id for finding in seen.findings}


def fused(kind: type[torch.optim.Optimizer]) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: kind(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)  # type: ignore[call-arg]


def scaled(p: Parts, *, scale: float, clip: float | None = None, unscale: bool = False) -> Watched:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    with vitscope.watch(p.model, p.optimizer, p.loader) as seen:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(p.model(images), labels)
            scaler.scale(loss).backward()
            if unscale:
                scaler.unscale_(p.optimizer)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(p.model.parameters(), clip)
            scaler.step(p.optimizer)
            scaler.update()
    return seen


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_that_unscales_itself_is_sound(kind: type[torch.optim.Optimizer]) -> None:
    for run in (partial(scaled, scale=65536.0), partial(scaled, scale=1024.0, clip=1.0, unscale=True)):
        seen = run(parts(optimizer=fused(kind)))
        assert not seen.findings
        assert seen.report.facts["steps"] == 10


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_what_it_skips_is_no_step(kind: type[torch.optim.Optimizer]) -> None:
    """The scale begins far too high, as any does at first: nothing stands still for another reason."""
    (finding,) = scaled(parts(optimizer=fused(kind)), scale=2.0**60).findings
    assert (finding.id, finding.severity) == ("no-step", "warning")
    assert "GradScaler skipped all 10 steps" in finding.summary.en


def test_clipping_before_it_unscales_is_found() -> None:
    (finding,) = scaled(parts(optimizer=fused(torch.optim.SGD)), scale=65536.0, clip=1.0).findings
    assert finding.id == "gradients-clipped-to-nothing"
