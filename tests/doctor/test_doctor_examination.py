"""Causes before consequences, whatever the order in which they were found."""

from __future__ import annotations

import json
from typing import Literal

from vitscope._core.text import Text
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.examination import Examination, in_order
from vitscope.doctor.finding import Fault, Finding, Skip

ORDER = ("first", "second", "third")


def finding(
    id_: str, check: str, severity: Literal["error", "warning", "note"] = "error", explains: tuple[str, ...] = ()
) -> Finding:
    words = Text(id_, id_)
    return Fault(id_, "M0", check, severity, words, words, explains=explains).found(
        words, {"value": float("nan"), "many": (1, 2)}
    )


def test_causes_stand_first_and_hold_what_they_explain() -> None:
    cause = finding("cause", "third", explains=("first", "named"))
    found = in_order(
        [finding("one", "first"), finding("named", "second"), finding("own", "second", "warning"), cause], ORDER
    )
    assert [each.id for each in found] == ["cause", "one", "named", "own"]
    assert [each.folded_under for each in found] == [None, "cause", "cause", None]


def test_a_chain_is_folded_under_its_root() -> None:
    found = in_order(
        [finding("c", "third"), finding("b", "second", explains=("c",)), finding("a", "first", explains=("b",))], ORDER
    )
    assert {each.id: each.folded_under for each in found} == {"a": None, "b": "a", "c": "a"}


def test_a_warning_explains_no_error_and_two_that_explain_each_other_stand_alone() -> None:
    light = finding("light", "first", "warning", explains=("grave",))
    found = in_order([light, finding("grave", "second")], ORDER)
    assert [(each.id, each.folded_under) for each in found] == [("grave", None), ("light", None)]
    both = in_order([finding("a", "first", explains=("b",)), finding("b", "second", explains=("a",))], ORDER)
    assert [each.folded_under for each in both] == [None, None]


def test_json_is_the_contracts() -> None:
    found = Examination(
        "m:f",
        in_order([finding("one", "first")], ORDER),
        ("first",),
        (Skip("third", Text("no", "否")),),
        {"first": 0.12345},
        {},
    )
    said = json.loads(json.dumps(found.to_dict("ja"), allow_nan=False))
    assert {"target", "healthy", "checks_run", "skipped", "findings"} <= set(said)
    assert said["healthy"] is False
    assert said["skipped"] == [{"check": "third", "why": "否"}]
    wanted = {"check", "severity", "summary", "evidence", "why_it_matters", "advice", "folded_under", "proof"}
    assert wanted <= set(said["findings"][0])
    assert said["findings"][0]["evidence"] == {"value": "nan", "many": [1, 2]}


def test_there_are_sixteen_checks_and_each_says_what_it_does() -> None:
    assert len(CHECKS) == 16
    for name, check in CHECKS.items():
        words = check.__doc__ or ""
        assert all(part in words for part in ("Does:", "Finds:", "Must not accuse:")), name
