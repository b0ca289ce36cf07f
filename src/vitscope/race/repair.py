"""Mending what the doctor found, where it knows how, in a copy: a model and a finding in, the mended model and a sentence on what was done out.

A mend changes nothing but what the finding names: the weights and all else stay as they are, so a race of the two tells what the fault costs. What
would take other weights (zeros that keep each other asleep, a missing layer) is not mended here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding
from vitscope.race import mends

Mend = Callable[[nn.Module, Finding, Tensor], Text | None]
"""Changes a model, and says what it did; None where it found nothing to change."""


@dataclass(frozen=True, eq=False)
class Mended:
    """A model without a fault, and what was done to it."""

    model: nn.Module
    done: Text


def mended(model: nn.Module, finding: Finding, images: Tensor) -> Mended | None:
    """A copy of the model without this fault; None where there is no mend, or it would change nothing.

    Args:
        model: it stays as it is.
        finding: what the doctor found in it.
        images: B C H W of at least two images; a forward of them shows where the model has to be changed.
    """
    mend = _MENDS.get(finding.id)
    if mend is None:
        return None
    twin = copy.deepcopy(model)
    try:
        with _evaluating(model), _evaluating(twin):
            done = mend(twin, finding, images)
            if done is None or (
                finding.id not in _OF_GRADIENTS and torch.equal(_answer(model, images), _answer(twin, images))
            ):
                return None
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return None  # the mended model does not run: it was none
    return Mended(twin, done) if same_but_for_the_mend(model, twin) else None


def can_mend(finding: Finding) -> bool:
    """Whether there is a mend for such a fault at all."""
    return finding.id in _MENDS


_MENDS: dict[str, Mend] = {
    "class-token-never-sees-a-patch": mends.batch_first,
    "attention-across-the-batch": mends.batch_first,
    "patches-never-meet": mends.batch_first,
    "class-token-masked-from-patches": mends.without_mask,
    "causal-mask": mends.without_mask,
    "position-blind": mends.position_added,
    "frozen-zeros": mends.set_free,
    "read-out-detached": mends.attached,
    "random-in-evaluation": mends.dropout_by_mode,
    "patches-cut-wrong": mends.channels_last,
    "softmax-in-the-model": mends.raw_scores,
    "sigmoid-in-the-model": mends.raw_scores,
    "bounded-scores": mends.raw_scores,
    "rectified-scores": mends.raw_scores,
    "dropout-behind-the-head": mends.raw_scores,
}
"""By the id of the fault."""
_OF_GRADIENTS = ("read-out-detached", "frozen-zeros", "position-blind", "dropout-behind-the-head")
"""Mends that may leave the scores of an untrained model as they are, and change how it learns."""


def same_but_for_the_mend(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models hold the same numbers under the same names."""
    a, b = dict(one.named_parameters()), dict(other.named_parameters())
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Each module in evaluation mode, and afterwards in its own."""
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _answer(model: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(0)
    answer = model(images.clone())
    return answer if isinstance(answer, Tensor) else torch.zeros(())
