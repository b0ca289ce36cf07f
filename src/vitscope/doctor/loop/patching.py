"""Looking over a loop's shoulder: methods that tell before and after they run, iterators that tell of what they give, and all of it undone at the
end. Only classes are touched and put back, never objects: no copy, pickle or TorchScript of the user's inherits anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, no_type_check

import torch

from vitscope.doctor.loop.guard import Guard, Observing

Observe = Callable[..., Observing]
"""`observe(self, *args, **kwargs)`: a generator around one call of a method."""


class _Watched:
    """One method of one class, and who is watching it. Blocks may end in another order than they began: the last one puts the method back."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.observers: list[tuple[Guard, Observe]] = []
        self._own = vars(owner).get(name)
        self._method = self._around(getattr(owner, name))
        setattr(owner, name, self._method)

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        observers, place = self.observers, f"{self.owner.__name__}.{self.name}"

        @no_type_check  # the tests' type checker cannot be compiled, and this can be called from what is
        @wraps(original)
        def watched(this: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not observers:
                return original(this, *args, **kwargs)
            begun = [(guard, guard.begin(place, observe(this, *args, **kwargs))) for guard, observe in observers]
            try:
                given = self._call(original, this)(*args, **kwargs)
            except BaseException:
                for guard, observing in begun:
                    if observing is not None:
                        guard.abort(place, observing)
                raise
            for guard, observing in reversed(begun):
                given = given if observing is None else guard.end(place, observing, given)
            return given

        return watched

    def _call(self, original: Callable[..., Any], this: Any) -> Callable[..., Any]:
        """The method itself; an inherited one is looked up again, for others (torch.fx) put theirs into the class above for a while."""
        return partial(original, this) if self._own is not None else getattr(super(self.owner, this), self.name)

    def leave(self, observer: tuple[Guard, Observe]) -> None:
        """One watches no more."""
        self.observers[:] = [each for each in self.observers if each is not observer]
        if self.observers:
            return
        _WATCHED.pop((self.owner, self.name), None)
        if vars(self.owner).get(self.name) is not self._method:
            return  # somebody wrapped it since, and calls it; it does nothing any more
        if self._own is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self._own)


_WATCHED: dict[tuple[Any, str], _Watched] = {}


def patch(undo: ExitStack, owner: Any, name: str, observe: Observe, guard: Guard) -> None:
    """Puts a generator around a method of a class, until the stack is left.

    Raises:
        TypeError: the class is a built-in one.
        AttributeError: it has no such method.
    """
    watched = _WATCHED.get((owner, name))
    if watched is None or vars(owner).get(name) is not watched._method:
        watched = _WATCHED[owner, name] = _Watched(owner, name)
    observer = (guard, observe)
    watched.observers.append(observer)
    undo.callback(watched.leave, observer)


class Told:
    """An iterator that tells of every batch and of its end."""

    def __init__(self, inner: Any, guard: Guard, batch: Callable[[Any], None], end: Callable[[], None]) -> None:
        self._inner, self._guard, self._batch, self._end = inner, guard, batch, end

    def __iter__(self) -> Told:
        return self

    def __next__(self) -> Any:
        try:
            given = next(self._inner)
        except StopIteration:
            self._guard.run("loader", self._end)
            raise
        self._guard.run("loader", self._batch, given)
        return given

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
