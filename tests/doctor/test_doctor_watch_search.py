"""A learning rate that rises all the way: at which rate the loss broke is said, and a search for it is no fault. A list as a loader is told of in
words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from watch_parts import ViT, loader_of, parts, step

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops


def found(rate: Callable[[int], float], depth: int) -> list[Finding]:
    p = parts(
        ViT(depth=depth), lambda m: torch.optim.AdamW(m.parameters(), lr=1.0, weight_decay=0.0), loader=loader_of(320)
    )
    scheduler, number = torch.optim.lr_scheduler.LambdaLR(p.optimizer, rate), 0
    with vitscope.watch(p.model, p.optimizer, p.loader, scheduler=scheduler) as watched:
        for _ in range(3):
            for images, labels in p.loader:
                step(p, images, labels)
                scheduler.step()
                number += 1
    return [each for each in watched.findings if each.id == "learning-rate-too-high"]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_search_for_the_rate_is_told_where_the_loss_broke(depth: int) -> None:
    (finding,) = found(lambda t: 1e-6 * 1e7 ** (t / 59), depth)
    assert finding.severity == "note"
    assert "The rate rises all the way from 1e-06: the loss is lowest near" in finding.summary.en
    assert "学習率は1e-06から上がり続けており" in finding.summary.ja
    assert "is looked for" in finding.fault.why.en


@pytest.mark.parametrize("depth", [1, 3])
def test_a_warm_up_that_goes_too_far_is_a_warning_with_the_rate(depth: int) -> None:
    (finding,) = found(lambda t: 1e-4 + t / 60, depth)
    assert finding.severity == "warning"
    assert "The rate rises all the way" in finding.summary.en


def test_a_list_of_batches_is_told_of_in_words() -> None:
    p = parts()
    batches = list(p.loader)
    with vitscope.watch(p.model, p.optimizer, batches) as watched:
        for images, labels in batches:
            p.optimizer.zero_grad()
            F.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
    (note,) = [each for each in watched.report.notes if "Not watched" in each.en]
    assert "passes through the list" in note.en
    assert "渡されたlist" in note.ja
    assert "__iter__" not in str(watched)
