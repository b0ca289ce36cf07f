"""What a loss was made of: the operations that autograd noted between the model's scores and the loss. In go a loss and the place of the scores
among them, out comes a `Making`. It tells a softmax that a log-softmax takes also where targets are mixed, soft or a teacher's; gradients do not.

Shapes: scores B Y.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MOST = 500
"""A loss of more operations is not followed."""
_PARTS_OF_A_LOSS = frozenset(
    f"{name}Backward0"
    for name in (
        "LogSoftmax",
        "NllLoss",
        "KlDiv",
        "MseLoss",
        "BinaryCrossEntropy",
        "BinaryCrossEntropyWithLogits",
        "HuberLoss",
        "SmoothL1Loss",
        "SoftMarginLoss",
        "MultiMarginLoss",
        "MultilabelMarginLoss",
    )
)
_SQUASHING = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
_CHANGES_NOTHING = ("ToCopyBackward0", "ViewBackward0", "ReshapeAliasBackward0", "AliasBackward0", "CloneBackward0")
_NEVER_REACHED = 2**62
"""Leaves stand behind everything, with the largest numbers there are."""


@dataclass(frozen=True)
class Making:
    """How one loss was made."""

    is_known: bool
    """Whether one of torch's losses, or a log-softmax, is part of it."""
    log_softmax_of: frozenset[str]
    """What a log-softmax over the classes takes, where it is the scores alone that reach it: `scores`, or their `softmax` or `sigmoid`."""


def place_of(scores: Tensor) -> int | None:
    """Where scores stand among all operations of their thread; nothing is held by it."""
    return None if scores.grad_fn is None else scores.grad_fn._sequence_nr()


def making(loss: Tensor, place: int) -> Making | None:
    """What stands between scores and a loss; None where the loss does not hang on them, or by too many operations."""
    todo, seen = [loss.grad_fn], set()
    taken: set[str] = set()
    known = is_reached = False
    while todo:
        node = todo.pop()
        is_reached |= node is not None and node._sequence_nr() == place
        if node is None or node in seen or not place < node._sequence_nr() < _NEVER_REACHED:
            continue
        seen.add(node)
        if len(seen) > MOST:
            return None
        known |= node.name() in _PARTS_OF_A_LOSS
        if node.name() == "LogSoftmaxBackward0" and _is_over_classes(node):
            taken.update(_taken(node, place))
        todo.extend(_before(node))
    return Making(known, frozenset(taken)) if is_reached else None


def _taken(node: Any, place: int) -> Iterator[str]:
    """What a log-softmax takes, where nothing but one squashing stands between it and the scores."""
    squashed = "scores"
    while len(before := _before(node)) == 1:
        (node,) = before
        if node._sequence_nr() == place:
            yield squashed
            return
        if node.name() in _SQUASHING and squashed == "scores" and _is_over_classes(node):
            squashed = _SQUASHING[node.name()]
        elif node.name() not in _CHANGES_NOTHING:
            return


def _before(node: Any) -> Sequence[Any]:
    return [each for each, _ in node.next_functions if each is not None]


def _is_over_classes(node: Any) -> bool:
    """Whether a softmax is over the last of two axes; what is none is over no axis."""
    axis = getattr(node, "_saved_dim", 1)
    return axis == 1 or axis == 2**64 - 1  # -1, as autograd keeps it
