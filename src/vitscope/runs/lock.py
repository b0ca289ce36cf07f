"""One writer a folder: in goes the path of a lock file, out comes the right to write, or a sentence on who has it.

The kernel holds the lock, not the file's existence: a training that is killed with -9 leaves no lock behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitscope._core.errors import RunError

LOCK_NAME = ".lock"
_held: set[int] = set()
"""Descriptors of locks held by this process."""
_WITHOUT_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)
"""What file systems answer that know no locks."""


@contextmanager
def exclusive(file: Path, what: str) -> Iterator[None]:
    """Holds the lock of `file` while the block runs. The file stays: removing it would let two writers in.

    On a system or a file system without locks this does nothing.

    Raises:
        RunError: another process (or another block of this one) holds it, or the file cannot be made.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunError(f"cannot write to {what}: {error.strerror or error}; choose another --out") from None
    _held.add(descriptor)
    try:
        _take(descriptor, what)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _take(descriptor: int, what: str) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise RunError(
            f"{what} is being written by another training (process {owner}); "
            "wait for it, stop it or choose another --out"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise RunError(f"cannot lock {what}: {error.strerror or error}; choose another --out") from None
        return
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)


def _forget_in_child() -> None:
    """A forked data worker that outlives its killed parent must not keep the folder locked."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
