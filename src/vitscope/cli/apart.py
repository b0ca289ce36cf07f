"""Somebody's code in a process of its own: the command that runs it is run once more there, with a limit of time and of memory.

What never returns is ended, what eats memory meets its limit, and nothing is left running; screens and exit codes pass through.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vitscope._core.errors import ModelError, UsageError

_MARK = "VITSCOPE_APART"
_FINISHED = "VITSCOPE_FINISHED"
_SHARE = 0.9
"""Of the memory that is free at the start."""


def is_apart() -> bool:
    """Whether this is the process apart."""
    return _MARK in os.environ


def refuse_no_time(seconds: float) -> None:
    """Refuses a `--time-limit` that is no length of time.

    Raises:
        UsageError: it is none.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--time-limit is {seconds:g}, expected seconds")


def run_apart(words: Sequence[str], *, what: str, seconds: float) -> int:
    """Runs `vitscope WORDS` in a process of its own; its exit code.

    Args:
        words: the command line.
        what: whose code it is, for the sentence.
        seconds: after which it is ended.

    Raises:
        ModelError: it did not end in time, or the system ended it.
    """
    with tempfile.TemporaryDirectory() as folder:
        finished = Path(folder) / "finished"
        environment = {**os.environ, _MARK: str(os.getpid()), _FINISHED: str(finished)}
        process = subprocess.Popen([sys.executable, "-m", "vitscope", *words], env=environment, start_new_session=True)
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"{what} did not come to an end within {seconds:g} s and was ended; if it is only slow, give it longer with --time-limit"
            ) from None
        finally:
            _end(process)
        if code in (0, 1) and not finished.exists():
            raise ModelError(
                f"{what} ended the process that ran it (exit code {code}) before the examination was done; mend that first"
            )
    if code < 0:
        name = signal.Signals(-code).name
        why = "for want of memory, most likely" if -code == signal.SIGKILL else f"by {name}"
        raise ModelError(f"the process that ran {what} was ended {why}; mend it, or try it on a smaller image")
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def keep_within_limits() -> None:
    """In the process apart: no more memory than the machine has to give, and no longer than whoever started it."""
    import resource

    free = _free_memory()
    if free is not None:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit = used + int(_SHARE * free) + (2 << 30)  # torch reserves addresses that it never fills
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    starter = int(os.environ[_MARK])
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def tell_finished() -> None:
    """In the process apart, behind its last word: somebody's code may end it earlier, with any exit code."""
    if _FINISHED in os.environ:
        Path(os.environ[_FINISHED]).touch()


def _end_with(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(0.5)
    os.killpg(os.getpid(), signal.SIGKILL)


def _free_memory() -> int | None:
    """Bytes that are free, where the system says so."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
