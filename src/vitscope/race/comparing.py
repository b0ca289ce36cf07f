"""`vitscope.compare`: two ViTs in, a `Comparison` out: structure, both examinations, the race, and whether a mend closes the gap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.text import LANGS, Text
from vitscope.doctor.admission import admitted
from vitscope.doctor.arguments import counts_given, lang_given, size_given
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.patient import SEED
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Arm, NotTrainedError, Progress, made, race
from vitscope.race.course import Course
from vitscope.race.entrants import Entrant
from vitscope.race.given import Given, pair_of
from vitscope.race.mending import Only, raced_mends
from vitscope.race.names import of_one
from vitscope.race.structure import structure
from vitscope.race.targets import Pair, Wanted, open_course


def compare(
    a: Given,
    b: Given,
    *,
    data: str | Path | None = None,
    duration: str | None = None,
    seeds: int | Sequence[int] | None = None,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
    names: tuple[str, str] | None = None,
    checks: Sequence[str] | None = None,
    lang: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Two ViTs side by side: what they are made of, what the doctor finds in each, and, where there are data, which learns better from them and why.

    Args:
        a, b: what makes a module when it is called without arguments (a class, a function: each seed's training starts from fresh weights); a
            built-in name, a YAML file or a run folder (fresh weights too); or a module, which stays as it is (each seed starts from the weights that
            it has, unless they are start values that its layers can draw anew).
        data: what they race on: `digits`, `cifar10`, `cifar100`, `hub:owner/name` or a folder; without it there is no race.
        duration: of each training, `150st` or `5ep`; 150 steps where left out.
        seeds: how many trainings of each at most, 3 where left out; or which seeds.
        image_size: side of their images in pixels, or (height, width); of no need where one of them is a name, which knows its own.
        channels: of their images; 3, or what a name knows.
        names: what they are called; left out, what their names are, or A and B.
        checks: only these of the doctor's, by their ids.
        lang: the language that the result is printed in, `en` or `ja`; the locale's where left out.
        progress: told before each check and each training: what, its number from 0, how many.

    Raises:
        VitscopeError: one of them cannot be examined, they take no such images, or there are no such data, in one sentence.

    Example:
        >>> found = vitscope.compare("good-vit", "bad-vit", data="digits", duration="150st", seeds=3)
        >>> print(found)
    """
    spoken, given = lang_given(lang), size_given(image_size)
    size = (given, given) if isinstance(given, int) else given
    counts_given(channels=channels)
    try:
        pair = pair_of(a, b, names=names, image_size=size, channels=channels, has_race=data is not None)
        course, notes = None, pair.notes
        if data is not None:
            course, fitted = open_course(pair, Wanted(data=str(data), duration=duration, seeds=seeds))
            notes = (*notes, fitted)
    except UsageError as error:
        raise UsageError(_in_python(error.text)) from error
    found = compared(pair, course, checks=checks, notes=notes, progress=progress)
    return replace(found, one=replace(found.one, lang=spoken), other=replace(found.other, lang=spoken), lang=spoken)


def _in_python(text: Text) -> Text:
    """A sentence about the command's options, about arguments."""
    return Text(*(re.sub(r"--([a-z][a-z_-]*)", lambda found: found[1].replace("-", "_"), text[lang]) for lang in LANGS))


def compared(
    pair: Pair,
    course: Course | None,
    *,
    checks: Sequence[str] | None = None,
    notes: tuple[Text, ...] = (),
    progress: Progress | None = None,
) -> Comparison:
    """What two come to.

    Args:
        pair: both.
        course: what they race on; None for no race.
        checks: only these of the doctor's, by their ids.
        notes: what a reader must know beside.
        progress: told before each check and each training.

    Raises:
        VitscopeError: one of them cannot be examined.
    """
    found = _compared(pair.one, pair.other, pair.image_size, pair.channels, course, checks, notes, progress)
    return replace(found, starts=(pair.one.starts, pair.other.starts))


