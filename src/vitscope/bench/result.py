"""What a bench found: in go rounds of seconds, out come rows with medians, spreads, ratios and shares of the machine's limit.

The dictionary of a result is the JSON of the contract (`Bench's JSON`), with keys added.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitscope._core.text import Text
from vitscope.bench.limits import step_flops
from vitscope.bench.plan import OURS, Cell, Mode


@dataclass(frozen=True)
class Measured:
    """A cell with what its rounds gave, under the setting that was quickest."""

    cell: Cell
    setting: str
    seconds: tuple[float, ...]
    """Of one step, a number a round."""
    flops_per_image: int
    limit: float
    """FLOP/s of the machine's 2048³ product of this precision, median of the same rounds."""
    model_products: float | None
    """FLOP/s of the products at the model's own sizes."""
    peak_bytes: int | None
    settings: Mapping[str, float]
    """Images a second of each setting that was tried, in the first round."""

    @property
    def images_per_second(self) -> float:
        return self.cell.batch / statistics.median(self.seconds)


@dataclass(frozen=True)
class Row(Cell):
    """A row of the table: a cell and its figures. FLOP/s are achieved ones: closed form, over the median step."""

    images_per_second: float
    spread: float | None
    """Largest less smallest round, as a share of the median; None for a single round."""
    ratio: float | None
    """vitscope's best setting for the same model, mode and batch over this row; None where vitscope was not measured."""
    limit_fraction: float
    """Achieved FLOP/s over the machine's 2048³ product of the same precision."""
    peak_bytes: int | None
    setting: str
    rounds: int
    seconds_per_step: float
    round_seconds: tuple[float, ...]
    """Of one step, a number a round: a slow machine and a library that varies by itself look alike in a spread."""
    flops_per_second: float
    limit_flops_per_second: float
    model_products_flops_per_second: float | None
    settings_tried: dict[str, float]


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why; without a cell it is a whole library. What differs from cell to cell is among the numbers."""

    why: Text
    cell: Cell | None = None
    library: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        facts = self.cell.to_dict() if self.cell is not None else {"library": self.library}
        return {**facts, "why": self.why.en, **self.numbers}


@dataclass(frozen=True)
class BenchResult:
    """All of it."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    finished: bool = False
    """Whether the whole plan was gone through and anything measured; false in what a bench that was killed has left behind."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "rows": [row.to_dict() for row in self.rows],
            "skipped": [one.to_dict() for one in self.skipped],
            "finished": self.finished,
            "interrupted": self.interrupted,
        }

    def best(self, model: str, mode: Mode, batch: int) -> tuple[Row, ...]:
        """The quickest row of each library, the quickest library first; of equals the one that was measured first."""
        alike = [row for row in self.rows if (row.model, row.mode, row.batch) == (model, mode, batch)]
        quickest: dict[str, Row] = {}
        for row in sorted(alike, key=lambda row: -row.images_per_second):
            quickest.setdefault(row.library, row)
        return tuple(quickest.values())

    def groups(self) -> tuple[tuple[str, Mode, int], ...]:
        """Model, mode and batch of which there are rows, in the order of measuring."""
        return tuple(dict.fromkeys((row.model, row.mode, row.batch) for row in self.rows))


def spread_of(values: Sequence[float]) -> float | None:
    """(largest - smallest) / median; None for fewer than two."""
    return (max(values) - min(values)) / statistics.median(values) if len(values) > 1 else None


def rows_of(measured: Sequence[Measured]) -> tuple[Row, ...]:
    """Rows, in the order of measuring."""
    best: dict[tuple[str, Mode, int], float] = {}
    for one in measured:
        if one.cell.library == OURS:
            key = (one.cell.model, one.cell.mode, one.cell.batch)
            best[key] = max(best.get(key, 0.0), one.images_per_second)
    return tuple(_row(one, best.get((one.cell.model, one.cell.mode, one.cell.batch))) for one in measured)


def _row(one: Measured, ours: float | None) -> Row:
    median = statistics.median(one.seconds)
    achieved = step_flops(one.flops_per_image, one.cell.batch, one.cell.mode) / median
    return Row(
        **one.cell.to_dict(),
        images_per_second=one.images_per_second,
        spread=spread_of(one.seconds),
        ratio=None if ours is None else ours / one.images_per_second,
        limit_fraction=achieved / one.limit,
        peak_bytes=one.peak_bytes,
        setting=one.setting,
        rounds=len(one.seconds),
        seconds_per_step=median,
        round_seconds=one.seconds,
        flops_per_second=achieved,
        limit_flops_per_second=one.limit,
        model_products_flops_per_second=one.model_products,
        settings_tried=dict(one.settings),
    )


@dataclass(frozen=True)
class Comparison:
    """vitscope's best against one peer's row, for the summary."""

    model: str
    mode: Mode
    batch: int
    ours: Row
    theirs: Row

    @property
    def ratio(self) -> float:
        return self.ours.images_per_second / self.theirs.images_per_second

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "mode": self.mode,
            "batch": self.batch,
            "ratio": self.ratio,
            "library": self.theirs.library,
            "precision": self.theirs.precision,
            "compiled": self.theirs.compiled,
            "setting": self.theirs.setting,
        }


def as_people_run_it(result: BenchResult) -> tuple[Comparison, ...]:
    """vitscope's best against vit-pytorch in fp32, not compiled."""
    found = []
    for model, mode, batch in result.groups():
        ours = next((row for row in result.best(model, mode, batch) if row.library == OURS), None)
        plain = ("vit-pytorch", "fp32", False, model, mode, batch)
        for row in result.rows:
            if ours and (row.library, row.precision, row.compiled, row.model, row.mode, row.batch) == plain:
                found.append(Comparison(model, mode, batch, ours, row))
    return tuple(found)


def against_fastest(result: BenchResult) -> tuple[Comparison, ...]:
    """vitscope's best against the quickest peer, each in its best setting."""
    found = []
    for model, mode, batch in result.groups():
        best = result.best(model, mode, batch)
        ours = next((row for row in best if row.library == OURS), None)
        theirs = next((row for row in best if row.library != OURS), None)
        if ours and theirs:
            found.append(Comparison(model, mode, batch, ours, theirs))
    return tuple(found)
