"""How time and memory grow with image, patch, depth, width and batch: vitscope alone, one thing varied at a time around one model.

In goes a time budget, out come points and sentences of advice. Measured in a process of its own, as in the bench; a point that is
predicted too large from its smaller neighbour is named and left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from vitscope._core.text import Text
from vitscope.bench import memory
from vitscope.bench.limits import step_flops
from vitscope.bench.plan import MODES, OURS, Cell, Mode, Precision
from vitscope.bench.predict import REACHED_AT_FIRST, too_large
from vitscope.bench.processes import Processes, WorkerFailed
from vitscope.bench.result import spread_of
from vitscope.bench.rounds import Progress
from vitscope.bench.worker import MACHINE
from vitscope.model.size import size_of
from vitscope.model.spec import ViTSpec
from vitscope.runs import environment

BASE = ViTSpec(image_size=(224, 224), patch_size=(16, 16), dim=192, depth=6, heads=3, classes=1000)
BASE_BATCH = 4
LONGEST_STEP = 15.0
"""Seconds: a point with a longer step is too large for a survey."""
SLICE_SECONDS = 0.1
_LONG_STEP = Text(
    "a step would take about {step:.0f} s, more than the {longest:.0f} s of a survey",
    "1ステップに約 {step:.0f} 秒かかる見込みで、上限の {longest:.0f} 秒を超えます",
)
_NO_TIME = Text("the time budget (--minutes) has run out", "制限時間（--minutes）を使い切りました")


@dataclass(frozen=True)
class Axis:
    """One thing that is varied, its values in the order of their cost."""

    key: str
    name: Text
    values: tuple[int, ...]
    base: int


AXES = (
    Axis("image_size", Text("image size, pixels", "画像サイズ（画素）"), (32, 64, 96, 128, 160, 224, 288, 384), 224),
    Axis("patch_size", Text("patch size, pixels", "パッチサイズ（画素）"), (32, 16, 14, 8, 4), 16),
    Axis("depth", Text("depth, blocks", "深さ（ブロック数）"), (1, 3, 6, 12, 24), 6),
    Axis("dim", Text("width", "幅"), (64, 128, 192, 384, 768), 192),
    Axis("batch", Text("batch, images", "バッチ（枚）"), (1, 2, 4, 8, 16, 32), BASE_BATCH),
)


def spec_at(axis: str, value: int, base: ViTSpec = BASE) -> ViTSpec:
    """The base model with one thing changed; a width keeps heads of the base's width where it can."""
    if axis == "batch":
        return base
    if axis == "dim":
        return base.changed(dim=value, heads=max(1, value // base.head_dim))
    return base.changed(**{axis: value})


def map_share(spec: ViTSpec) -> float:
    """The share of a forward's FLOPs that q kᵀ and map · v take: the part that grows with the square of the tokens."""
    return 4 * spec.tokens**2 * spec.dim * spec.depth / size_of(spec).flops


@dataclass(frozen=True)
class GrowthPoint:
    """One measurement; `map_share` and `flops_per_image` (of a forward) are closed form."""

    axis: str
    value: int
    mode: Mode
    precision: Precision
    batch: int
    tokens: int
    flops_per_image: int
    map_share: float
    seconds_per_image: float
    spread: float | None
    peak_bytes: int | None
    setting: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SkippedPoint:
    """What was not measured, and why."""

    axis: str
    value: int
    mode: Mode
    why: Text

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "what": f"{self.axis} {self.value}, {self.mode}", "why": self.why.en}


@dataclass(frozen=True)
class GrowthResult:
    """All points, and what follows from them in words."""

    machine: dict[str, Any]
    base: ViTSpec
    surveyed: tuple[Axis, ...]
    points: tuple[GrowthPoint, ...]
    skipped: tuple[SkippedPoint, ...]
    advice: tuple[Text, ...]
    finished: bool = False
    """Whether every point had its turn; false in what a survey that was killed has left behind."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    def axes(self) -> tuple[Axis, ...]:
        """The things of which there are points."""
        return tuple(axis for axis in self.surveyed if self.of(axis.key))

    def of(self, axis: str, mode: Mode | None = None) -> tuple[GrowthPoint, ...]:
        """The points along one axis, in the order of their cost."""
        return tuple(p for p in self.points if p.axis == axis and mode in (None, p.mode))

    def to_dict(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "base": self.base.to_dict(),
            "points": [point.to_dict() for point in self.points],
            "skipped": [one.to_dict() for one in self.skipped],
            "advice": [sentence.to_dict() for sentence in self.advice],
            "finished": self.finished,
            "interrupted": self.interrupted,
        }


class Survey:
    """One survey under way."""

    def __init__(
        self,
        processes: Processes,
        *,
        seconds: float,
        rounds: int,
        base: ViTSpec = BASE,
        axes: tuple[Axis, ...] = AXES,
        base_batch: int = BASE_BATCH,
        tell: Callable[[Progress], None] | None = None,
        keep: Callable[[GrowthResult], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.processes, self.rounds, self.base, self.surveyed, self.clock = processes, rounds, base, axes, clock
        self.base_batch = base_batch
        self.tell = tell or (lambda progress: None)
        self.keep = keep or (lambda result: None)
        self.started = clock()
        self.seconds = seconds
        self.points: list[GrowthPoint] = []
        self.skipped: list[SkippedPoint] = []
        self.facts = environment()
        self.rates: dict[tuple[str, Mode], float] = {}
        """FLOP/s of the point before, along an axis and in a mode."""
        self.precision: Precision = "fp32"

    def run(self) -> GrowthResult:
        """Every axis, from its cheapest value up."""
        interrupted = False
        try:
            self.say("machine", None)
            answer = self.processes.ask(MACHINE, None, {"do": "limits"})
            products = {precision: answer[precision]["cube"] for precision in ("fp32", "bf16")}
            self.precision = "bf16" if products["bf16"] > products["fp32"] else "fp32"
            self.product = products[self.precision]
            self.facts["limits"] = {
                "matrix_product_flops_per_second": products,
                "copy_bytes_per_second": answer["copy"],
            }
            for mode in MODES:
                self.processes.ask(OURS, mode, {"do": "hello", "mode": mode})
            for axis in self.surveyed:
                for value in axis.values:
                    for mode in MODES:
                        self.point(axis, value, mode)
                    self.keep(self.result())
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.processes.close()
        return self.result(finished=not interrupted, interrupted=interrupted)

    def result(self, *, finished: bool = False, interrupted: bool = False) -> GrowthResult:
        """What there is so far."""
        from vitscope.bench.growth_words import advice_of

        machine = {**self.facts, "seconds": self.clock() - self.started}
        points, skipped = tuple(self.points), tuple(self.skipped)
        found = GrowthResult(machine, self.base, self.surveyed, points, skipped, (), finished, interrupted)
        return replace(found, advice=advice_of(found))

    def point(self, axis: Axis, value: int, mode: Mode) -> None:
        """Measures one point, or takes the base's, or names why not."""
        spec = spec_at(axis.key, value, self.base)
        batch = value if axis.key == "batch" else self.base_batch
        cell = Cell(f"{axis.key} {value}", OURS, mode, self.precision, False, batch)
        known = [p for p in self.points if value == axis.base and p.mode == mode and self._is_base(p)]
        flops = step_flops(size_of(spec).flops, batch, mode)
        if known:
            again = replace(known[0], axis=axis.key, value=value)
            self.points.append(again)
            self.rates[axis.key, mode] = flops / (again.seconds_per_image * batch)
            return
        step = flops / self.rates.get((axis.key, mode), self.product * REACHED_AT_FIRST)
        left = self.seconds - (self.clock() - self.started)
        why = too_large(cell, spec, memory.available())
        if why is None and step > LONGEST_STEP:
            why = _LONG_STEP.format(step=step, longest=LONGEST_STEP)
        if why is None and 2 * step > left:
            why = _NO_TIME
        if why is None:
            try:
                self.points.append(self.measured(axis, cell, spec, step))
                self.rates[axis.key, mode] = flops / (self.points[-1].seconds_per_image * batch)
                return
            except WorkerFailed as failure:
                why = failure.why
        self.skipped.append(SkippedPoint(axis.key, value, mode, why))

    def _is_base(self, point: GrowthPoint) -> bool:
        return next(axis.base for axis in self.surveyed if axis.key == point.axis) == point.value

    def measured(self, axis: Axis, cell: Cell, spec: ViTSpec, step: float) -> GrowthPoint:
        """Rounds of one point, fewer where a step is long."""
        self.say("measuring", cell)
        request = {"do": "build", "key": "point", "cell": cell.to_dict(), "spec": spec.to_dict(), "setting": "default"}
        setting = self.processes.ask(cell.library, cell.mode, request)["setting"]
        rounds = self.rounds if step < 1 else min(self.rounds, 2)
        asked = {"do": "measure", "key": "point", "slice": SLICE_SECONDS}
        answers = [
            self.processes.ask(cell.library, cell.mode, {**asked, "with_memory": number == 0})
            for number in range(rounds)
        ]
        self.processes.ask(cell.library, cell.mode, {"do": "drop"})
        seconds = [answer["seconds"] for answer in answers]
        return GrowthPoint(
            axis=axis.key,
            value=int(cell.model.rpartition(" ")[2]),
            mode=cell.mode,
            precision=cell.precision,
            batch=cell.batch,
            tokens=spec.tokens,
            flops_per_image=size_of(spec).flops,
            map_share=map_share(spec),
            seconds_per_image=statistics.median(seconds) / cell.batch,
            spread=spread_of(seconds),
            peak_bytes=answers[0]["peak_bytes"],
            setting=setting,
        )

    def say(self, doing: str, cell: Cell | None) -> None:
        """Tells who listens what is being done."""
        spent = min(1.0, (self.clock() - self.started) / self.seconds)
        self.tell(Progress(doing=doing, spent=spent, cell=cell, round=None, measured=len(self.points)))


def run_growth(
    *,
    minutes: float = 4.0,
    rounds: int = 3,
    threads: int | None = None,
    tell: Callable[[Progress], None] | None = None,
    keep: Callable[[GrowthResult], None] | None = None,
) -> GrowthResult:
    """Surveys growth around `BASE`.

    Args:
        minutes: the budget; what no time is left for is named under `skipped`.
        rounds: of each point, of which the median counts.
        threads: of the measuring processes; by default torch's.
        tell: called before each measurement.
        keep: called after each value with what was measured so far.

    Raises:
        UsageError: no minutes, no rounds, no threads.
    """
    from vitscope.bench.plan import check_numbers

    check_numbers(rounds=rounds, minutes=minutes, threads=threads)
    return Survey(Processes(threads), seconds=minutes * 60, rounds=rounds, tell=tell, keep=keep).run()
