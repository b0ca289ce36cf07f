"""Two optimizers on one model, of which watch is given one: trained in turns each uses its gradients, accumulated and cleared for each batch they are
lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import optimizer as optimizers
from watch_parts import ViT, loader_of

import vitscope
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops

Split = Callable[[str], bool]
SPLITS: dict[str, Split] = {"head": lambda name: "head" in name, "blocks": lambda name: "blocks" in name}


def watched(split: Split, every: int, *, in_turns: bool, clear: Callable[[nn.Module], None]) -> Watched:
    torch.manual_seed(0)
    model, loader = ViT(), loader_of(320)
    first = torch.optim.AdamW([p for n, p in model.named_parameters() if not split(n)], lr=1e-3, weight_decay=0.0)
    second = torch.optim.SGD([p for n, p in model.named_parameters() if split(n)], lr=0.01)
    with vitscope.watch(model, first, loader) as seen:
        for _ in range(2):
            for number, (images, labels) in enumerate(loader):
                clear(model)
                F.cross_entropy(model(images), labels).backward()
                if in_turns:
                    (first if number % every == every - 1 else second).step()
                elif number % every == every - 1:
                    first.step()
                    second.step()
    return seen


def at_once(model: nn.Module) -> None:
    model.zero_grad()


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("every", [2, 4])
def test_optimizers_in_turns_throw_nothing_away(split: Split, every: int) -> None:
    assert not watched(split, every, in_turns=True, clear=at_once).findings


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("every", [2, 4])
def test_gradients_that_no_optimizer_goes_by_are_thrown_away(split: Split, every: int) -> None:
    (finding,) = watched(split, every, in_turns=False, clear=at_once).findings
    assert (finding.id, finding.severity) == ("accumulated-gradients-thrown-away", "warning")


def test_steps_of_all_optimizers_are_seen_in_the_block_only() -> None:
    before = len(optimizers._global_optimizer_post_hooks)
    watched(SPLITS["head"], 2, in_turns=True, clear=at_once)
    assert len(optimizers._global_optimizer_post_hooks) == before
