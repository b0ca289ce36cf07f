"""The race of the mended copies: what only one of two models has and the race of both in, what mending it does out.

A mended copy starts from the same start values as the model it is a copy of, on the seeds that the race ran. Where the race stopped before its last
seed, and that many cannot tell what a mend does, all of them run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope._core.text import Text
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import SEED
from vitscope.race.comparison import Cause
from vitscope.race.contest import Arm, NotTrainedError, Progress, Race, heat_of, made, mended
from vitscope.race.course import Course
from vitscope.race.gaps import Heat, gap, is_beyond_doubt
from vitscope.race.repair import Mended, tried


@dataclass(frozen=True)
class Only:
    """What only one of the two has."""

    owner: Arm
    finding: Finding
    rival: Arm
    beneath: tuple[Finding, ...] = ()
    """What it explains, and the rival has not."""


@dataclass(eq=False)
class _Mending:
    """A mend on its way: who runs for it, and what it reached so far."""

    only: Only
    arm: Arm | None = None
    """The mended copy; None where there is none that could run."""
    done: Text | None = None
    is_gone: bool | None = None
    why_not: Text | None = None
    heats: list[Heat] = field(default_factory=list)
    together: tuple[str, ...] = ()

    def run(self, course: Course, seed: int) -> None:
        """One more seed. A copy that cannot be trained runs no more, and what it ran counts for nothing."""
        if self.arm is None:
            return
        try:
            self.heats.append(heat_of(self.arm, course, seed))
        except NotTrainedError as error:
            self.arm, self.why_not, self.heats = None, error.text, []

    def cause(self, run: Race) -> Cause:
        """What it comes to."""
        owner, finding = self.only.owner.name, self.only.finding
        if not self.heats:
            return Cause(owner, finding, why_not=self.why_not)
        gained, left = gap(self.heats, run.of(owner)), gap(run.of(self.only.rival.name), self.heats)
        return Cause(owner, finding, self.done, self.is_gone, tuple(self.heats), gained, left, together=self.together)


def raced_mends(only: Sequence[Only], run: Race, progress: Progress | None = None) -> tuple[Race, tuple[Cause, ...]]:
    """Races a mended copy for each finding that has a mend, and where there are several of one model, one without any of them; gives the race, which
    may have run on, and the causes."""
    course, images = run.course, images_of(run.course)
    mendings = [_prepared(each, images) for each in only]
    for owner in {each.owner.name: each.owner for each in only}.values():
        mendings += _prepared_together([each for each in only if each.owner.name == owner.name], images)
    seeds = list(dict.fromkeys(heat.seed for heat in run.heats))
    for mending in mendings:
        for number, seed in enumerate(seeds):
            if mending.arm is not None and progress is not None:
                progress(mending.arm.name, number, len(seeds))
            mending.run(course, seed)
    run = _run_on(run, mendings, course.seeds[len(seeds) :], progress)
    causes = tuple(mending.cause(run) for mending in mendings)
    return run, with_what_else_goes(causes, {each.owner.name: each.owner for each in only}, images)


def _prepared(only: Only, images: Tensor) -> _Mending:
    """Tries the mend once, and whether the check that found the fault finds it no more."""
    owner, finding = only.owner, only.finding
    with as_it_was():
        trial = tried(made(owner.make, SEED), finding, images)
    if not isinstance(trial, Mended):
        return _Mending(only, why_not=trial)
    is_gone = _is_gone(trial.model, finding, images)
    if is_gone is False:
        return _Mending(only, why_not=_STILL_FOUND)

    def make() -> nn.Module:
        repaired = tried(owner.make(), finding, images)
        if not isinstance(repaired, Mended):
            raise NotTrainedError(_NOT_AGAIN.format(model=owner.name))
        return repaired.model

    return _Mending(only, Arm(mended(owner.name), make), trial.done, is_gone)


def _prepared_together(only: Sequence[Only], images: Tensor) -> list[_Mending]:
    """A copy without anything that only this model has and that can be mended, where that is more than one thing."""
    owner, findings = only[0].owner, {each.id: each for one in only for each in (one.finding, *one.beneath)}
    if len(findings) < 2:
        return []
    with as_it_was():
        model, done = _mended_in_turn(made(owner.make, SEED), list(findings.values()), images)
    if len(done) < 2:
        return []
    again = {finding.id: finding for finding, _ in done}

    def make() -> nn.Module:
        repaired = owner.make()
        for finding in again.values():
            trial = tried(repaired, finding, images)
            if not isinstance(trial, Mended):
                raise NotTrainedError(_NOT_AGAIN.format(model=owner.name))
            repaired = trial.model
        return repaired

    said = Text("; ".join(each.en for _, each in done), "、".join(each.ja for _, each in done))
    gone = [_is_gone(model, finding, images) for finding in again.values()]
    is_gone = False if False in gone else None if None in gone else True
    arm = Arm(mended(owner.name), make)
    return [_Mending(replace(only[0], finding=done[0][0]), arm, said, is_gone, together=tuple(again))]


def _mended_in_turn(
    model: nn.Module, findings: Sequence[Finding], images: Tensor
) -> tuple[nn.Module, list[tuple[Finding, Text]]]:
    """Each as it is found once those before it are mended: one that is found no more went with them."""
    done: list[tuple[Finding, Text]] = []
    for finding in findings:
        found = _found_again(model, finding, images) if done else finding
        trial = None if found is None else tried(model, found, images)
        if found is not None and isinstance(trial, Mended):
            model = trial.model
            done.append((found, trial.done))
    return model, done


_NOT_AGAIN = Text("{model} could not be mended once more", "{model}をもう一度修正できませんでした")
_STILL_FOUND = Text(
    "the check still finds the fault in the mended copy", "修正したコピーでも、同じチェックで問題が見つかります"
)


def _run_on(run: Race, mendings: Sequence[_Mending], seeds: Sequence[int], progress: Progress | None) -> Race:
    """Runs the seeds that the race left out, both models and every mended copy on each, until what the mends gain is beyond doubt too."""
    pair = list({arm.name: arm for each in mendings for arm in (each.only.owner, each.only.rival)}.values())
    heats = list(run.heats)
    for number, seed in enumerate(seeds):
        running = [each for each in mendings if each.arm is not None]
        doubted = [each for each in running if not is_beyond_doubt(each.heats, run.of(each.only.owner.name))]
        if not doubted:
            break
        try:
            for arm in pair:
                if progress is not None:
                    progress(arm.name, number, len(seeds))
                heats.append(heat_of(arm, run.course, seed))
        except NotTrainedError:  # it could be trained on the seeds before; they stand
            break
        for mending in running:
            mending.run(run.course, seed)
        run = Race(run.course, tuple(heats), number + 1 < len(seeds))
    return run


def images_of(course: Course) -> Tensor:
    """Some noise of the size of the images."""
    shape = (course.preprocessing.channels, *course.preprocessing.image_size)
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(SEED))


def with_what_else_goes(causes: tuple[Cause, ...], arms: dict[str, Arm], images: Tensor) -> tuple[Cause, ...]:
    """Of the causes without a mend of their own, those are marked that the mend of another one mends too: a table that is never added is
    also a parameter without use."""

    def goes_with(cause: Cause) -> str | None:
        for other in causes:
            if other.owner != cause.owner or other.done is None:
                continue
            with as_it_was():
                trial = tried(made(arms[cause.owner].make, SEED), other.finding, images)
            if isinstance(trial, Mended) and _is_gone(trial.model, cause.finding, images):
                return other.finding.id
        return None

    return tuple(cause if cause.done is not None else replace(cause, gone_with=goes_with(cause)) for cause in causes)


def _is_gone(model: nn.Module, finding: Finding, images: Tensor) -> bool | None:
    """Whether the check that found it finds it no more; None where it could not look again."""
    findings = _again(model, finding, images)
    return None if findings is None else finding.id not in findings


def _found_again(model: nn.Module, finding: Finding, images: Tensor) -> Finding | None:
    """What its check finds of that kind now; None where it is gone, or cannot be looked for."""
    return (_again(model, finding, images) or {}).get(finding.id)


def _again(model: nn.Module, finding: Finding, images: Tensor) -> dict[str, Finding] | None:
    """What the check that found it finds now, by id; None where it could not be made."""
    size, channels = (int(images.shape[-2]), int(images.shape[-1])), int(images.shape[1])
    try:
        again = diagnose(model, image_size=size, channels=channels, checks=[finding.check])
    except ModelError:
        return None
    return None if again.skipped and not again.checks_run else {each.id: each for each in again.findings}
