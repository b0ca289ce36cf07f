"""One batch through a copy of the user's model, in evaluation and in training mode, with the weights of that step: the only thing that the watcher
computes. The user's model, its hooks, buffers and attributes and all random states that can be found know nothing of it; what a copy shares with its
model beyond them (a counter in a class, a file) does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.doctor.copying import all_modules, copy_of
from vitscope.doctor.loop.flow import parameters_behind
from vitscope.doctor.loop.record import Probe
from vitscope.doctor.loop.undisturbed import undisturbed
from vitscope.doctor.patient import scores_of

AT = (3, 15, 60)
"""Before which steps (from 0) it is done."""
IMAGES = 8
LOUD = 2
"""How often the batch is taken through in training mode: dropout is drawn each time."""
LARGEST = 200_000_000
"""A model of more parameters is not copied."""


def probed(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], labels: Tensor | None, *, step: int
) -> Probe | None:
    """The scores of some images of a batch in both modes; None where the model cannot be copied or called that way."""
    if sum(parameter.numel() for parameter in model.parameters()) > LARGEST:
        return None
    if any("forward" in vars(module) for module in all_modules(model)):
        return None  # put there by hand, it may close over the user's own modules, and a copy of it would run those
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with undisturbed(model), torch.no_grad():
        try:
            twin, _ = copy_of(model)
            twin.to(device)
            args = copy.deepcopy(tuple(_few(each) for each in args))
            kwargs = {name: _few(each) for name, each in kwargs.items()}
            count = next(len(x) for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
            quiet = scores_of(twin(*args, **kwargs), count).float().cpu()
            if count < 2:
                return None  # statistics of a batch of one mean nothing
            twin.train()
            loud = torch.stack([scores_of(twin(*args, **kwargs), count).float().cpu() for _ in range(LOUD)])
        except Exception:  # whatever a model does not take from us, it need not
            return None
        behind = None
        with suppress(Exception):
            names = dict(zip(_names(twin), _names(model), strict=True))  # of a wrapper, they begin with its own
            found = parameters_behind(twin, args, kwargs, lambda answer: scores_of(answer, count))
            behind = frozenset(names[name] for name in found)
    return Probe(step, quiet, loud, None if labels is None else labels[:count].detach().cpu(), behind)


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _few(value: Any) -> Any:
    return value[:IMAGES].detach() if isinstance(value, Tensor) and value.ndim else value
