"""Puts back what an experiment on a copy of the user's model draws or moves although it is the user's: random numbers, and buffers that the copy
shares with its model. In goes the model, out comes a block behind which all of it is as before."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from vitscope.doctor.copying import all_modules


@contextmanager
def undisturbed(model: nn.Module | None = None) -> Iterator[None]:
    """All random states, what autocast has cached, and the buffers of a model are afterwards what they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        with ExitStack() as undo:
            for put_back in _own_states(model):
                undo.callback(put_back)
            # torch.manual_seed would queue a seed for a device that has not begun yet
            torch.default_generator.manual_seed(0)
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _own_states(model: nn.Module | None) -> Iterator[Callable[[], Any]]:
    """What puts back the user's own sources of random numbers, in modules of Python, classes and the model, and the model's buffers."""
    seen: set[int] = set()
    for value in _values(model):
        kind = type(value)  # isinstance asks lazy proxies for their class, which may load whatever they stand for
        if id(value) in seen or value is torch.default_generator:
            continue
        if issubclass(kind, torch.Generator):
            yield partial(value.set_state, value.get_state())
        elif issubclass(kind, np.random.Generator | np.random.RandomState):
            bits: Any = value.bit_generator if issubclass(kind, np.random.Generator) else value._bit_generator
            yield partial(setattr, bits, "state", bits.state)
        elif kind is random.Random:
            yield partial(value.setstate, value.getstate())
        else:
            continue
        seen.add(id(value))
    for buffer in [] if model is None else model.buffers():
        yield partial(_put_back, buffer, buffer.detach().clone())


def _values(model: nn.Module | None) -> Iterator[Any]:
    for module in list(sys.modules.values()):
        yield from list(getattr(module, "__dict__", {}).values())
    for part in [] if model is None else all_modules(model):
        yield from vars(part).values()
        for kind in type(part).__mro__:
            yield from vars(kind).values()
            for cell in getattr(vars(kind).get("forward"), "__closure__", None) or ():
                with suppress(ValueError):  # an empty one
                    yield cell.cell_contents


@torch.no_grad()
def _put_back(buffer: torch.Tensor, before: torch.Tensor) -> None:
    if not torch.equal(buffer, before):
        buffer.copy_(before)
