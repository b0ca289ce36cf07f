"""How parts of a model are named in a sentence. Names in, words out."""

from __future__ import annotations

import re
from collections.abc import Sequence

SHOWN = 3


def listed(names: Sequence[str]) -> str:
    """The first three, and how many there are."""
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")


def without_numbers(path: str) -> str:
    """A path with a star for each number: the same for the same part of each block."""
    return re.sub(r"\d+", "*", path)
