"""Causes before consequences, whatever the order in which they were found."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from vitscope._core.text import Text
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.examination import Examination, Found, in_order
from vitscope.doctor.finding import Fault, Finding, Skip
from vitscope.doctor.telling import verdict

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
    assert said["skipped"] == [{"check": "third", "why": "否", "left_out": False}]
    wanted = {"check", "severity", "summary", "evidence", "why_it_matters", "advice", "folded_under", "proof"}
    assert wanted <= set(said["findings"][0])
    assert said["findings"][0]["evidence"] == {"value": "nan", "many": [1, 2]}


def test_there_are_sixteen_checks_and_each_says_what_it_does() -> None:
    assert len(CHECKS) == 16
    for name, check in CHECKS.items():
        words = check.__doc__ or ""
        assert all(part in words for part in ("Does:", "Finds:", "Must not accuse:")), name


def examined(*findings: Finding, **more: Any) -> Examination:
    checks = ("first", "second", "third")
    return Examination("m:f", in_order(findings, ORDER), checks, (), {}, {}, **more)


@pytest.mark.parametrize(
    ("findings", "en", "ja"),
    [
        ((), "healthy; nothing wrong was found", "健全。問題は見つかりませんでした"),
        ((finding("a", "first"), finding("b", "second", "warning")), "NOT healthy; 1 error, 1 warning", "異常あり。エラー1件、警告1件"),
        ((finding("a", "first", "warning"), finding("b", "second", "warning")), "no error; 2 warnings", "エラーなし。警告2件"),
        ((finding("a", "first", "note"),), "healthy; 1 note", "健全。参考1件"),
    ],
)  # fmt: skip
def test_the_headline_calls_nothing_healthy_that_has_a_warning(findings: tuple[Finding, ...], en: str, ja: str) -> None:
    found = examined(*findings)
    assert verdict(found) == Text(en, ja)
    assert found.text("ja").startswith(f"m:f：{ja}")


def test_nothing_done_is_not_called_healthy() -> None:
    found = Examination("m:f", (), (), (Skip("first", Text("no", "否")),), {}, {})
    assert "nothing could be examined" in found.text("en")


@pytest.mark.parametrize(
    ("findings", "en", "ja"),
    [
        ((), "healthy as far as examined; 2 of 5 checks could not be made", "検査できた範囲では健全。5項目中2項目は検査できませんでした"),
        ((finding("a", "first", "note"),), "healthy as far as examined; 1 note; 2 of", "検査できた範囲では健全。参考1件。5項目中2"),
        ((finding("a", "first"),), "NOT healthy; 1 error; 2 of 5", "異常あり。エラー1件。5項目中2項目"),
    ],
)  # fmt: skip
def test_the_headline_says_how_much_could_not_be_made(findings: tuple[Finding, ...], en: str, ja: str) -> None:
    no = Text("no", "否")
    skipped = (
        Skip("x", no),
        Skip("y", no),
        Skip("first", no),
        Skip("rate", Text("not told", "指定なし"), is_left_out=True),
    )
    found = Examination("m:f", in_order(findings, ORDER), ("first", "second", "third"), skipped, {}, {})
    assert verdict(found).en.startswith(en)
    assert verdict(found).ja.startswith(ja)
    shown = found.text("en")
    could, left = (
        shown.index("could not be made, so nothing is known there:"),
        shown.index("left out, as not asked for"),
    )
    assert could < shown.index("– y: no") < left < shown.index("– rate: not told")
    assert "検査できなかったもの（問題の有無は不明）：" in found.text("ja")
    assert "Left" not in shown
    assert found._repr_html_().index("could not be made, so") < found._repr_html_().index("left out, as not")


def test_what_was_not_asked_for_takes_nothing_from_the_headline() -> None:
    left = (Skip("rate", Text("not told", "指定なし"), is_left_out=True),)
    found = Examination("m:f", (), ("first",), left, {}, {})
    assert verdict(found).en == "healthy; nothing wrong was found"
    assert found.to_dict()["skipped"] == [{"check": "rate", "why": "not told", "left_out": True}]


def test_print_shows_what_the_terminal_shows_and_a_notebook_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    found = examined(finding("<cause>", "third", explains=("one",)), finding("one", "first"))
    shown = str(found)
    assert shown.splitlines()[0] == "m:f: NOT healthy; 2 errors"
    for said in (
        "✗ error · third · <cause>",
        "why: ",
        "fix: ",
        'checks=["third"]',
        "this also explains",
        "found by: second",
    ):
        assert said in shown
    assert repr(found) == "<Examination of m:f: NOT healthy; 2 errors; print it to read it>"
    assert found._repr_html_().count("to confirm the fix: checks=[&quot;third&quot;]") == 1
    assert "&lt;cause&gt;" in found._repr_html_()
    assert "<cause>" not in found._repr_html_()
    assert "エラー2件" in str(examined(*found.findings, lang="ja"))


def test_what_asks_for_nothing_is_counted_as_it_is_listed_and_has_no_fix() -> None:
    words = Text("fine", "良好")
    good = Fault("good", "M0", "first", "note", words, Text("nothing to do", "対処は不要です")).found(words, {})
    found = examined(good, finding("other", "second", "note"))
    assert verdict(found) == Text("healthy; 2 notes", "健全。参考2件")
    assert found.text("en").count("i note") == found.text("ja").count("i 参考") == 2
    assert found._repr_html_().count(">note<") + found._repr_html_().count(">参考<") == 2
    found = examined(good)
    assert verdict(found) == Text("healthy; 1 note", "健全。参考1件")
    assert "fine" in found.text("en")
    assert "confirm" not in found.text("en")
    assert "fix" not in found.text("en")


def test_findings_of_data_and_curves_print_too() -> None:
    found = Found([finding("a", "data-labels", "warning")], [], ("data-labels", "data-leak"))
    findings, skipped, done = found
    assert (len(findings), skipped, done) == (1, [], ("data-labels", "data-leak"))
    assert found.text("en").startswith("data: no error; 1 warning")
    assert "data-leak" in str(found)
    assert repr(Found([], [], ("curve-band",))).startswith("<Examination of curve: healthy")


def test_of_several_causes_the_one_that_names_the_finding_is_its_cause() -> None:
    plateau = finding("plateau", "third", "warning")
    whole, named = (
        finding("whole", "first", explains=("third",)),
        finding("named", "second", explains=("third", "plateau")),
    )
    folded = {each.id: each.folded_under for each in in_order([whole, named, plateau], ORDER)}
    assert folded == {"whole": None, "named": None, "plateau": "named"}
