"""Every fault of the catalogue that is visible from a model, in models that somebody else wrote: the check concerned finds it.

`sick_*` hold the models, proved to have their one fault by experiments that know nothing of the doctor (`test_sick_*`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from examined_sick import by_the_check_concerned, examined
from sick_case import Case

from vitscope.doctor.checks import CHECKS
from vitscope.doctor.finding import SEVERITIES

ROOMS = sorted(
    path.stem for path in Path(__file__).parent.glob("sick_*.py") if path.stem not in ("sick_case", "sick_experiments")
)
CASES: list[Case] = [case for room in ROOMS for case in getattr(import_module(room), "CASES", ())]
ONE_OF_EACH = {case.check: case for case in reversed(CASES)}
"""One whole examination a check."""


def test_the_catalogue_is_covered() -> None:
    modes = [case.mode for case in CASES]
    wanted = {f"M{number}" for number in range(1, 30)} | {"I1", "I2", "I3", "I5"}
    assert wanted <= set(modes)
    assert all(modes.count(mode) >= 2 for mode in wanted)
    assert {case.check for case in CASES} == set(CHECKS) - {"overfit", "learning-rate"}, (
        "those two are tested on trainings"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode} {case.name}")
def test_the_check_concerned_finds_it(case: Case) -> None:
    found = by_the_check_concerned(case)
    severe = [f for f in found.findings if SEVERITIES.index(f.severity) <= SEVERITIES.index(case.severity)]  # type: ignore[arg-type]
    assert [f for f in severe if f.check == case.check], [f.summary.en for f in found.findings] + [
        s.why.en for s in found.skipped
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("case", ONE_OF_EACH.values(), ids=lambda case: f"{case.check} {case.name}")
def test_a_whole_examination_names_it_first(case: Case) -> None:
    found = examined(case, [check for check in CHECKS if check != "overfit"])  # the dearest, and never a cause
    causes = [finding for finding in found.causes if finding.severity == found.findings[0].severity]
    assert case.check in {finding.check for finding in causes}, [(f.id, f.folded_under) for f in found.findings]
