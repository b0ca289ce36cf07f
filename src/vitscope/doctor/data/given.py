"""What callers tell beside the images, made sure of: in goes what was given, out comes a number, or a sentence. What a check would stumble over
later, or take for a fault of the data, is refused here."""

from __future__ import annotations

import math
import operator
from typing import Any

from vitscope._core.errors import UsageError


def classes_given(classes: Any) -> int | None:
    """How many scores the model gives; numpy's and torch's whole numbers are such, too.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    if classes is None:
        return None
    count = _whole(classes)
    if count is None or count < 1:
        raise UsageError(
            f"classes is {_shown(classes)}, expected how many scores the model gives as a whole number from 1 on; give it, or leave classes out"
        )
    return count


def seconds_given(seconds: Any) -> float:
    """How long a pass may take.

    Raises:
        UsageError: it is no number above 0.
    """
    try:
        value = math.nan if isinstance(seconds, str | bool) else float(seconds)
    except (TypeError, ValueError, RuntimeError):
        value = math.nan
    if not value > 0:
        raise UsageError(
            f"seconds is {_shown(seconds)}, expected how long one pass over one set may take as a number above 0; give it, or leave seconds out"
        )
    return value


def _whole(number: Any) -> int | None:
    if isinstance(number, bool):
        return None
    if isinstance(number, float):
        return int(number) if number.is_integer() else None
    try:
        return operator.index(number)
    except (TypeError, ValueError, RuntimeError):
        return None


def _shown(value: Any) -> str:
    """As Python writes it; of what is long, what it is."""
    words = repr(value)
    return words if len(words) <= 60 and "\n" not in words else f"a {type(value).__name__}"