def _compared(
    one: Entrant,
    other: Entrant,
    image_size: tuple[int, int],
    channels: int,
    course: Course | None,
    checks: Sequence[str] | None,
    notes: tuple[Text, ...],
    progress: Progress | None,
) -> Comparison:
    """Both examinations, what they are made of, and the race, where there can be one."""
    found = tuple(_examined(entrant, image_size, channels, checks, progress) for entrant in (one, other))
    if any("classes" not in each.facts for each in found):  # no scores at all: nothing to align or to race
        return Comparison(found[0], found[1], (), None, _unmended(one, other, found), _NO_SCORES, notes)
    with as_it_was():
        rows = structure(*(_patient(entrant, image_size, channels) for entrant in (one, other)), found=found)
    why_not = _why_no_race(found, course)
    if why_not is not None or course is None:
        return Comparison(found[0], found[1], rows, None, _unmended(one, other, found), why_not, notes)
    try:
        run = race(Arm(one.name, one.make), Arm(other.name, other.make), course, progress)
    except NotTrainedError as error:
        return Comparison(
            found[0], found[1], rows, None, _unmended(one, other, found), error.text, notes, untrained=True
        )
    between = run.gap(one.name, other.name)
    behind = None if not between.is_clear else one.name if between.points < 0 else other.name
    run, causes = raced_mends(only_one(one, other, found, behind), run, progress)
    return Comparison(found[0], found[1], rows, run, causes, None, notes)


_NO_DATA = Text(
    "no data were given to race on; give some, as in data='digits' or the folder of your own",
    "競争に使うデータが指定されていません。data='digits'のように、またはフォルダで指定してください",
)
_NO_SCORES = Text("one of them gives no scores", "一方のモデルがスコアを返しません")
_OTHER_CLASSES = Text(
    "the first gives {one} scores for an image and the second {other}",
    "画像1枚あたりのスコアの数が、1つ目は{one}個、2つ目は{other}個です",
)
_OTHER_DATA = Text(
    "they give {one} scores for an image, and {data} has {classes} classes",
    "画像1枚あたりのスコアは{one}個ですが、{data}は{classes}クラスです",
)


def _why_no_race(found: Sequence[Examination], course: Course | None) -> Text | None:
    one, other = (each.facts["classes"] for each in found)
    if one != other:
        return _OTHER_CLASSES.format(one=one, other=other)
    if course is None:
        return _NO_DATA
    if one != course.classes:
        return _OTHER_DATA.format(one=one, data=course.data, classes=course.classes)
    return None


def _examined(
    entrant: Entrant,
    image_size: int | tuple[int, int],
    channels: int,
    checks: Sequence[str] | None,
    progress: Progress | None,
) -> Examination:
    def tell(check: str, number: int, total: int) -> None:
        if progress is not None:
            progress(f"{entrant.name}: {check}", number, total)

    with as_it_was():
        model = made(entrant.make, SEED)
    try:
        return diagnose(
            model,
            image_size=image_size,
            channels=channels,
            checks=checks,
            factory=entrant.make,
            target=entrant.name,
            progress=tell,
        )
    except ModelError as error:
        raise of_one(entrant.name, error) from error


def _patient(entrant: Entrant, image_size: int | tuple[int, int], channels: int) -> Any:
    twin, _ = copy_of(made(entrant.make, SEED))
    patient, _, _ = admitted(
        twin, image_size=image_size, num_classes=None, channels=channels, images=None, labels=None, batch_size=None
    )
    return patient


def only_one(one: Entrant, other: Entrant, found: Sequence[Examination], behind: str | None = None) -> list[Only]:
    """Errors and warnings that one has and the other has not, causes only; of a model that is clearly behind without any, its notes."""
    arms = [Arm(entrant.name, entrant.make) for entrant in (one, other)]
    sides = ((arms[0], found[0], arms[1], found[1]), (arms[1], found[1], arms[0], found[0]))
    only = []
    for owner, own, rival, its in sides:
        theirs = {each.id for each in its.findings}
        mine = [each for each in own.findings if each.id not in theirs]
        serious = [each for each in mine if each.severity != "note"]
        causes = [each for each in own.causes if each in (serious or (mine if owner.name == behind else []))]
        only += [Only(owner, each, rival, tuple(f for f in own.under(each) if f in serious)) for each in causes]
    return only


def _unmended(one: Entrant, other: Entrant, found: Sequence[Examination]) -> tuple[Cause, ...]:
    return tuple(Cause(each.owner.name, each.finding) for each in only_one(one, other, found))
