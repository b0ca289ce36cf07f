"""Keeps the watcher's own errors from the loop that it watches. In goes what observes, out comes what it gave, or nothing, with the place and the
error noted: a training that ran for days must not end because somebody looked at it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

Observing = Generator[None, Any, Any]
"""Around one call: its first half runs before the call, its second is sent what the call gave, and may return something to hand out instead."""


class Guard:
    """Runs what observes."""

    def __init__(self, unwatched: list[str]) -> None:
        self._unwatched = unwatched

    def run(self, place: str, observe: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What it gives; None where it fails."""
        try:
            return observe(*args, **kwargs)
        except Exception as error:
            self.note(place, error)
            return None

    def begin(self, place: str, observing: Observing) -> Observing | None:
        """Its first half; None where there is no second."""
        try:
            next(observing)
        except StopIteration:
            return None
        except Exception as error:
            self.note(place, error)
            return None
        return observing

    def end(self, place: str, observing: Observing, given: Any) -> Any:
        """Its second half; gives what is to be handed out."""
        try:
            observing.send(given)
        except StopIteration as done:
            return given if done.value is None else done.value
        except Exception as error:
            self.note(place, error)
        return given

    def abort(self, place: str, observing: Observing) -> None:
        """The call raised: only what has to be put right is done."""
        self.run(place, observing.close)

    def note(self, place: str, error: Exception) -> None:
        """Once for each kind of error at a place."""
        first = next(iter(str(error).splitlines()), "")[:100]
        said = f"{place} ({type(error).__name__}{': ' if first else ''}{first})"
        if said not in self._unwatched and len(self._unwatched) < 20:
            self._unwatched.append(said)
