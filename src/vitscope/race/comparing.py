"""`vitscope.compare`: two ViTs in, a `Comparison` out: structure, both examinations, the race, and whether a mend closes the gap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.suggest import a_
from vitscope._core.text import Text
from vitscope.doctor.admission import admitted
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import SEED, first_line
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Arm, Progress, Race, gap, heat_of, made, race
from vitscope.race.course import Course
from vitscope.race.repair import mended
from vitscope.race.structure import structure

Make = Callable[[], nn.Module]


@dataclass(frozen=True)
class Entrant:
    """One of the two: its name and what makes it, untrained, under torch's current seed."""

    name: str
    make: Make


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
        progress: told before each check and each training: what, its number from 0, how many.

    Raises:
        VitscopeError: one of them cannot be examined, or they take no such images.
    """
    one, other = _entrants(a, b, names)
    found = tuple(_examined(entrant, image_size, channels, checks, progress) for entrant in (one, other))
    if any("classes" not in each.facts for each in found):  # no scores at all: nothing to align or to race
        return Comparison(found[0], found[1], (), None, _unmended(one, other, found), _NO_SCORES, notes)
    with as_it_was():
        rows = structure(*(_patient(entrant, image_size, channels) for entrant in (one, other)))
    why_not = _why_no_race(found, course)
    if why_not is not None or course is None:
        return Comparison(found[0], found[1], rows, None, _unmended(one, other, found), why_not, notes)
    try:
        run = race(Arm(one.name, one.make), Arm(other.name, other.make), course, progress)
    except ModelError as error:
        why_not = _NOT_TRAINED.format(why=first_line(error))
        return Comparison(found[0], found[1], rows, None, _unmended(one, other, found), why_not, notes)
    causes = tuple(
        _raced_mend(owner, finding, run, rival, progress) for owner, finding, rival in _only_one(one, other, found)
    )
    makers = {entrant.name: entrant.make for entrant in (one, other)}
    return Comparison(found[0], found[1], rows, run, _with_what_else_goes(causes, makers, _images(course)), None, notes)


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
_NOT_TRAINED = Text("{why}", "学習できません: {why}")


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
    if one.name == other.name:
        return replace(one, name=f"{one.name} (A)"), replace(other, name=f"{other.name} (B)")
    return one, other


def _entrant(given: nn.Module | Entrant, name: str) -> Entrant:
    if isinstance(given, Entrant):
        return given
    if not isinstance(given, nn.Module):
        raise ModelError(f"compare takes two nn.Modules, got {a_(type(given).__name__)}")
    twin, _ = copy_of(given)
    for module, its in zip(twin.modules(), given.modules(), strict=False):
        module.training = its.training
    return Entrant(name, lambda: copy.deepcopy(twin))


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
    return diagnose(
        model,
        image_size=image_size,
        channels=channels,
        checks=checks,
        factory=entrant.make,
        target=entrant.name,
        progress=tell,
    )


def _patient(entrant: Entrant, image_size: int | tuple[int, int], channels: int) -> Any:
    twin, _ = copy_of(made(entrant.make, SEED))
    patient, _, _ = admitted(
        twin, image_size=image_size, num_classes=None, channels=channels, images=None, labels=None, batch_size=None
    )
    return patient


def _only_one(one: Entrant, other: Entrant, found: Sequence[Examination]) -> list[tuple[Entrant, Finding, Entrant]]:
    """Errors and warnings that one has and the other has not, causes only: owner, finding, rival."""
    sides = ((one, found[0], other, found[1]), (other, found[1], one, found[0]))
    return [
        (owner, finding, rival)
        for owner, own, rival, its in sides
        for finding in own.causes
        if finding.severity != "note" and finding.id not in {each.id for each in its.findings}
    ]


def _unmended(one: Entrant, other: Entrant, found: Sequence[Examination]) -> tuple[Cause, ...]:
    return tuple(Cause(owner.name, finding) for owner, finding, _ in _only_one(one, other, found))


def _raced_mend(entrant: Entrant, finding: Finding, run: Race, rival: Entrant, progress: Progress | None) -> Cause:
    """The mended copy, from the same start values, on the seeds that the race ran."""
    course, images = run.course, _images(run.course)
    with as_it_was():
        trial = mended(made(entrant.make, SEED), finding, images)
    if trial is None:
        return Cause(entrant.name, finding)

    def make() -> nn.Module:
        repaired = mended(entrant.make(), finding, images)
        if repaired is None:
            raise ModelError(f"{entrant.name} could not be mended once more")
        return repaired.model

    is_gone = _is_gone(trial.model, finding, images)
    if is_gone is False:
        return Cause(entrant.name, finding)
    name = f"{entrant.name}, mended"
    before = run.of(entrant.name)
    heats = []
    try:
        for number, heat in enumerate(before):
            if progress is not None:
                progress(name, number, len(before))
            heats.append(heat_of(Arm(name, make), course, heat.seed))
    except ModelError:
        return Cause(entrant.name, finding)
    return Cause(
        entrant.name,
        finding,
        trial.done,
        is_gone,
        tuple(heats),
        gap(heats, before),
        gap(run.of(rival.name), heats),
    )


def _images(course: Course) -> Tensor:
    """Some noise of the size of the images."""
    shape = (course.preprocessing.channels, *course.preprocessing.image_size)
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(SEED))


def _with_what_else_goes(causes: tuple[Cause, ...], makers: Mapping[str, Make], images: Tensor) -> tuple[Cause, ...]:
    """Of the causes without a mend of their own, those are marked that the mend of another one mends too: a table that is never added is
    also a parameter without use."""

    def goes_with(cause: Cause) -> str | None:
        for other in causes:
            if other.owner != cause.owner or other.done is None:
                continue
            with as_it_was():
                trial = mended(made(makers[cause.owner], SEED), other.finding, images)
            if trial is not None and _is_gone(trial.model, cause.finding, images):
                return other.finding.id
        return None

    return tuple(cause if cause.done is not None else replace(cause, gone_with=goes_with(cause)) for cause in causes)


def _is_gone(model: nn.Module, finding: Finding, images: Tensor) -> bool | None:
    """Whether the check that found it finds it no more."""
    size, channels = (int(images.shape[-2]), int(images.shape[-1])), int(images.shape[1])
    try:
        again = diagnose(model, image_size=size, channels=channels, checks=[finding.check])
    except ModelError:
        return None
    return None if again.skipped and not again.checks_run else finding.id not in {each.id for each in again.findings}
