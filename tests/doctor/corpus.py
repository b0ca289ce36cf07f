"""All models through all checks, as tables: `python tests/doctor/corpus.py > docs/doctor-corpus.md` (`make corpus`).

In go the healthy and the sick models of the tests; libraries that are not installed are left out by name. Out comes Markdown: which check says what
of which model. Progress goes to standard error. `--only timm torchvision` examines those libraries' models and no others (`sick` names the models
with a fault).
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
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


def say(line: str, to: Any = sys.stdout) -> None:
    """One line."""
    to.write(f"{line}\n")
    to.flush()


def main() -> None:
    """Runs everything that can be run here."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*MODULES, "by hand", "vitscope", "sick"])
    only = parser.parse_args().only
    absent = [library for library, module in MODULES.items() if find_spec(module) is None]
    cases = [case for case in all_cases() if case.library not in absent and (not only or case.library in only)]
    faulty = CASES if not only or "sick" in only else []
    begun = time.monotonic()
    healthy = [(case, _told(case.name, lambda case=case: _examined(case))) for case in cases]  # type: ignore[misc]
    sick = [(case, _told(case.name, lambda case=case: examined(case, None))) for case in faulty]  # type: ignore[misc]
    say("# The doctor on models that are well and on models that are not\n")
    there = [f"{library} {version(library)}" for library in MODULES if library not in absent]
    say(
        f"Made by `make corpus` in {(time.monotonic() - begun) / 60:.0f} minutes: torch {torch.__version__}, "
        f"{', '.join(there) or 'no other library'}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}."
        + (f" Not installed and left out: {', '.join(absent)}." if absent else "")
    )
    say(
        "\n`E` error, `w` warning, `n` note, `–` not examined (the reason is what `vitscope doctor` prints), `·` nothing found.\n"
    )
    say("## Models that are well\n")
    wrong = [case.name for case, found in healthy if isinstance(found, Examination) and not found.healthy]
    refused = [case.name for case, found in healthy if isinstance(found, str)]
    say(f"{len(healthy)} models; accused of an error: {len(wrong)}; refused in one sentence: {len(refused)}.\n")
    _table([(case.name, found) for case, found in healthy])
    say("\n## Models with one fault each\n")
    missed = [case.name for case, found in sick if not _is_found(case, found)]
    say(
        f"{len(sick)} models; found by the check concerned: {len(sick) - len(missed)}."
        + (f" Missed: {', '.join(missed)}." if missed else "")
        + "\n"
    )
    _table([(f"{case.mode} {case.name} ({case.check})", found) for case, found in sick])


def _examined(case: Healthy) -> Examination:
    torch.manual_seed(0)
    return diagnose(
        case.build(), image_size=case.image_size, channels=case.channels, num_classes=case.classes, loss=case.loss
    )


def _told(name: str, run: Any) -> Examination | str:
    begun = time.monotonic()
    try:
        found: Examination | str = run()
    except VitscopeError as error:
        found = str(error)
    worst = found if isinstance(found, str) else ", ".join(f"{f.id}: {f.severity}" for f in found.findings)
    say(f"{name}: {worst} ({time.monotonic() - begun:.1f} s)", sys.stderr)
    return found


def _is_found(case: Any, found: Examination | str) -> bool:
    return not isinstance(found, str) and any(
        f.check == case.check and SEVERITIES.index(f.severity) <= SEVERITIES.index(case.severity)
        for f in found.findings
    )


def _table(rows: list[tuple[str, Examination | str]]) -> None:
    say("| model | " + " | ".join(CHECKS) + " |")
    say("|---|" + "---|" * len(CHECKS))
    for name, found in rows:
        if isinstance(found, str):
            say(f"| {name} | refused: {found.split(';')[0]} |" + " |" * (len(CHECKS) - 1))
        else:
            say(f"| {name} | " + " | ".join(_cell(found, check) for check in CHECKS) + " |")


def _cell(found: Examination, check: str) -> str:
    said = {f.severity for f in found.findings if f.check == check}
    for severity in SEVERITIES:
        if severity in said:
            return SIGNS[severity]
    return "–" if check in {skip.check for skip in found.skipped} else "·"


if __name__ == "__main__":
    main()
