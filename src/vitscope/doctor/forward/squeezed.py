"""A model that squeezes the axis of a batch of one away: in goes its copy, and experiments on one image get that axis back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class _GivenBack:
    """A hook: the scores of one image are a batch of one."""

    def __call__(self, module: nn.Module, given: tuple[object, ...], answer: object) -> object:
        is_one = bool(given) and isinstance(given[0], Tensor) and len(given[0]) == 1
        return answer[None] if is_one and isinstance(answer, Tensor) and answer.ndim == 1 else answer


@torch.no_grad()
def given_back(model: nn.Module, one: Tensor, two: Tensor) -> bool:
    """Whether one image gives as many scores as each of two does, and no more is missing than the axis of the batch; then it is given back from
    here on."""
    try:
        alone, together = model(one.clone()), model(two.clone())
    except (Exception, SystemExit):
        return False
    if not (isinstance(alone, Tensor) and isinstance(together, Tensor) and together.ndim == 2):
        return False
    if len(together) != 2 or alone.shape != together.shape[1:] or len(alone) < 2:
        return False
    model.register_forward_hook(_GivenBack())
    return True


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """The model without that in the block."""
    taken = {key: hook for key, hook in model._forward_hooks.items() if isinstance(hook, _GivenBack)}
    for key in taken:
        del model._forward_hooks[key]
    try:
        yield
    finally:
        model._forward_hooks.update(taken)
