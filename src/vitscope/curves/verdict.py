"""The verdict on a run: in go its rows and a reference, out come its standing, where it left the band, and what that means.

Definitions, so that two readers come to the same verdict. An epoch is *judged* when the run measured a validation
accuracy there and the reference has a band there; "consecutive" means consecutive among judged epochs. A run has *left*
the band when two consecutive judged epochs lie outside on the same side; a single one is a dip or a peak. A run is
*below* when its last two judged epochs lie under the band; with only the last one under it, it is *behind*. A run has
*diverged* when any of its losses or accuracies is no finite number, whatever it reached before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

from vitscope._core.text import Text
from vitscope.curves import sentences
from vitscope.curves.overfitting import Overfitting, find_overfitting
from vitscope.curves.reference import ReferenceCurve
from vitscope.runs import EpochMetrics

Standing = Literal["ahead", "within", "behind", "unknown"]
Side = Literal["above", "below"]


@dataclass(frozen=True)
class Place:
    """Where a run stands at one epoch: validation accuracy and reference in per cent, half the band's width in points."""

    epoch: int
    value: float
    reference: float | None
    half_width: float | None
    standing: Standing

    @property
    def text(self) -> Text:
        """`epoch 12: 66.9 %, reference 63.2 % ± 2.0, ahead`, in both languages."""
        return sentences.of_place(self.epoch, self.value, self.reference, self.half_width, self.standing)

    def to_dict(self) -> dict[str, Any]:
        """The numbers and the sentence; an accuracy that was not measured is None."""
        value = self.value if math.isfinite(self.value) else None
        return {**asdict(self), "value": value, "text": self.text.to_dict()}


@dataclass(frozen=True)
class Excursion:
    """A stretch of consecutive judged epochs outside the band, `epochs` of them.

    `worst_epoch` is where the run was farthest from the band's nearer edge, `distance` by how many points; `came_back`
    tells whether the run was inside or on the other side afterwards.
    """

    side: Side
    first: int
    last: int
    epochs: int
    worst_epoch: int
    distance: float
    came_back: bool

    @property
    def left_the_band(self) -> bool:
        """Two epochs or more: not a single dip or peak."""
        return self.epochs >= 2

    def to_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return {**asdict(self), "left_the_band": self.left_the_band}


@dataclass(frozen=True)
class Finding:
    """One sentence about a run. `kind`: standing, left, excursion, overfitting, diverged or range."""

    kind: str
    severity: Literal["note", "warning", "error"]
    epoch: int | None
    text: Text

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {**asdict(self), "text": self.text.to_dict()}


