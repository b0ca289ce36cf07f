"""What findings of loops say: the right number, in the right number of things."""

from __future__ import annotations

import re

import torch
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import evaluate, images_of, loader_of, parts, train

import vitscope


def test_the_decay_that_is_told_is_that_of_the_parameters_that_are_told() -> None:
    p = parts()
    matrices, others = (
        [q for q in p.model.parameters() if (q.ndim == 2 or q.ndim == 4) is wanted] for wanted in (True, False)
    )
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 1e-6}]
    p.optimizer = torch.optim.AdamW(groups, 1e-3)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
    (finding,) = watched.findings
    assert finding.id == "decay-on-norms-and-positions"
    assert finding.evidence["weight_decay"] == 1e-6


def test_one_class_in_one_run() -> None:
    """The beginning of a sorted set, which has other classes further on."""
    images, _ = images_of()
    labels = torch.arange(160).div(80, rounding_mode="floor")
    p = parts(loader=DataLoader(TensorDataset(images, labels), batch_size=16))
    with vitscope.watch(p.model, p.optimizer, p.loader, loss_fn=p.loss) as watched:
        assert p.loss is not None
        for number, (inputs, targets) in enumerate(p.loader):
            if number == 4:
                break
            p.optimizer.zero_grad()
            p.loss(p.model(inputs), targets).backward()
            p.optimizer.step()
    (finding,) = [each for each in watched.findings if each.id == "batches-sorted-by-class"]
    assert "80 in a row have 1 class in 1 run," in finding.summary.en


def test_one_parameter_gets_and_several_get() -> None:
    said = []
    for left_out in (("head.bias",), ("head.bias", "head.weight")):
        p = parts()
        others = [q for n, q in p.model.named_parameters() if n not in left_out]
        p.optimizer = torch.optim.AdamW(others, 1e-3, weight_decay=0.0)
        with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
            train(p, 1)
        said += [finding.summary.en for finding in watched.findings]
    assert "gets gradients, but is not in the optimizer: it stays." in said[0]
    assert "get gradients, but are not in the optimizer: they stay." in said[1]


def test_numbers_of_one_are_told_as_one() -> None:
    """One batch an epoch, one step, one validation batch."""
    p = parts(loader=loader_of(16), val=loader_of(16, seed=1))
    assert p.val is not None
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as watched:
        train(p, 1)
        evaluate(p, mode=True)
    said = watched.text("en")
    assert "1 of 1 validation batch went" in said
    assert "1 step cannot tell" in said
    assert "1 optimizer step cannot tell" in said
    assert not re.search(
        r"\b1 (steps|optimizer steps|validation batches|backward passes|parameters|times|epochs)\b", said
    )


def test_one_step_of_a_scaler_is_the_only_one() -> None:
    p = parts(loader=loader_of(16))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            with torch.autocast("cpu", torch.float16):
                loss = torch.nn.functional.cross_entropy(p.model(images), labels)
            scaler.scale(loss).backward()
            scaler.step(p.optimizer)
            scaler.update()
    (finding,) = watched.findings
    assert "The GradScaler skipped the only step:" in finding.summary.en
