"""The page of an examination: findings in, self-contained HTML out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitscope._core.text import Lang, Text
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Finding, plain
from vitscope.report.art import coloured, data_url
from vitscope.report.doctoring.words import DOCTOR_WORDS, SEVERITY
from vitscope.report.html import asset, number, render


@dataclass(frozen=True)
class Shown:
    """A finding as the page shows it, with what it explains."""

    finding: Finding
    severity: Text
    evidence: list[tuple[str, str]]
    picture: str | None
    explains: list[Shown]


def page_of(found: Examination, lang: Lang = "en") -> str:
    """The whole page."""
    fine = [check for check in found.checks_run if check not in {finding.check for finding in found.findings}]
    return render(
        "doctor.html.j2",
        lang,
        DOCTOR_WORDS,
        style=asset("style.css"),
        title=DOCTOR_WORDS["doctor_title"].format(target=found.target)[lang],
        found=found,
        causes=[shown(cause, found) for cause in found.causes],
        counts=list(_counts(found)),
        fine=fine,
        facts=list(_facts(found)),
        seconds=sum(found.seconds.values()),
    )


def shown(finding: Finding, found: Examination) -> Shown:
    """A finding with its numbers as words and its picture as an address."""
    evidence = [(name.replace("_", " "), _as_words(plain(value))) for name, value in finding.evidence.items()]
    return Shown(
        finding,
        SEVERITY[finding.severity],
        evidence,
        _picture(finding),
        [shown(each, found) for each in found.under(finding)],
    )


def _picture(finding: Finding) -> str | None:
    if finding.picture is None:
        return None
    scale = max(1, 224 // max(finding.picture.shape))
    pixels = coloured(finding.picture, 0.0, 1.0, "magma")
    return data_url(np.ascontiguousarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)))


def _as_words(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(_as_words(each) for each in value[:12]) + (f" … ({len(value)})" if len(value) > 12 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_as_words(each)}" for key, each in list(value.items())[:12])
    return str(value)


def _counts(found: Examination) -> Iterator[tuple[str, Text, int]]:
    for severity, word in SEVERITY.items():
        count = sum(finding.severity == severity for finding in found.findings)
        if count:
            yield severity, word, count


def _facts(found: Examination) -> Iterator[tuple[Text, str]]:
    for name, word in (
        ("parameters", Text("parameters", "パラメータ数")),
        ("image", Text("image (channels, height, width)", "画像（チャンネル、高さ、幅）")),
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
