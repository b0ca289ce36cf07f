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
from vitscope.lens.autocast import without_autocast
from vitscope.lens.randomness import cuda_devices_begun, seed_cpu


@contextmanager
def undisturbed(model: nn.Module | None = None) -> Iterator[None]:
    """All random states, what autocast has cached, and the buffers of a model are afterwards what they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if cuda_devices_begun() else None
    try:
        with ExitStack() as undo:
            for put_back in _own_states(model):
                undo.callback(put_back)
            seed_cpu(0)
            with without_autocast("cpu", "cuda"):
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _own_states(model: nn.Module | None) -> Iterator[Callable[[], Any]]:
    """What puts back the user's own sources of random numbers, in modules of Python, classes and the model, and the model's buffers."""
    for source in _sources(model):
        if isinstance(source, torch.Generator):
            yield partial(source.set_state, source.get_state())
        elif isinstance(source, random.Random):
            yield partial(source.setstate, source.getstate())
        else:
            bits: Any = source.bit_generator if isinstance(source, np.random.Generator) else source._bit_generator
            yield partial(setattr, bits, "state", bits.state)
    for buffer in [] if model is None else model.buffers():
        yield partial(_put_back, buffer, buffer.detach().clone())


def _sources(model: nn.Module | None) -> list[Any]:
    """Everything that gives random numbers, once. There are hundreds of thousands of values and few kinds, so values are looked at one by one only
    where one is of a kind that is new or gives random numbers. Kinds are compared as their ids: some cannot be hashed, and isinstance asks lazy
    proxies for their class, which may load whatever they stand for."""
    found: dict[int, Any] = {}
    kinds: dict[int, type] = {}
    dull: set[int] = set()
    for values in _values(model):
        if dull.issuperset(map(id, map(type, values))):
            continue
        for value in values:
            kind = type(value)
            if id(kind) not in kinds:
                kinds[id(kind)] = kind
                if not _is_source(kind):
                    dull.add(id(kind))
            if id(kind) not in dull and value is not torch.default_generator:
                found[id(value)] = value
    return list(found.values())


def _is_source(kind: type) -> bool:
    return kind is random.Random or issubclass(kind, torch.Generator | np.random.Generator | np.random.RandomState)


def _values(model: nn.Module | None) -> Iterator[list[Any]]:
    for module in list(sys.modules.values()):
        yield list(getattr(module, "__dict__", {}).values())
    for part in [] if model is None else all_modules(model):
        yield list(vars(part).values())
        for kind in type(part).__mro__:
            yield list(vars(kind).values())
            for cell in getattr(vars(kind).get("forward"), "__closure__", None) or ():
                with suppress(ValueError):  # an empty one
                    yield [cell.cell_contents]


@torch.no_grad()
def _put_back(buffer: torch.Tensor, before: torch.Tensor) -> None:
    if not torch.equal(buffer, before):
        buffer.copy_(before)
