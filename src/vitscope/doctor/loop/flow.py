"""Which parameters a tensor was computed from, gradient or not. In go parameters by name, out come the names behind a tensor that was made since.

Each operation hands on what its inputs were made of, also through `.detach()`, `.data` and `torch.no_grad()`, at which a gradient ends. What goes
through whole numbers (an argmax) is not followed: no gradient could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ONLY_THE_SHAPE = ("_like", "new_")


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A block in which it is followed what tensors are made of."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        places: dict[int, list[str]] = {}
        self._kept: list[Any] = []  # a place in memory that is freed may be given away again
        for name, parameter in named:
            places.setdefault(self._place(parameter), []).append(name)
        alone = {place: names[0] for place, names in places.items() if len(names) == 1}
        self._names = list(alone.values())
        self._made_of = {place: 1 << number for number, place in enumerate(alone)}

    def behind(self, tensor: Tensor) -> frozenset[str]:
        """The parameters that a tensor was made of."""
        made_of = self._made_of.get(self._place(tensor), 0)
        return frozenset(name for number, name in enumerate(self._names) if made_of >> number & 1)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        if any(part in func.__name__ for part in _ONLY_THE_SHAPE):
            return given
        made_of = 0
        for each in _floats((args, kwargs)):
            made_of |= self._made_of.get(self._place(each), 0)
        for each in _floats(given) if made_of else ():
            place = self._place(each)
            self._made_of[place] = self._made_of.get(place, 0) | made_of
        return given

    def _place(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        return storage._cdata


def _floats(things: Any) -> list[Tensor]:
    return [x for x in tree_leaves(things) if isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())]


@torch.no_grad()
def parameters_behind(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], pick: Any) -> frozenset[str]:
    """The names of a model's parameters that what `pick` takes from its answer was made of."""
    with Flow(model.named_parameters()) as flow:
        answer = model(*args, **kwargs)
    return flow.behind(pick(answer))
