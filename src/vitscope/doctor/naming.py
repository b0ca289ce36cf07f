"""How parts of a model, and errors of its own, are named in a sentence. Names in, words out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vitscope._core.errors import LensError
from vitscope._core.text import Text

SHOWN = 3


def listed(names: Iterable[str]) -> str:
    """The first three, each once, and how many there are; the outermost module is the model."""
    found = list(dict.fromkeys(name or "the model" for name in names))
    return ", ".join(found[:SHOWN]) + (f" … ({len(found)})" if len(found) > SHOWN else "")


def as_code(path: str, of: str = "self") -> str:
    """What a path is in code: `self.mlp_head[2].weight`."""
    return of + "".join(f"[{each}]" if each.isdecimal() else f".{each}" for each in path.split("."))


def in_each_block(paths: Iterable[str], line: str) -> str:
    """A line of code with `{}` for each path, once for all blocks where a number in it says of which of them it is."""
    loops: dict[str, dict[str, None]] = {}
    rest: list[str] = []
    for path in paths:
        number = re.search(r"\.\d+\.", path)
        if number is None:
            rest.append(line.format(as_code(path)))
        else:
            loop = f"for block in {as_code(path[: number.start()])}:"
            loops.setdefault(loop, {})[f"    {line.format(as_code(path[number.end() :], 'block'))}"] = None
    return "\n".join([each for loop, inside in loops.items() for each in (loop, *inside)] + rest)


def part_of(count: int, total: int, of: str) -> str:
    """How many of all, with the noun in the number of all: `2 of 3 blocks`, `1 of 1 block`."""
    return f"{count} of {total} {of}{'' if total == 1 else 's'}"


def without_numbers(path: str) -> str:
    """A path with a star for each number: the same for the same part of each block."""
    return re.sub(r"\d+", "*", path)


def in_words(error: Exception) -> LensError:
    """In the place of an error that is not the lens's, and says nothing to a reader, one that does."""
    if isinstance(error, LensError):
        return error
    return LensError(Text("it is built in a way that is not known", "この構造にはまだ対応していません"))