@dataclass(frozen=True)
class Verdict:
    """What can be said about a run.

    `standing` is that of the last judged epoch, `below` in place of `behind` where the one before was under the band
    too, and `diverged` in place of all others where the run did. `left` is the excursion from which the run did not
    come back. `diverged_at` is the first epoch with a loss or an accuracy that is not finite; one that was not measured
    is none.
    """

    standing: Literal["ahead", "within", "behind", "below", "diverged", "unknown"]
    last: Place | None
    left: Excursion | None
    excursions: tuple[Excursion, ...]
    overfitting: Overfitting | None
    diverged_at: int | None
    findings: tuple[Finding, ...]

    @property
    def below(self) -> bool:
        """Whether the run ends below the band."""
        return self.left is not None and self.left.side == "below"

    @property
    def failed(self) -> bool:
        """Whether the run ends below the band or diverged: the exit code of `vitscope curve`."""
        return self.below or self.diverged_at is not None

    @property
    def place(self) -> Text | None:
        """The last judged epoch as the training screen shows it: `epoch 12: 60.0 %, reference 63.2 % ± 2.0, below`."""
        at = self.last
        if at is None:
            return None
        return sentences.of_place(at.epoch, at.value, at.reference, at.half_width, self.standing)

    @property
    def left_at(self) -> int | None:
        """The first epoch of the stretch in which the run left the band and did not come back."""
        return self.left.first if self.left else None

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {
            "standing": self.standing,
            "below": self.below,
            "failed": self.failed,
            "last": self.last.to_dict() if self.last else None,
            "left_at": self.left_at,
            "left_how": self.left.side if self.left else None,
            "excursions": [excursion.to_dict() for excursion in self.excursions],
            "overfitting": self.overfitting.to_dict() if self.overfitting else None,
            "diverged_at": self.diverged_at,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def place(epoch: int, val_acc: float, reference: ReferenceCurve | None) -> Place:
    """Where a validation accuracy (per cent) stands at an epoch; the edges belong to the band."""
    band = reference.band(epoch) if reference is not None else None
    if reference is None or band is None:
        return Place(epoch, val_acc, None, None, "unknown")
    standing: Standing = "within"
    value = round(val_acc, 9)
    if not math.isfinite(val_acc):
        standing = "unknown"
    elif value > band.high:
        standing = "ahead"
    elif value < band.low:
        standing = "behind"
    return Place(epoch, val_acc, band.mid, reference.half_width, standing)


def judge(rows: Sequence[EpochMetrics], reference: ReferenceCurve | None) -> Verdict:
    """The verdict on a run of any length, with or without a reference.

    Args:
        rows: the run, ordered by epoch, as `read_metrics` gives it.
        reference: what it is held against; epochs beyond its end are not judged.
    """
    judged = [spot for row in rows if (spot := place(row.epoch, row.val_acc, reference)).standing != "unknown"]
    excursions = tuple(_excursions(judged))
    measured = [row for row in rows if math.isfinite(row.val_acc)]
    last = judged[-1] if judged else None
    if last is None and measured:
        last = place(measured[-1].epoch, measured[-1].val_acc, reference)
    standing = last.standing if last else "unknown"
    lasting = [e for e in excursions if e.left_the_band and not e.came_back]
    left = lasting[-1] if lasting else None
    overfitting = find_overfitting(rows, reference)
    diverged = next(((row.epoch, row.not_finite) for row in rows if row.not_finite is not None), None)
    below = left is not None and left.side == "below"
    verdict = Verdict(
        standing="diverged" if diverged else "below" if below else standing,
        last=last,
        left=left,
        excursions=excursions,
        overfitting=overfitting,
        diverged_at=diverged[0] if diverged else None,
        findings=(),
    )
    return _with_findings(verdict, rows, judged, diverged, reference)


def _excursions(judged: Sequence[Place]) -> Iterator[Excursion]:
    stretches = [(standing, list(places)) for standing, places in groupby(judged, key=lambda spot: spot.standing)]
    for number, (standing, places) in enumerate(stretches):
        if standing == "within":
            continue
        worst = max(places, key=_distance)
        yield Excursion(
            side="above" if standing == "ahead" else "below",
            first=places[0].epoch,
            last=places[-1].epoch,
            epochs=len(places),
            worst_epoch=worst.epoch,
            distance=_distance(worst),
            came_back=number < len(stretches) - 1,
        )


def _distance(spot: Place) -> float:
    """Points from the nearer edge of the band, for a place outside of it."""
    assert spot.reference is not None
    assert spot.half_width is not None
    return round(abs(spot.value - spot.reference) - spot.half_width, 9)


def _with_findings(
    verdict: Verdict,
    rows: Sequence[EpochMetrics],
    judged: Sequence[Place],
    diverged: tuple[int, str] | None,
    reference: ReferenceCurve | None,
) -> Verdict:
    """Puts into words what was found: the standing first, then what explains it."""
    severity: Literal["note", "warning", "error"] = "warning" if verdict.standing == "behind" else "note"
    if verdict.failed:
        severity = "error"
    epoch = verdict.last.epoch if verdict.last else None
    standing = sentences.of_standing(verdict.standing, verdict.last, reference, diverged_at=verdict.diverged_at)
    found = [Finding("standing", severity, epoch, standing)]
    if diverged:
        found.append(Finding("diverged", "error", diverged[0], sentences.of_divergence(*diverged)))
    for e in verdict.excursions:
        if e.epochs == 1 and not e.came_back:
            continue  # the standing says it already
        kind = "left" if e is verdict.left else "excursion"
        bad: Literal["note", "warning"] = "warning" if kind == "left" and e.side == "below" else "note"
        from_start = e.first == judged[0].epoch
        found.append(Finding(kind, bad, e.first, sentences.of_excursion(e, from_start=from_start)))
    if verdict.overfitting:
        o = verdict.overfitting
        found.append(Finding("overfitting", o.severity, o.lowest_epoch, sentences.of_overfitting(o)))
    if reference is not None and rows and rows[-1].epoch > reference.last_epoch:
        end = reference.last_epoch
        found.append(Finding("range", "note", end + 1, sentences.of_range(end, rows[-1].epoch)))
    return replace(verdict, findings=tuple(found))
