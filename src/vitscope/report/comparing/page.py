"""The page of a comparison: what was found about two models in, self-contained HTML out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from vitscope._core.text import Lang, Text
from vitscope.augment import AugmentSpec
from vitscope.doctor.telling import NOT_MADE, listed, nothing_found_by, verdict
from vitscope.race.differences import interval, signed, stopped
from vitscope.report.art import inline_svg
from vitscope.report.comparing.charts import draw_race
from vitscope.report.comparing.words import COMPARE_WORDS
from vitscope.report.doctoring.page import Shown, shown, state_of
from vitscope.report.html import asset, render

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.doctor.finding import Skip
    from vitscope.race.comparison import Cause, Comparison
    from vitscope.race.gaps import Gap


@dataclass(frozen=True)
class SideShown:
    """One of the two as the doctor saw it."""

    name: str
    verdict: Text
    state: str
    causes: list[Shown]
    fine: str
    not_made: tuple[Skip, ...]
    """The checks that could not be made."""


def page_of(found: Comparison, lang: Lang = "en") -> str:
    """The whole page."""
    race = found.race
    names = {"one": found.one.target, "other": found.other.target}
    course = race.course if race is not None else None
    how = None
    if race is not None and course is not None:
        facts = course.to_dict()
        how = COMPARE_WORDS["race_how"].format(
            steps=course.length,
            data=facts["data"],
            train=f"{facts['train_images']:,}",
            batch=facts["batch_size"],
            lr=f"{facts['lr']:g}",
            augment=course.augment.describe(lang) if course.augment != AugmentSpec() else COMPARE_WORDS["none"][lang],
            measured=f"{facts['measured_images']:,}",
        )
    return render(
        "compare.html.j2",
        lang,
        _words(found),
        style=asset("style.css"),
        title=COMPARE_WORDS["compare_title"].format(**names)[lang],
        found=found,
        how=how,
        chart=Markup(inline_svg(draw_race(found.arms, course.classes, lang))) if course is not None else None,
        seeds=list(dict.fromkeys(heat.seed for heat in race.heats)) if race is not None else [],
        heats=[(name, list(heats), sum(h.accuracy for h in heats) / len(heats)) for name, heats in found.arms],
        gaps=list(_gaps(found)),
        differing=[row for row in found.rows if row.differs],
        same=[row for row in found.rows if not row.differs],
        sides=[_side(found.one, lang), _side(found.other, lang)],
        signed=signed,
        interval=interval,
        stopped=stopped(found),
        breakable=breakable,
        not_made=NOT_MADE,
        by_id={cause.finding.id: cause for cause in found.causes if not cause.together},
    )


def _words(found: Comparison) -> dict[str, Text]:
    """The page's words; what is said of intervals depends on how many seeds they are over."""
    if found.gap is None or found.gap.seeds > 1:
        return COMPARE_WORDS
    return {**COMPARE_WORDS, "interval_how": COMPARE_WORDS["interval_of_one"]}


def breakable(name: str) -> Markup:
    """A model's name that may go on in a new line behind a colon, a dot or a comma or with a bracket, and not inside of a word."""
    return Markup(re.sub(r"(?<=[:/.,_])|(?=\()", "<wbr>", str(escape(name))))


def _side(found: Examination, lang: Lang) -> SideShown:
    causes = [shown(cause, found, lang) for cause in found.causes]
    return SideShown(
        found.target, verdict(found), state_of(found), causes, listed(nothing_found_by(found))[lang], found.not_made
    )


def _gaps(found: Comparison) -> Iterator[tuple[Text, Gap]]:
    """All differences: between the two, then of each mend what it gains and what it leaves."""
    if found.gap is not None:
        yield COMPARE_WORDS["between"].format(one=found.one.target, other=found.other.target), found.gap
    for cause in found.causes:
        yield from _of_cause(cause)


def _of_cause(cause: Cause) -> Iterator[tuple[Text, Gap]]:
    for word, each in (("gained", cause.gained), ("left", cause.left)):
        if each is not None:
            said = COMPARE_WORDS[word]
            ids = listed(list(cause.ids))
            yield Text(f"{said.en} ({ids.en})", f"{said.ja}（{ids.ja}）"), each
