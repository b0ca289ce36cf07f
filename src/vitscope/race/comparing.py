"""`vitscope.compare`: two ViTs in, a `Comparison` out: structure, both examinations, the race, and whether a mend closes the gap."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.suggest import a_
from vitscope._core.text import Text
from vitscope.doctor.admission import admitted
from vitscope.doctor.arguments import lang_given
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.patient import SEED
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Arm, NotTrainedError, Progress, made, race
from vitscope.race.course import Course
from vitscope.race.entrants import FINISHED, Entrant
from vitscope.race.mending import Only, raced_mends
from vitscope.race.names import names_of, of_one
from vitscope.race.structure import structure


def compare(
    a: nn.Module | Entrant,
    b: nn.Module | Entrant,
    *,
    image_size: int | tuple[int, int],
    channels: int = 3,
    course: Course | None = None,
    names: tuple[str, str] = ("A", "B"),
    checks: Sequence[str] | None = None,
    notes: tuple[Text, ...] = (),
    lang: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Two ViTs side by side.

    Args:
        a, b: modules (each seed's training starts from the weights that they have; they stay as they are), or entrants that make fresh ones.
        image_size: side of their images in pixels, or (height, width).
        channels: of their images.
        course: what they race on; without it there is no race.
        names: what they are called, where modules are given.
        checks: only these of the doctor's, by their ids.
        notes: what a reader must know beside.
        lang: the language that the result is printed in, `en` or `ja`; the locale's where left out.
        progress: told before each check and each training: what, its number from 0, how many.

    Raises:
        VitscopeError: one of them cannot be examined, or they take no such images.
    """
    spoken = lang_given(lang)
    one, other = _entrants(a, b, names)
    notes = (*notes, *_given(one, a, has_race=course is not None), *_given(other, b, has_race=course is not None))
    found = _compared(one, other, image_size, channels, course, checks, notes, progress)
    return replace(found, one=replace(found.one, lang=spoken), other=replace(found.other, lang=spoken), lang=spoken)


def _compared(
    one: Entrant,
    other: Entrant,
    image_size: int | tuple[int, int],
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


_NO_DATA = Text("no data were given to race on", "競争に使うデータが指定されていません")
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


def _entrants(a: nn.Module | Entrant, b: nn.Module | Entrant, names: tuple[str, str]) -> tuple[Entrant, Entrant]:
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f"names are {names!r}, expected one word for each of the two models")
    one, other = _entrant(a, names[0]), _entrant(b, names[1])
    ours, theirs = names_of((one.name, other.name), (one.name, other.name), (None, None))
    return replace(one, name=ours), replace(other, name=theirs)


def _entrant(given: nn.Module | Entrant, name: str) -> Entrant:
    if isinstance(given, Entrant):
        return given
    if not isinstance(given, nn.Module):
        raise ModelError(f"compare takes two nn.Modules, got {a_(type(given).__name__)}")
    twin, _ = copy_of(given)
    for module, its in zip(twin.modules(), given.modules(), strict=False):
        module.training = its.training
    return Entrant(name, lambda: copy.deepcopy(twin))


_HOOKS = Text(
    "{count} hook{s} of functions, registered on {model}, {were} left out; neither the examination nor the race runs {them}.",
    "{model}に関数として登録されたフック{count}個は取り除いてあり、検査でも競争でも実行されません。",
)


def _given(entrant: Entrant, given: nn.Module | Entrant, *, has_race: bool) -> Iterator[Text]:
    """What a reader must know of a module that was given as it is."""
    if isinstance(given, Entrant):
        return
    _, hooks = copy_of(given)
    if hooks:
        many = {"s": "s", "were": "were", "them": "them"} if hooks > 1 else {"s": "", "were": "was", "them": "it"}
        yield _HOOKS.format(count=hooks, model=entrant.name, **many)
    if has_race:
        yield FINISHED.format(model=entrant.name)


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
