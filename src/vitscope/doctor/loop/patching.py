"""Looking over a loop's shoulder: methods that tell before and after they run, hooks that no copy inherits, and all of it undone at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any

import torch

Around = Callable[..., Any]
"""`around(original, self, *args, **kwargs)`: calls the original exactly once, and gives back what it gave."""


def patch(undo: ExitStack, owner: type, name: str, around: Around) -> None:
    """Puts a function around a method of a class, until the stack is left. Of the class, not of the object: copies and pickles of the user's
    objects stay free of it.

    Raises:
        TypeError: the class is a built-in one.
    """
    original = getattr(owner, name)
    own = vars(owner).get(name)

    @wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(original, self, *args, **kwargs)

    setattr(owner, name, watched)

    def restore() -> None:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)

    undo.callback(restore)


class Hook:
    """A hook that a copy of the module, or a pickle of it, holds only as a thing that does nothing."""

    def __init__(self, tell: Callable[..., None] | None = None) -> None:
        self.tell = tell

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if self.tell is not None and not torch.compiler.is_compiling():
            self.tell(*args, **kwargs)

    def __deepcopy__(self, memo: object) -> Hook:
        return Hook()

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()


class Told:
    """An iterator that tells of every batch and of its end."""

    def __init__(self, inner: Any, batch: Callable[[Any], None], end: Callable[[], None]) -> None:
        self._inner, self._batch, self._end = inner, batch, end

    def __iter__(self) -> Told:
        return self

    def __next__(self) -> Any:
        try:
            given = next(self._inner)
        except StopIteration:
            self._end()
            raise
        self._batch(given)
        return given

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
