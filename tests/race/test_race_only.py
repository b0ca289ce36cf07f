"""What counts as what only one of two models has: errors and warnings, and the notes of one that is clearly behind without any."""

from __future__ import annotations

import pytest
from torch import nn

from vitscope._core.text import Text
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Fault, Finding, Severity
from vitscope.race.comparing import only_one
from vitscope.race.entrants import Entrant

SOME = Text("some", "ある")
ONE, OTHER = Entrant("one", nn.Identity), Entrant("other", nn.Identity)


def finding(name: str, severity: Severity, under: str | None = None) -> Finding:
    return Fault(name, "X1", "output", severity, SOME, SOME).found(SOME, {}).under(under)


def examined(name: str, *findings: Finding) -> Examination:
    return Examination(name, findings, ("output",), (), {}, {"classes": 10})


def told(one: tuple[Finding, ...], other: tuple[Finding, ...] = (), behind: str | None = None) -> list[tuple[str, str]]:
    only = only_one(ONE, OTHER, (examined("one", *one), examined("other", *other)), behind)
    return [(each.owner.name, each.finding.id) for each in only]


def test_what_both_have_and_notes_are_left_out() -> None:
    shared, note, error = finding("shared", "error"), finding("style", "note"), finding("sick", "error")
    assert told((shared, note, error), (shared,)) == [("one", "sick")]


@pytest.mark.parametrize(("behind", "ids"), [("one", [("one", "frozen")]), ("other", []), (None, [])])
def test_a_note_counts_where_its_model_is_behind_for_no_other_reason(
    behind: str | None, ids: list[tuple[str, str]]
) -> None:
    assert told((finding("frozen", "note"),), behind=behind) == ids


def test_a_note_beside_an_error_does_not_count() -> None:
    assert told((finding("frozen", "note"), finding("sick", "warning")), behind="one") == [("one", "sick")]


def test_what_a_cause_explains_goes_with_it() -> None:
    cause, below, style = finding("sick", "error"), finding("blind", "warning", "sick"), finding("s", "note", "sick")
    (only,) = only_one(ONE, OTHER, (examined("one", cause, below, style), examined("other")))
    assert [each.id for each in only.beneath] == ["blind"]
