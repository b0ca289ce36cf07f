"""All models through all checks, as tables: `python tests/doctor/corpus.py > docs/doctor-corpus.md` (`make corpus`).

In go the healthy and the sick models of the tests; libraries that are not installed are left out by name. Out comes Markdown: which check says what
of which model. Progress goes to standard error. `--keep FILE` writes each model down as it is done, and a second start goes on from there;
`--only timm sick` examines those models and no others.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from healthy_case import Healthy, all_cases
from test_doctor_sensitivity import CASES, examined

from vitscope._core.errors import VitscopeError
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import SEVERITIES

MODULES = {"timm": "timm", "transformers": "transformers", "torchvision": "torchvision", "vit-pytorch": "vit_pytorch"}
SIGNS = {"error": "**E**", "warning": "w", "note": "n"}
SICK = "sick"


@dataclass(frozen=True)
class Row:
    """What became of one model."""

    group: str
    """Its library, or that it is sick."""
    name: str
    cells: tuple[str, ...]
    """A sign for each check."""
    errors: tuple[str, ...]
    """The faults that were called errors."""
    refused: str
    """The sentence of a model that was not examined."""
    is_found: bool
    """Of a sick one, whether the check concerned found it."""
    seconds: float


def say(line: str, to: Any = sys.stdout) -> None:
    """One line."""
    to.write(f"{line}\n")
    to.flush()


def main() -> None:
    """Runs everything that can be run here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*MODULES, "by hand", "vitscope", SICK])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--show", action="store_true", help="write the tables of what is kept, and examine nothing")
    words = parser.parse_args()
    warnings.filterwarnings("ignore")
    absent = [library for library, module in MODULES.items() if find_spec(module) is None]
    rows = _kept(words.keep)
    done = {(row.group, row.name) for row in rows}
    for group, name, run in _all(absent):
        if words.show or (words.only and group not in words.only) or (group, name) in done:
            continue
        row = run()
        rows.append(row)
        worst = row.refused or ", ".join(f"{c}: {s}" for c, s in zip(CHECKS, row.cells, strict=True) if s not in "·–")
        say(f"{name}: {worst} ({row.seconds:.1f} s)", sys.stderr)
        if words.keep:
            with words.keep.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    _tell(rows, absent, [(group, name) for group, name, _ in _all(absent)])


def _kept(file: Path | None) -> list[Row]:
    lines = file.read_text().splitlines() if file is not None and file.exists() else []
    kept = (json.loads(line) for line in lines)
    return [Row(**{**row, "cells": tuple(row["cells"]), "errors": tuple(row["errors"])}) for row in kept]


def _all(absent: list[str]) -> list[tuple[str, str, Any]]:
    """Group, name, and what examines it."""
    healthy = [case for case in all_cases() if case.library not in absent]
    return [
        *((case.library, case.name, lambda case=case: _row(case.library, case.name, lambda: _examined(case))) for case in healthy),
        *((SICK, _sick(case), lambda case=case: _row(SICK, _sick(case), lambda: examined(case, None), case)) for case in CASES),
    ]  # fmt: skip


def _sick(case: Any) -> str:
    return f"{case.mode} {case.name} ({case.check})"


def _examined(case: Healthy) -> Examination:
    torch.manual_seed(0)
    return diagnose(
        case.build(), image_size=case.image_size, channels=case.channels, num_classes=case.classes, loss=case.loss
    )


def _row(group: str, name: str, run: Any, case: Any = None) -> Row:
    begun = time.monotonic()
    try:
        found = run()
    except VitscopeError as error:
        return Row(group, name, ("",) * len(CHECKS), (), str(error), False, time.monotonic() - begun)
    errors = tuple(finding.id for finding in found.findings if finding.severity == "error")
    cells = tuple(_cell(found, check) for check in CHECKS)
    return Row(group, name, cells, errors, "", case is not None and _is_found(case, found), time.monotonic() - begun)


def _is_found(case: Any, found: Examination) -> bool:
    return any(
        f.check == case.check and SEVERITIES.index(f.severity) <= SEVERITIES.index(case.severity)
        for f in found.findings
    )


def _cell(found: Examination, check: str) -> str:
    said = {f.severity for f in found.findings if f.check == check}
    for severity in SEVERITIES:
        if severity in said:
            return SIGNS[severity]
    return "–" if check in {skip.check for skip in found.skipped} else "·"


def _tell(rows: list[Row], absent: list[str], everything: list[tuple[str, str]]) -> None:
    """The page."""
    healthy, sick = [row for row in rows if row.group != SICK], [row for row in rows if row.group == SICK]
    done = {(row.group, row.name) for row in rows}
    left = [group for group, name in everything if (group, name) not in done]
    there = [f"{library} {version(library)}" for library in MODULES if library not in absent]
    say("# The doctor on models that are well and on models that are not\n")
    say(
        f"Made by `make corpus` in {sum(row.seconds for row in rows) / 60:.0f} minutes: torch {torch.__version__}, "
        f"{', '.join(there) or 'no other library'}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}."
        + (f" Not installed and left out: {', '.join(absent)}." if absent else "")
        + (f" Not examined yet: {', '.join(f'{left.count(g)} of {g}' for g in dict.fromkeys(left))}." if left else "")
    )
    say(
        "\n`E` error, `w` warning, `n` note, `–` not examined (the reason is what `vitscope doctor` prints), `·` nothing found.\n"
    )
    say("## Models that are well\n")
    accused, refused = [row for row in healthy if row.errors], [row for row in healthy if row.refused]
    say(
        f"{len(healthy)} models; accused of an error: {len(accused)}"
        + (f" ({', '.join(f'{row.name}: {row.errors[0]}' for row in accused)})" if accused else "")
        + f"; refused in one sentence: {len(refused)}.\n"
    )
    _table(healthy)
    say("\n## Models with one fault each\n")
    missed = [row.name for row in sick if not row.is_found]
    say(
        f"{len(sick)} models; found by the check concerned: {len(sick) - len(missed)}."
        + (f" Missed: {', '.join(missed)}." if missed else "")
        + "\n"
    )
    _table(sick)


def _table(rows: list[Row]) -> None:
    say("| model | " + " | ".join(CHECKS) + " |")
    say("|---|" + "---|" * len(CHECKS))
    for row in rows:
        cells = [f"refused: {row.refused.split(';')[0]}", *row.cells[1:]] if row.refused else row.cells
        say(f"| {row.name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
