"""The page of an examination: its words in both languages, nothing of it taken for markup, and no talk of maps where there are none."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import vitscope
from vitscope._core.text import Text
from vitscope.doctor.examination import Examination, in_order
from vitscope.doctor.finding import Fault, Skip
from vitscope.report.doctoring.evidence import called
from vitscope.report.doctoring.page import page_of
from vitscope.report.doctoring.values import worded

BAD = Fault(
    "bad", "M2", "forward", "error", Text("Why <so>.", "理由。"), Text("mend it", "直す"), "x = <y>", explains=("low",)
)
LOW = Fault("low", "M3", "output", "warning", Text("Why.", "理由。"), Text("mend it too", "これも直す"))
EVIDENCE = {
    "uniform_heads": ["blocks.0", "blocks.1"],
    "drop_last": True,
    "largest_change": 0.0,
    "losses": list(range(20)),
    "never_seen_before": None,
}


def examined(*faults: Fault, more: tuple[Skip, ...] = ()) -> Examination:
    findings = [fault.found(Text("It is <odd>.", "異常です。"), EVIDENCE) for fault in faults]
    checks = ("forward", "output", "residual", "position")
    skipped = (Skip("learning-rate", Text("none was given", "指定なし"), is_left_out=True), *more)
    return Examination("m:f", in_order(findings, checks), checks, skipped, {"forward": 1.0}, {"parameters": 12345})


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        (
            "en",
            (
                "NOT healthy; 1 error, 1 warning.",
                "What it does to learning: </b>",
                "<th>uniform heads</th>",
                "<td>yes</td>",
                "10, 11, … 8 more</td>",
                "residual, position",
            ),
        ),
        (
            "ja",
            (
                "異常あり。エラー1件、警告1件。",
                "学習への影響：</b>",
                "<th>一様なヘッド</th>",
                "<td>はい</td>",
                "10、11、…ほか8個</td>",
                "residual、position",
            ),
        ),
    ],
)
def test_words_and_numbers(lang: str, words: tuple[str, ...]) -> None:
    html = page_of(examined(BAD, LOW), "ja" if lang == "ja" else "en")
    for said in (
        *words,
        "<li>blocks.1</li>",
        "<code>--checks forward</code>",
        "x = &lt;y&gt;",
        "docs/failure-modes.md",
    ):
        assert said in html, said
    assert "<odd>" not in html
    assert "noscript" not in html


@pytest.mark.parametrize(
    ("value", "en", "ja"),
    [
        (list(range(4000)), "9, 10, 11, … 3,988 more", "9、10、11、…ほか3,988個"),
        ({f"k{i}": i for i in range(14)}, "k11: 11, … 2 more", "k11: 11、…ほか2個"),
        (4160, "<td>4,160</td>", "<td>4,160</td>"),
        ([[0, 1], [], [2]], "(0, 1), –, (2)", "(0、1)、–、(2)"),
        ([f"n{i}" for i in range(13)], "<li>… 1 more</li>", "<li>…ほか1個</li>"),
    ],
)
def test_long_lists_say_how_many_more_there_are(value: object, en: str, ja: str) -> None:
    finding = BAD.found(Text("It is.", "異常です。"), {"losses": value})
    found = replace(examined(), findings=(finding,))
    assert en in page_of(found)
    assert ja in page_of(found, "ja")


def test_a_warning_alone_is_called_neither_healthy_nor_an_error() -> None:
    html = page_of(examined(LOW))
    assert '<p class="verdict careful">no error; 1 warning.</p>' in html
    assert "ealthy" not in html
    assert '<p class="verdict ok">healthy; nothing wrong was found.</p>' in page_of(examined())


def test_what_could_not_be_examined_makes_no_clean_bill() -> None:
    found = examined(more=(Skip("attention", Text("not seen", "見えない")),))
    html = page_of(found)
    assert '<p class="verdict careful">healthy as far as examined; 1 of 5 checks could not be made.</p>' in html
    could, left = html.index("<h2>Could not be made"), html.index("<h2>Left out")
    assert could < html.index("not seen") < left < html.index("none was given")
    assert "検査できた範囲では健全。5項目中1項目は検査できませんでした。" in page_of(found, "ja")
    nothing = Examination("m:f", (), (), found.skipped, {}, {})
    assert '<p class="verdict careful">nothing could be examined' in page_of(nothing)


def test_a_number_that_is_not_known_by_name_is_said_in_english() -> None:
    assert called("never_seen_before") == Text("never seen before", "never seen before")
    assert called("val_acc").en == "validation accuracy, %"


def _named_in_the_source() -> set[str]:
    """The names of numbers that checks write down: the keys of dictionaries among what is given to `found(…)`."""
    names: set[str] = set()
    for file in Path(vitscope.__file__).parent.glob("doctor/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "found":
                given = [each for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Dict)]
                names |= {key.value for each in given for key in each.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]
    return names


def test_every_number_has_a_name_in_japanese() -> None:
    names = _named_in_the_source()
    assert len(names) > 200
    alike = {name for name in names if called(name).en == called(name).ja}
    assert alike == {"ln_classes", "patience"}, "ln C, and the name of an argument"


def test_words_among_the_numbers_are_in_the_pages_language() -> None:
    assert (worded("training", "ja"), worded("training", "en")) == ("学習", "training")
    assert worded("blocks.0.attn", "ja") == "blocks.0.attn"
    assert worded("the model", "ja") == "モデル本体"
    assert worded("in the forward", "ja") == "順伝播"


def test_of_a_curve_it_does_not_say_that_a_model_was_run() -> None:
    found = replace(examined(LOW), seconds={})
    assert "What was recorded was examined; the doctor ran no model." in page_of(found)
    assert "a copy was run" not in page_of(found)
    assert "a copy was run" in page_of(replace(examined(LOW), seconds={"forward": 0.2}))
