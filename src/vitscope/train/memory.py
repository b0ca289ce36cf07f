"""What glibc does with freed memory, for a training that asks for the same again at each step. Nothing goes in or out; elsewhere it does nothing."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
_LARGEST, _NEVER = (2**31 - 1, 2**25), -1  # older ones take no more than the second
_USUAL = (2**25, 2**26)
"""Both thresholds as glibc sets them by itself once large blocks were freed."""
_kept = False


def is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def keep_freed_memory() -> bool:
    """Lets glibc keep what a step frees instead of giving it back to the system page by page; whether it could.

    A training step frees and asks for the same hundreds of megabytes again and again, and each new page costs a fault: a step of the
    specimen takes 8 % less (docs/lab-notes.md, 2026-11-25). It holds until `give_back_memory`.
    """
    global _kept
    if not is_glibc():
        return False
    libc = _libc()
    _kept = any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST) and bool(
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    )
    return _kept


def give_back_memory() -> None:
    """Ends the keeping, and returns to the system what is not in use."""
    global _kept
    if is_glibc():
        libc = _libc()
        if _kept:
            for setting, size in zip((_MMAP_THRESHOLD, _TRIM_THRESHOLD), _USUAL, strict=True):
                libc.mallopt(setting, size)
        _kept = False
        libc.malloc_trim(0)


def empty_kept_memory() -> None:
    """Returns to the system what is not in use, and goes on keeping if that was so."""
    kept = _kept
    give_back_memory()
    if kept:
        keep_freed_memory()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keeps freed memory, until the outermost of several such blocks ends."""
    outermost = not _kept
    keep_freed_memory()
    try:
        yield
    finally:
        if outermost:
            give_back_memory()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
