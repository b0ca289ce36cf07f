"""What callers tell the doctor beside the model, made sure of: in goes what was given, out comes what the examination works with, or a sentence.
No torch: the command reads it before it loads any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vitscope._core.errors import UsageError
from vitscope._core.suggest import did_you_mean

LOSSES = ("cross-entropy", "nll", "bce", "mse", "bce-with-logits", "bce-of-probabilities")
"""Losses whose demands on a model's output are known; `bce` is either of the two that torch has."""
_TORCH = {
    "CrossEntropyLoss": "cross-entropy",
    "NLLLoss": "nll",
    "BCEWithLogitsLoss": "bce-with-logits",
    "BCELoss": "bce-of-probabilities",
    "MSELoss": "mse",
}


def loss_named(loss: object) -> str | None:
    """The loss by its name here: `cross-entropy`, `CrossEntropyLoss`, the class or an instance of it are one.

    Raises:
        UsageError: it is none of those that are known.
    """
    if loss is None:
        return None
    given = loss if isinstance(loss, str) else loss.__name__ if isinstance(loss, type) else type(loss).__name__
    name = _TORCH.get(given, given.replace("_", "-"))
    if name not in LOSSES:
        raise UsageError(
            f"loss is '{given}'{did_you_mean(given, LOSSES)}, expected one of {', '.join(LOSSES)}, or none"
        )
    return name


def size_given(size: object) -> int | tuple[int, int] | None:
    """Side or (height, width) in pixels.

    Raises:
        UsageError: it is neither.
    """
    sides: tuple[Any, ...] = tuple(size) if isinstance(size, Iterable) and not isinstance(size, str) else (size,)
    if size is None:
        return None
    if not 1 <= len(sides) <= 2 or not all(_is_whole(side) for side in sides):
        raise UsageError(
            f"image_size is {size!r}, expected the side of the model's images in pixels as a whole number, or (height, width)"
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def counts_given(**counts: object) -> None:
    """Refuses what is no whole number from 1 on.

    Raises:
        UsageError: such a one, by its name.
    """
    for name, count in counts.items():
        if count is not None and not (_is_whole(count) and int(count) >= 1):  # type: ignore[call-overload]
            raise UsageError(f"{name} is {count!r}, expected a whole number from 1 on")


def checks_given(checks: Sequence[str] | None, known: Iterable[str]) -> tuple[str, ...]:
    """The ids that were asked for, in the order of the examination; all where none were. One may be given as it is.

    Raises:
        UsageError: there is no such check.
    """
    asked = (checks,) if isinstance(checks, str) else checks
    known = tuple(known)
    for name in asked or ():
        if name not in known:
            raise UsageError(f"there is no check '{name}'{did_you_mean(name, known)}; they are {', '.join(known)}")
    return tuple(name for name in known if asked is None or name in asked)


def _is_whole(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number == int(number)
