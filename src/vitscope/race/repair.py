"""Mending what the doctor found, where it knows how, in a copy: a model and a finding in, the mended model and a sentence on what was done out.

A mend changes nothing but what the finding names: the weights and all else stay as they are, so a race of the two tells what the fault costs. What
would take other weights (zeros that keep each other asleep, a missing layer) is not mended here; blocks that were one block need some, and get the
numbers that they shared, in another order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope._core.errors import Interrupted
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.copying import unwrapped
from vitscope.doctor.finding import Finding, Skipped
from vitscope.doctor.patient import scores_of
from vitscope.lens.randomness import seed_cpu
from vitscope.race import mends, mends_attention, mends_blocks
from vitscope.race.ends import raw_scores

Mend = Callable[[nn.Module, Finding, Tensor], Text | None]
"""Changes a model, and says what it did; None where it found nothing to change."""


@dataclass(frozen=True, eq=False)
class Mended:
    """A model without a fault, and what was done to it."""

    model: nn.Module
    done: Text


def mended(model: nn.Module, finding: Finding, images: Tensor) -> Mended | None:
    """A copy of the model without this fault; None where there is no mend, or it would change nothing (`tried` says why)."""
    found = tried(model, finding, images)
    return found if isinstance(found, Mended) else None


def tried(model: nn.Module, finding: Finding, images: Tensor) -> Mended | Text | None:
    """A copy of the model without this fault; why not, where a mend that there is does not do; None where there is none.

    Args:
        model: it stays as it is.
        finding: what the doctor found in it.
        images: B C H W of at least two images; a forward of them shows where the model has to be changed.
    """
    mend = _MENDS.get(finding.id)
    if mend is None:
        return None
    try:
        return _tried(unwrapped(model), mend, finding, images)
    except Skipped as why:
        return why.why
    except Interrupted:
        raise
    except Exception as error:  # whatever somebody's forward does under a mend
        return _DOES_NOT_RUN.format(kind=type(error).__name__, said=first_line(error))


def _tried(model: nn.Module, mend: Mend, finding: Finding, images: Tensor) -> Mended | Text:
    twin = copy.deepcopy(model)
    with _evaluating(model), _evaluating(twin):
        done = mend(twin, finding, images)
        if done is None:
            return _NO_PLACE
        if finding.id not in _OF_GRADIENTS and torch.equal(_answer(model, images), _answer(twin, images)):
            return _CHANGES_NOTHING
    if not same_but_for_the_mend(model, twin):
        return _OTHER_WEIGHTS
    if mend is raw_scores and _alike_in_training(model, twin, images):
        return _NOT_IN_TRAINING
    return Mended(twin, done)


_DOES_NOT_RUN = Text(
    "the mended copy does not run ({kind}: {said})", "修正したコピーを実行できません（{kind}: {said}）"
)
_NO_PLACE = Text("the place to change was not found", "修正すべき箇所が見つかりませんでした")
_CHANGES_NOTHING = Text("it changes no score", "修正してもスコアが変わりません")
_OTHER_WEIGHTS = Text("it would change weights", "重みが変わってしまいます")
_NOT_IN_TRAINING = Text(
    "the fault shows in evaluation only, so a training would not differ",
    "この問題は評価時にだけ現れ、学習には影響しません",
)


_MENDS: dict[str, Mend] = {
    "class-token-never-sees-a-patch": mends.batch_first,
    "attention-across-the-batch": mends.batch_first,
    "patches-never-meet": mends.batch_first,
    "class-token-masked-from-patches": mends.without_mask,
    "causal-mask": mends.without_mask,
    "position-blind": mends.position_added,
    "frozen-zeros": mends.set_free,
    "frozen-as-drawn": mends.all_set_free,
    "read-out-detached": mends.attached,
    "random-in-evaluation": mends.dropout_by_mode,
    "patches-cut-wrong": mends.channels_last,
    "softmax-in-the-model": raw_scores,
    "sigmoid-in-the-model": raw_scores,
    "bounded-scores": raw_scores,
    "rectified-scores": raw_scores,
    "dropout-behind-the-head": raw_scores,
    "attention-not-scaled": mends_attention.scaled,
    "scaled-by-the-reciprocal": mends_attention.scaled,
    "scaled-twice": mends_attention.scaled,
    "scaled-by-another-number": mends_attention.scaled,
    "softmax-over-the-wrong-axis": mends_attention.over_keys,
    "heads-split-across-tokens": mends_attention.whole_tokens,
    "heads-merged-across-tokens": mends_attention.whole_tokens,
    "final-norm-missing": mends_blocks.norm_called,
    "skip-missing": mends_blocks.skips_added,
    "mlp-without-activation": mends_blocks.activation_called,
    "module-never-called": mends_blocks.parts_called,
    "shared-blocks": mends_blocks.unshared,
}
"""By the id of the fault."""
_OF_GRADIENTS = ("read-out-detached", "frozen-zeros", "frozen-as-drawn", "position-blind", "dropout-behind-the-head")
"""Mends that may leave the scores of an untrained model as they are, and change how it learns."""


def same_but_for_the_mend(one: nn.Module, other: nn.Module) -> bool:
    """Whether the second holds the first's numbers under the first's names, and others only where the first holds some under several names."""
    a, b = dict(one.named_parameters()), dict(other.named_parameters())
    names = {name for name, _ in one.named_parameters(remove_duplicate=False)}
    return a.keys() <= b.keys() <= names and all(torch.equal(a[name], b[name]) for name in a)


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


@torch.no_grad()
def _alike_in_training(one: nn.Module, other: nn.Module, images: Tensor) -> bool:
    """Whether both give the same scores in training mode; on copies, whose running means may move."""
    answers = [_answer(copy.deepcopy(each).train(), images) for each in (one, other)]
    return torch.equal(*answers)


def _answer(model: nn.Module, images: Tensor) -> Tensor:
    seed_cpu(0)
    return scores_of(model(images.clone()), len(images))
