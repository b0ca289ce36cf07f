"""Numbers of things in a sentence. In go a number and a word, out comes English with the right form of it."""

from __future__ import annotations


def counted(count: int, one: str, several: str | None = None) -> str:
    """`1 step`, `2 steps`; the second form where an s does not make it."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
