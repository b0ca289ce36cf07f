"""What findings of loops say: the right number, in the right number of things."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import images_of, parts, train

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
