"""What glibc does with freed memory, for a training that asks for the same again at each step. Nothing goes in or out; elsewhere it does nothing."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
_LARGEST, _NEVER = (2**31 - 1, 2**25), -1  # older ones take no more than the second
_USUAL = (2**25, 2**26)
"""Both thresholds as glibc sets them by itself once large blocks were freed."""
_MADV_HUGEPAGE = 14  # Linux's mman.h
_PAGE = 2**21
_BLOCK, _BLOCKS = 2**30, 8
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_kept = False


def is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def has_large_pages() -> bool:
    """Whether the system gives pages of 2 MiB to memory that asks for them (Linux's transparent huge pages), and addresses for nothing."""
    if not is_glibc():
        return False
    import resource  # not on Windows

    limits = (resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return False
    with suppress(OSError):
        counts_addresses = _OVERCOMMIT.read_text(encoding="ascii").strip() == "2"
        return not counts_addresses and "[never]" not in _SETTING.read_text(encoding="ascii")
    return False


def keep_freed_memory(*, large_pages: bool = True) -> bool:
    """Lets glibc keep what a step frees instead of giving it back to the system page by page; whether it could.

    A training step frees and asks for the same hundreds of megabytes again and again, and each new page costs a fault. It holds until
    `give_back_memory`. Where the system has large pages, they are asked for, which saved an inference 6 % in one
    comparison and nothing in another (docs/lab-notes.md, 2026-11-25).
    """
    global _kept
    if not is_glibc():
        return False
    libc = _libc()
    _kept = any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST) and bool(
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    )
    if _kept and large_pages and has_large_pages():
        _ask_for_large_pages(libc)
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


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Lets the heap grow by some gigabytes of addresses, which take no memory until they are used, and asks for large pages there."""
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    blocks = [libc.malloc(_BLOCK) for _ in range(min(_BLOCKS, room // _BLOCK))]
    for block in blocks:
        libc.free(block)
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
            place = re.match(r"([0-9a-f]+)-([0-9a-f]+) .*\[heap\]$", line)
            if place:
                start, end = (int(place[1], 16) + _PAGE - 1) // _PAGE * _PAGE, int(place[2], 16) // _PAGE * _PAGE
                if start < end:
                    libc.madvise(start, end - start, _MADV_HUGEPAGE)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
