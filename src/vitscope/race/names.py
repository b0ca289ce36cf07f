"""What the two of a comparison are called: two targets and their arguments in, two names that differ out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vitscope._core.errors import ModelError, VitscopeError
from vitscope._core.raised import CodeError
from vitscope._core.text import Text

LONGEST = 60
"""Letters beyond which a name with its arguments is no name."""
Kwargs = Mapping[str, Any] | None


def names_of(targets: tuple[str, str], names: tuple[str, str], kwargs: tuple[Kwargs, Kwargs]) -> tuple[str, str]:
    """Names as they are where they differ; else with the arguments that differ, the longer targets, or A and B beside."""
    if names[0] != names[1]:
        return names
    if targets[0] != targets[1] and max(map(len, targets)) <= LONGEST:
        return targets
    a, b = (dict(each or {}) for each in kwargs)
    one, other = f"{names[0]}{_differing(a, b)}", f"{names[1]}{_differing(b, a)}"
    # a colon with a space divides a name from what is said of it
    if one != other and max(len(one), len(other)) <= LONGEST and ": " not in f"{one}{other}":
        return one, other
    return f"{names[0]} (A)", f"{names[1]} (B)"


def of_one(name: str, error: VitscopeError) -> ModelError:
    """An error that says which of the two it is of."""
    text = Text(f"{name}: {error.text.en}", f"{name}：{error.text.ja}")
    return CodeError(text) if isinstance(error, CodeError) else ModelError(text)


def _differing(own: dict[str, Any], its: dict[str, Any]) -> str:
    """The arguments that the other has not, as a call has them."""
    said = [f"{key}={_value(value)}" for key, value in own.items() if key not in its or its[key] != value]
    return f"({', '.join(said)})" if said else ""


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
