"""`vitscope.compare`: two ViTs in, a `Comparison` out: structure, both examinations, the race, and whether a mend closes the gap."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from vitscope._core.errors import ModelError
from vitscope._core.text import Lang, Text
from vitscope.doctor.admission import admitted
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import as_it_was, diagnose
from vitscope.doctor.finding import Finding
from vitscope.race.contest import Arm, Course, Gap, Heat, Progress, Race, gap, heat_of, race
from vitscope.race.repair import mended
from vitscope.race.structure import Row, structure

Make = Callable[[], nn.Module]


@dataclass(frozen=True)
class Entrant:
    """One of the two: its name and what makes it, untrained, under torch's current seed."""

    name: str
    make: Make


@dataclass(frozen=True, eq=False)
class Cause:
    """A finding that only one of the two has, and what mending it does."""

    owner: str
    finding: Finding
    done: Text | None
    """What was changed; None where the doctor knows no mend."""
    heats: tuple[Heat, ...] = ()
    """The mended copy's."""
    gained: Gap | None = None
    """Mended minus as it was."""
    left: Gap | None = None
    """The other model minus the mended one: what the mend leaves of the gap."""

    @property
    def confirmed(self) -> bool:
        """Whether mending it makes the model learn clearly better."""
        return self.gained is not None and self.gained.low > 0

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        return {
            "model": self.owner,
            "finding": self.finding.to_dict(lang),
            "mend": None if self.done is None else self.done[lang],
            "heats": [heat.to_dict() for heat in self.heats],
            "gained": self.gained.to_dict() if self.gained else None,
            "left": self.left.to_dict() if self.left else None,
            "confirmed": self.confirmed,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that was found about two models."""

    one: Examination
    other: Examination
    rows: tuple[Row, ...]
    race: Race | None
    causes: tuple[Cause, ...]
    why_no_race: Text | None = None

    @property
    def healthy(self) -> bool:
        """Whether neither has an error."""
        return self.one.healthy and self.other.healthy

    @property
    def gap(self) -> Gap | None:
        """The first minus the second."""
        return None if self.race is None else self.race.gap(self.one.target, self.other.target)

    @property
    def verdict(self) -> Text:
        """In a few sentences: who learns better, by how much, and why."""
        return verdict_of(self)

    def to_dict(self, lang: Lang = "en") -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {
            "healthy": self.healthy,
            "verdict": self.verdict[lang],
            "structure": [row.to_dict() for row in self.rows],
            "examinations": [self.one.to_dict(lang), self.other.to_dict(lang)],
            "race": self.race.to_dict() if self.race else None,
            "gap": self.gap.to_dict() if self.gap else None,
            "causes": [cause.to_dict(lang) for cause in self.causes],
            "why_no_race": self.why_no_race[lang] if self.why_no_race else None,
        }


def compare(
    a: nn.Module | Entrant,
    b: nn.Module | Entrant,
    *,
    image_size: int | tuple[int, int],
    channels: int = 3,
    course: Course | None = None,
    names: tuple[str, str] = ("A", "B"),
    progress: Progress | None = None,
) -> Comparison:
    """Two ViTs side by side.

    Args:
        a, b: modules (each seed's training starts from the weights that they have), or entrants that make fresh ones.
        image_size: side of their images in pixels, or (height, width).
        channels: of their images.
        course: what they race on; without it there is no race.
        names: what they are called, where modules are given.
        progress: told before each training.

    Raises:
        VitscopeError: one of them cannot be examined.
    """
    entrants = [_entrant(x, name) for x, name in zip((a, b), names, strict=True)]
    if entrants[0].name == entrants[1].name:
        entrants = [
            replace(entrant, name=f"{entrant.name} ({side})") for entrant, side in zip(entrants, "AB", strict=True)
        ]
    found = [_examined(entrant, image_size, channels) for entrant in entrants]
    with as_it_was():
        patients = [_patient(entrant, image_size, channels) for entrant in entrants]
        rows = structure(*patients)
    if course is None:
        return Comparison(*found, rows, None, (), _NO_DATA)
    if found[0].facts.get("classes") != found[1].facts.get("classes"):
        return Comparison(*found, rows, None, (), _OTHER_CLASSES)
    run = race([Arm(entrant.name, _seeded(entrant)) for entrant in entrants], course, progress)
    causes = tuple(_causes(entrants, found, run, progress))
    return Comparison(*found, rows, run, causes)


_NO_DATA = Text("no data were given to race on", "競争に使うデータが指定されていません")
_OTHER_CLASSES = Text("the two give scores for different numbers of classes", "2つのモデルのクラス数が異なります")


def _entrant(given: nn.Module | Entrant, name: str) -> Entrant:
    if isinstance(given, Entrant):
        return given
    if not isinstance(given, nn.Module):
        raise ModelError(f"compare takes two nn.Modules, got a {type(given).__name__}")
    return Entrant(name, lambda: copy.deepcopy(given))


def _seeded(entrant: Entrant) -> Callable[[int], nn.Module]:
    return lambda seed: entrant.make()


def _made(entrant: Entrant) -> nn.Module:
    torch.manual_seed(0)
    return entrant.make()


def _examined(entrant: Entrant, image_size: int | tuple[int, int], channels: int) -> Examination:
    with as_it_was():
        model = _made(entrant)
    return diagnose(model, image_size=image_size, channels=channels, factory=entrant.make, target=entrant.name)


def _patient(entrant: Entrant, image_size: int | tuple[int, int], channels: int) -> Any:
    twin, _ = copy_of(_made(entrant))
    patient, _, _ = admitted(
        twin, image_size=image_size, num_classes=None, channels=channels, images=None, labels=None, batch_size=None
    )
    return patient


def _causes(entrants: list[Entrant], found: list[Examination], run: Race, progress: Progress | None) -> list[Cause]:
    """What only one has, the worst first; each that can be mended is mended and raced against what it was."""
    causes = []
    for side, (entrant, examination) in enumerate(zip(entrants, found, strict=True)):
        theirs = {finding.id for finding in found[1 - side].findings}
        for finding in examination.causes:
            if finding.id in theirs or finding.severity == "note":
                continue
            causes.append(_raced_mend(entrant, finding, run, entrants[1 - side].name, progress))
    return causes


def _raced_mend(entrant: Entrant, finding: Finding, run: Race, rival: str, progress: Progress | None) -> Cause:
    """The mended copy on the seeds that the race ran."""
    trial = mended(entrant.make(), finding)
    if trial is None:
        return Cause(entrant.name, finding, None)
    name = f"{entrant.name}, mended"

    def make(seed: int) -> nn.Module:
        repaired = mended(entrant.make(), finding)
        assert repaired is not None
        return repaired.model

    seeds = [heat.seed for heat in run.of(entrant.name)]
    heats = []
    for number, seed in enumerate(seeds):
        if progress is not None:
            progress(name, number, len(seeds))
        heats.append(heat_of(Arm(name, make), run.course, seed))
    return Cause(
        entrant.name,
        finding,
        trial.done,
        tuple(heats),
        gap(heats, run.of(entrant.name)),
        gap(run.of(rival), heats),
    )


def verdict_of(found: Comparison) -> Text:
    """The verdict in sentences."""
    parts = [_who_learns(found), *(_what_a_mend_does(found, cause) for cause in found.causes)]
    if not found.causes:
        parts.append(
            Text(
                "The doctor finds nothing in one that the other has not.",
                "一方だけに見つかった問題はありません。",
            )
        )
    return Text(" ".join(part.en for part in parts), "".join(part.ja for part in parts))


def _who_learns(found: Comparison) -> Text:
    between = found.gap
    if between is None or found.race is None:
        why = found.why_no_race or Text("", "")
        return Text(f"They did not race: {why.en}.", f"競争は行っていません（{why.ja}）。")
    one, other = found.one.target, found.other.target
    means = {name: found.race.mean(name) for name in (one, other)}
    steps, seeds = found.race.course.steps, between.seeds
    told = Text(
        f"After {steps} steps on the same data, {seeds} seed{'s' if seeds > 1 else ''}: {one} {means[one]:.1f} %, {other} {means[other]:.1f} %, "
        f"a difference of {between.points:+.1f} points ({between.low:+.1f} to {between.high:+.1f})",
        f"同じデータで{steps}ステップ（シード{seeds}個）学習した結果、{one}は{means[one]:.1f} %、{other}は{means[other]:.1f} %、"
        f"差は{between.points:+.1f}ポイント（{between.low:+.1f}〜{between.high:+.1f}）",
    )
    if between.is_clear:
        better = one if between.points > 0 else other
        return Text(f"{told.en}: {better} learns clearly better.", f"{told.ja}で、{better}が明らかによく学習します。")
    return Text(f"{told.en}: no clear difference.", f"{told.ja}で、明確な差はありません。")


def _what_a_mend_does(found: Comparison, cause: Cause) -> Text:
    name, what = cause.owner, cause.finding.id
    if cause.done is None or cause.gained is None or cause.left is None:
        return Text(
            f"Only {name} has '{what}', for which there is no mend to try.",
            f"{name}だけに「{what}」がありますが、自動修正の手段がないため確かめていません。",
        )
    gained, left = cause.gained, cause.left
    told = Text(
        f"Only {name} has '{what}'; mended ({cause.done.en}) it gains {gained.points:+.1f} points ({gained.low:+.1f} to {gained.high:+.1f})",
        f"{name}だけに「{what}」があり、修正（{cause.done.ja}）すると{gained.points:+.1f}ポイント（{gained.low:+.1f}〜{gained.high:+.1f}）変わります",
    )
    if not cause.confirmed:
        return Text(
            f"{told.en}: in so short a race it does not show as the cause.",
            f"{told.ja}。この短い競争では原因とは確認できません。",
        )
    if left.is_clear and left.points > 0:
        return Text(
            f"{told.en}: it is a cause, and {left.points:.1f} points of the gap are left.",
            f"{told.ja}。原因の1つですが、差がまだ{left.points:.1f}ポイント残ります。",
        )
    return Text(
        f"{told.en}: it is the cause, and mending it closes the gap.",
        f"{told.ja}。これが原因であり、修正すると差はなくなります。",
    )
