"""Overfitting: in go the rows of a run (and of a reference), out comes whether validation loss rises while training loss falls.

Single epochs jump about, so the decision is made on a centred running median; the numbers that are told are those of the
file, which a reader can look up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

from vitscope.curves.reference import ReferenceCurve
from vitscope.runs import EpochMetrics

RISE = 0.05
"""A validation loss that rose by this fraction is said to rise; a run may also exceed the reference's rise by so much."""
FALL = 0.01
"""The smoothed training loss must have fallen by this fraction meanwhile."""
FEWEST_EPOCHS = 5
WIDE_FROM = 10
"""From so many epochs on the median is taken over five epochs, before over three."""


class Rise(NamedTuple):
    """By which fraction the last validation loss stands above the lowest: as in the file, and smoothed."""

    raw: float
    smoothed: float


@dataclass(frozen=True)
class Overfitting:
    """Validation loss (nats) rose after `lowest_epoch` while training loss fell.

    `rise` is the fraction from the lowest to the last loss as they stand in the file, `smoothed_rise` the one that was
    decided on; `reference_rise` and `reference_smoothed_rise` are the reference's own up to the same epoch (None without
    a reference that tells). It is a `note` where the reference does about the same, else a `warning`.
    """

    lowest_epoch: int
    lowest_loss: float
    last_epoch: int
    last_loss: float
    rise: float
    smoothed_rise: float
    reference_rise: float | None
    reference_smoothed_rise: float | None
    severity: Literal["note", "warning"]

    def to_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def find_overfitting(rows: Sequence[EpochMetrics], reference: ReferenceCurve | None) -> Overfitting | None:
    """Looks for overfitting at the end of a run; None where there is none or the training loss is not known.

    Args:
        rows: the run, ordered by epoch; rows without validation or with losses that are not finite are left out.
        reference: its own rise up to the same epoch is the yardstick.
    """
    known = [row for row in rows if math.isfinite(row.val_loss) and math.isfinite(row.train_loss)]
    if len(known) < FEWEST_EPOCHS:
        return None
    smooth_val = running_median([row.val_loss for row in known])
    smooth_train = running_median([row.train_loss for row in known])
    turn = smooth_val.index(min(smooth_val))
    if len(known) - 1 - turn < 2 or smooth_train[-1] > smooth_train[turn] * (1 - FALL):
        return None
    rise = _rise_of(known)
    if min(rise) < RISE:
        return None
    yardstick = rise_of_reference(reference, known[-1].epoch)
    lowest = min(known, key=lambda row: row.val_loss)
    return Overfitting(
        lowest_epoch=lowest.epoch,
        lowest_loss=lowest.val_loss,
        last_epoch=known[-1].epoch,
        last_loss=known[-1].val_loss,
        rise=rise.raw,
        smoothed_rise=rise.smoothed,
        reference_rise=yardstick.raw if yardstick else None,
        reference_smoothed_rise=yardstick.smoothed if yardstick else None,
        severity="warning" if yardstick is None or rise.smoothed > yardstick.smoothed + RISE else "note",
    )


def rise_of_reference(reference: ReferenceCurve | None, epoch: int) -> Rise | None:
    """How far the reference's validation loss stood above its lowest at `epoch`, or at its end where that comes before."""
    rows = reference.rows if reference is not None else ()
    known = [row for row in rows if row.epoch <= epoch and math.isfinite(row.val_loss)]
    return _rise_of(known) if known else None


def running_median(values: Sequence[float]) -> list[float]:
    """The centred median of three values, from ten values on of five; at the ends over the values that exist."""
    reach = 2 if len(values) >= WIDE_FROM else 1
    return [median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]


def _rise_of(rows: Sequence[EpochMetrics]) -> Rise:
    losses = [row.val_loss for row in rows]
    smooth = running_median(losses)
    if min(losses) <= 0:
        return Rise(0.0, 0.0)
    return Rise(losses[-1] / min(losses) - 1, smooth[-1] / min(smooth) - 1)
