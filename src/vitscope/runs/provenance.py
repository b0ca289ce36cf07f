"""Where a result came from: out come versions, hardware, commit, date and command line as one JSON object.

Nothing goes in but the machine. A number without these cannot be measured again; nothing heavy is imported to find them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "numpy",
    "accelerate",
    "datasets",
    "pyarrow",
    "pillow",
    "pydantic",
    "safetensors",
    "einops",
    "scikit-learn",
)


def environment() -> dict[str, Any]:
    """What a run was made with.

    `memory_bytes` is the machine's; `cores` are physical and `threads` those that this process may use. Known only where torch is
    already imported are `accelerators`, `torch_threads` and `cpu_instructions` (the widest that torch uses: `AVX2`, `AVX512`).
    `git_commit` is that of the checkout vitscope runs from, null when it is installed; `command` holds the words as typed, without
    the place of the program.
    """
    return {
        "vitscope": getattr(sys.modules.get("vitscope"), "__version__", None),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "threads": _threads(),
        "memory_bytes": memory_bytes(),
        **_torch_facts(),
        **_git_facts(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_program(), *sys.argv[1:]],
    }


def _program() -> str:
    name = Path(sys.argv[0]).name.removesuffix(".exe")
    return "vitscope" if name == "__main__.py" else name


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _cpu_model() -> str:
    for line in _cpu_lines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_lines() -> list[str]:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _cores() -> int | None:
    """Physical cores, counted as pairs of socket and core; None where the system does not tell."""
    cores = set()
    socket = ""
    for line in _cpu_lines():
        key, _, value = line.partition(":")
        if key.strip() == "physical id":
            socket = value.strip()
        elif key.strip() == "core id":
            cores.add((socket, value.strip()))
    return len(cores) or None


def _threads() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory_bytes() -> int | None:
    """The machine's memory; None where the system does not tell."""
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _torch_facts() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {"accelerators": None, "torch_threads": None, "cpu_instructions": None}
    names = [str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("Apple MPS")
    return {
        "accelerators": names,
        "torch_threads": int(torch.get_num_threads()),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _git_facts() -> dict[str, Any]:
    """The commit that the code runs from, and whether files differ from it; an installed package has none."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if not (checkout / ".git").exists() or package.parent.name != "src":
        return {"git_commit": None, "git_changed": None}
    commit = _git(checkout, "rev-parse", "--verify", "HEAD")
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", "src") if commit else None
    return {"git_commit": commit, "git_changed": None if changed is None else bool(changed)}


def _git(checkout: Path, *words: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()
    return None
