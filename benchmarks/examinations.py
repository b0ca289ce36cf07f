"""What the doctor says of the specimens, and how long it takes: model names in, `examinations.json` out.

For each model a process of its own runs `vitscope doctor NAME --json`; kept are the findings (in both languages), what was skipped, the seconds of
each check, and the seconds of the whole command, imports included.

    OMP_NUM_THREADS=2 python benchmarks/examinations.py --out benchmarks/results/NAME
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vitscope._core.files import write_json
from vitscope.model.specimens.faults import FAULT_EFFECTS
from vitscope.runs import environment

NAMES = ("good-vit", *(f"bad-vit:{fault}" for fault in FAULT_EFFECTS), "vit-b16-224")
KEPT = ("vitscope", "python", "packages", "platform", "cpu", "cores", "threads", "memory", "date", "git")


def main() -> None:
    """Examines each model and writes down what was said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    about = {key: value for key, value in environment().items() if key.split("_")[0] in KEPT}
    rows = {}
    for name in words.models:
        rows[name] = examined(name)
        print(f"{name}: {rows[name]['seconds_of_the_command']} s", flush=True)
        write_json(words.out / "examinations.json", {"command": "vitscope doctor NAME --json", "models": rows, **about})


def examined(name: str) -> dict[str, Any]:
    """One examination; the findings' Japanese sentences stand beside the English ones."""
    begun = time.monotonic()
    english = told(name, "en")
    seconds = round(time.monotonic() - begun, 1)
    japanese = {finding["id"]: finding for finding in told(name, "ja", english["findings"])["findings"]}
    for finding in english["findings"]:
        finding["summary_ja"] = japanese[finding["id"]]["summary"]
    kept = ("healthy", "checks_run", "skipped", "findings", "seconds")
    return {"seconds_of_the_command": seconds, **{key: english[key] for key in kept}}


def told(name: str, lang: str, findings: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What the command prints; with `findings`, only their checks are made."""
    checks = sorted({finding["check"] for finding in findings or ()})
    if findings is not None and not checks:
        return {"findings": []}
    words = [sys.executable, "-m", "vitscope", "doctor", name, "--json", "--lang", lang]
    done = subprocess.run(
        [*words, *(["--checks", ",".join(checks)] if checks else [])], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


if __name__ == "__main__":
    main()
