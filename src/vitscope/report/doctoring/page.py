"""The page of an examination: findings in, self-contained HTML out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitscope._core.text import Lang, Text
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Finding, plain
from vitscope.doctor.telling import WORDS, listed, nothing_found_by, skips_of, verdict
from vitscope.report.art import coloured, data_url
from vitscope.report.doctoring.evidence import called
from vitscope.report.doctoring.values import worded
from vitscope.report.doctoring.words import DOCTOR_WORDS
from vitscope.report.html import asset, number, render

MOST = 12
"""Entries of a list that are shown."""


@dataclass(frozen=True)
class Shown:
    """A finding as the page shows it, with what it explains."""

    finding: Finding
    severity: Text
    evidence: list[tuple[str, str | list[str]]]
    """By what it is called; a list of words is one."""
    picture: str | None
    explains: list[Shown]


def page_of(found: Examination, lang: Lang = "en") -> str:
    """The whole page."""
    return render(
        "doctor.html.j2",
        lang,
        DOCTOR_WORDS,
        style=asset("style.css"),
        title=DOCTOR_WORDS["doctor_title"].format(target=found.target)[lang],
        found=found,
        verdict=verdict(found),
        state=state_of(found),
        causes=[shown(cause, found, lang) for cause in found.causes],
        fine=listed(nothing_found_by(found))[lang],
        skips=skips_of(found),
        facts=list(_facts(found)),
        seconds=sum(found.seconds.values()),
    )


def shown(finding: Finding, found: Examination, lang: Lang) -> Shown:
    """A finding with its numbers as words and its picture as an address."""
    evidence = [(called(name)[lang], _as_words(plain(value), lang)) for name, value in finding.evidence.items()]
    return Shown(
        finding,
        WORDS[finding.severity],
        evidence,
        _picture(finding),
        [shown(each, found, lang) for each in found.under(finding)],
    )


def state_of(found: Examination) -> str:
    """How the verdict is coloured: as an error, as a warning, or as fine."""
    if not found.healthy:
        return "bad"
    is_sure = found.checks_run and not found.not_made
    return "ok" if is_sure and all(each.severity == "note" for each in found.findings) else "careful"


def _picture(finding: Finding) -> str | None:
    if finding.picture is None:
        return None
    scale = max(1, 224 // max(finding.picture.shape))
    pixels = coloured(finding.picture, 0.0, 1.0, "magma")
    return data_url(np.ascontiguousarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)))


def _as_words(value: Any, lang: Lang) -> str | list[str]:
    """Numbers of a list in a row, its words one under the other."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return _shortened([worded(each, lang) for each in value[:MOST]], len(value), lang)
    return _in_a_row(value, lang)


def _shortened(shown: list[str], count: int, lang: Lang) -> list[str]:
    """The first entries of so many, and how many more there are."""
    rest = count - len(shown)
    return [*shown, Text(f"… {rest:,} more", f"…ほか{rest:,}個")[lang]] if rest > 0 else shown


def _in_a_row(value: Any, lang: Lang) -> str:
    comma = Text(", ", "、")[lang]
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return (Text("yes", "はい") if value else Text("no", "いいえ"))[lang]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        shown = [
            f"({said})" if isinstance(each, list) and each else said
            for each in value[:MOST]
            for said in [_in_a_row(each, lang)]
        ]
        return comma.join(_shortened(shown, len(value), lang))
    if isinstance(value, dict):
        shown = [f"{worded(str(key), lang)}: {_in_a_row(each, lang)}" for key, each in list(value.items())[:MOST]]
        return comma.join(_shortened(shown, len(value), lang))
    return worded(str(value), lang)


def _facts(found: Examination) -> Iterator[tuple[Text, str]]:
    for name, word in (
        ("parameters", Text("parameters", "パラメータ数")),
        ("image", Text("image (channels, height, width)", "画像（チャネル、高さ、幅）")),
        ("classes", Text("classes", "クラス数")),
        ("blocks", Text("blocks", "ブロック数")),
        ("tokens", Text("tokens", "トークン数")),
        ("precision", Text("precision of the experiments", "実験の精度")),
        ("seed", Text("seed", "シード")),
    ):
        value = found.facts.get(name)
        if value is not None:
            yield (
                word,
                "×".join(map(str, value))
                if isinstance(value, list)
                else f"{value:,}"
                if isinstance(value, int)
                else str(value),
            )
