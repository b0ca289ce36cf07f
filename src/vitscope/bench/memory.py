"""Peak memory of this process, resettable, and what the machine has left. Linux tells; elsewhere the answers are None."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

from vitscope.train.memory import empty_kept_memory

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _of_status(key: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return None


def resident() -> int | None:
    """Bytes of memory that this process holds now, after what is free has been given back to the system."""
    gc.collect()
    empty_kept_memory()
    return _of_status("VmRSS")


def reset_peak() -> bool:
    """Lets the peak begin anew at what is held now; whether the system could (proc(5), clear_refs)."""
    with suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
        return True
    return False


def peak() -> int | None:
    """The most that this process has held since `reset_peak`."""
    return _of_status("VmHWM")


def available() -> int | None:
    """Bytes that new processes may use, by the system's own estimate and the control group's limit; None where neither tells."""
    found: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):
        statistics = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = next(int(value) for key, value in statistics if key == "inactive_file")  # given back when it is needed
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + cached)
    return min(found, default=None)
