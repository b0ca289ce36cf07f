"""One batch through a copy of the user's model, in evaluation and in training mode, with the weights of that step: the only thing that the watcher
computes. The user's model, its hooks, buffers and attributes and all random states know nothing of it."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitscope.doctor.copying import copy_of
from vitscope.doctor.loop.record import Probe
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
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with undisturbed(), torch.no_grad():
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
            loud = [scores_of(twin(*args, **kwargs), count).float().cpu() for _ in range(LOUD)]
        except Exception:  # whatever a model does not take from us, it need not
            return None
    return Probe(step, quiet, torch.stack(loud), None if labels is None else labels[:count].detach().cpu())


@contextmanager
def undisturbed() -> Iterator[None]:
    """All random states, and what autocast has cached, are afterwards what they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        torch.default_generator.manual_seed(
            0
        )  # torch.manual_seed would queue a seed for a device that has not begun yet
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _few(value: Any) -> Any:
    return value[:IMAGES].detach() if isinstance(value, Tensor) and value.ndim else value
