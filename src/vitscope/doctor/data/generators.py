"""A loader's own sources of chance, put back after it was read. In goes a loader or a data set, out comes a block after which it draws what it would
have drawn: a training that follows an examination is the training that would have been without one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

MOST = 200
"""Objects that are looked into at most."""
_WITHOUT_DICT = (list, tuple, torch.Generator, np.random.Generator, np.random.RandomState)


@contextmanager
def drawing_undone(*sources: Any) -> Iterator[None]:
    """Generators of torch, numpy and Python that loaders, samplers, data sets or transforms hold are after the block what they were; workers that
    the block made a loader keep are ended."""
    undo = [each for source in sources for each in _undoing(source)]
    try:
        yield
    finally:
        for each in undo:
            each()


def _undoing(source: Any) -> Iterator[Callable[[], object]]:
    """Walks what an object holds, a few steps deep; elements of short lists too (a `Compose`, a `ConcatDataset`)."""
    waiting, known = [source], dict[int, Any]()
    while waiting and len(known) < MOST:
        each = waiting.pop(0)
        if id(each) in known:
            continue
        known[id(each)] = each
        restore = _restoring(each)
        if restore is not None:
            yield restore
        inner = each if isinstance(each, list | tuple) else list(getattr(each, "__dict__", {}).values())
        waiting += [held for held in inner[:32] if _may_hold(held)]


def _may_hold(value: Any) -> bool:
    if isinstance(value, type | ModuleType | torch.Tensor | torch.nn.Module):
        return False
    return hasattr(value, "__dict__") or isinstance(value, _WITHOUT_DICT)


def _restoring(value: Any) -> Callable[[], object] | None:
    """What puts a generator back as it is now, or ends workers that a loader has not begun yet."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, DataLoader) and value.persistent_workers and value._iterator is None:
        return partial(setattr, value, "_iterator", None)
    return None
