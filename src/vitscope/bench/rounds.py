"""One block of the bench: cells in, their rounds out, interleaved: round 1 of all, round 2 of all, and the machine's limits in each.

The first round tries every setting of a library, where the plan has the time for that; the quickest goes on.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vitscope._core.text import Text
from vitscope.bench.peers import settings_of
from vitscope.bench.plan import LONG, MODELS, PRECISIONS, Block, Cell
from vitscope.bench.predict import fit_together
from vitscope.bench.processes import WorkerFailed
from vitscope.bench.result import Measured
from vitscope.bench.worker import MACHINE
from vitscope.model.size import size_of

if TYPE_CHECKING:
    from vitscope.bench.run import Bench

_NO_TIME = Text(
    "the budget of {minutes:g} minutes (--minutes) has no time for it",
    "制限時間の {minutes:g} 分（--minutes）に収まりません",
)


@dataclass(frozen=True)
class Progress:
    """What is being done: `spent` is the share of the time budget, `measured` the cells that are finished."""

    doing: str
    spent: float
    cell: Cell | None
    round: int | None
    measured: int


@dataclass
class Entry:
    """A cell under one setting, and its rounds so far."""

    cell: Cell
    setting: str
    words: str = ""
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.cell} {self.setting}"

    def round_seconds(self, slice_seconds: float) -> float:
        """What a further round takes: one step, or one to warm up and a slice."""
        step = self.seconds[-1]
        return step if step >= LONG else step + max(step, slice_seconds)


class BlockRun:
    """The rounds of one block."""

    def __init__(self, bench: Bench, block: Block, cells: list[Cell], part: float) -> None:
        self.bench, self.block, self.cells, self.part = bench, block, cells, part
        self.spec = MODELS[block.model]
        self.care = bench.care(block)
        self.entries: list[Entry] = []
        self.cubes: list[float] = []
        self.models: list[float] = []
        self.hold = fit_together(cells, self.spec, bench.available())
        """Whether all models of the block are kept between their rounds; else each is built anew for each round."""
        self.built: set[str] = set()

    def run(self) -> None:
        """First round, choice of settings, further rounds."""
        try:
            self.first_round()
            self.entries = [entry for entry in self.entries if entry.seconds]
            if not self.entries:
                return
            cost = sum(entry.round_seconds(self.care.slice_seconds) for entry in self.entries)
            rest = (1 - self.part) * self.bench.time_left()
            for number in range(2, self.care.rounds + 1):
                if self.bench.time_left() - cost < rest:
                    break
                self.further_round(number)
        finally:
            self.forget()

    def first_round(self) -> None:
        """Every setting of every cell once; the quickest of each cell stays."""
        if self.block.compiled:
            self.compile_all()
        for cell in self.cells:
            tries = [entry for entry in self.entries if entry.cell == cell] if self.block.compiled else []
            if not self.block.compiled:
                if not self.has_time(cell):
                    continue
                tries = [Entry(cell, setting) for setting in self.settings(cell)]
                self.entries += tries
            failures = [why for entry in tries if (why := self.measure(entry, 1)) is not None]
            done = [entry for entry in tries if entry.seconds]
            if not done:
                if tries:
                    self.bench.skip(cell, failures[0])
                continue
            best = min(done, key=lambda entry: entry.seconds[0])
            best.tried = {entry.words: cell.batch / entry.seconds[0] for entry in done}
            self.entries = [entry for entry in self.entries if entry.cell != cell or entry is best]
            for entry in done:
                if entry is not best:
                    self.drop(entry)
            self.bench.chosen[cell.model, cell.mode, cell.precision, cell.library] = best.setting
            self.bench.predictor.learn(cell, best.seconds[0])
        self.look_at_machine()

    def settings(self, cell: Cell) -> tuple[str, ...]:
        """What is tried: every setting of the library, or where that would take long, what was chosen for another batch or precision."""
        all_of_them = settings_of(cell)
        if self.bench.predictor.seconds(cell, self.spec) < self.care.try_below:
            return all_of_them
        known = [
            self.bench.chosen.get((cell.model, cell.mode, p, cell.library), "") for p in (cell.precision, *PRECISIONS)
        ]
        attention = next((setting.split(" ")[0] for setting in known if setting), None)
        alike = tuple(setting for setting in all_of_them if setting.split(" ")[0] == attention)
        return tuple(setting for setting in alike if setting == known[0]) or alike or all_of_them

    def has_time(self, cell: Cell) -> bool:
        """Whether a first round still fits the budget; if not, the cell is skipped by name."""
        step, left = self.bench.predictor.seconds(cell, self.spec), max(0.0, self.bench.time_left())
        needed = len(self.settings(cell)) * 2 * step
        needed += self.bench.predictor.compile_seconds(cell, self.spec)
        if needed <= left:
            return True
        why = _NO_TIME.format(minutes=self.bench.plan.minutes)
        self.bench.skip(cell, why, seconds_needed=needed, seconds_left=left)
        return False

    def compile_all(self) -> None:
        """Builds and compiles in all processes at once: no time of it is reported. A compiled cell has one setting."""
        wanted = [cell for cell in self.cells if self.has_time(cell)]
        entries = [Entry(cell, self.settings(cell)[0]) for cell in wanted]
        self.bench.say("compiling")
        answers = self.bench.processes.ask_all(
            [(e.cell.library, e.cell.mode, {**self.building(e), "warm": True}) for e in entries]
        )
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, WorkerFailed):
                self.bench.skip(
                    entry.cell, Text(f"torch.compile failed: {answer.why.en}", f"torch.compileに失敗: {answer.why.ja}")
                )
                continue
            entry.words = answer["setting"]
            self.bench.predictor.learn_compiling(entry.cell, answer["seconds"])
            self.built.add(entry.key)
            self.entries.append(entry)

    def building(self, entry: Entry) -> dict[str, Any]:
        """The request that makes an entry's step."""
        return {
            "do": "build",
            "key": entry.key,
            "cell": entry.cell.to_dict(),
            "spec": self.spec.to_dict(),
            "setting": entry.setting,
        }

    def measure(self, entry: Entry, number: int) -> Text | None:
        """One round of one entry; why it failed, or None."""
        cell, ask = entry.cell, self.bench.processes.ask
        self.bench.say("measuring", cell, number)
        try:
            if entry.key not in self.built:
                entry.words = ask(cell.library, cell.mode, self.building(entry))["setting"]
                self.built.add(entry.key)
            request = {"do": "measure", "key": entry.key, "slice": self.care.slice_seconds}
            answer = ask(cell.library, cell.mode, {**request, "with_memory": number == 1})
        except WorkerFailed as failure:
            self.built.discard(entry.key)
            return failure.why
        entry.seconds.append(answer["seconds"])
        if number == 1:
            entry.peak_bytes = answer["peak_bytes"]
        if not self.hold and not cell.compiled:
            self.drop(entry)
        return None

    def drop(self, entry: Entry) -> None:
        """Lets a process forget one step."""
        if entry.key in self.built:
            self.built.discard(entry.key)
            with suppress(WorkerFailed):  # it has ended, and so forgotten
                self.bench.processes.ask(entry.cell.library, entry.cell.mode, {"do": "drop", "keys": [entry.key]})

    def forget(self) -> None:
        """Lets all processes forget what is left of this block."""
        for entry in self.entries:
            self.drop(entry)

    def further_round(self, number: int) -> None:
        """Another round of all entries."""
        for entry in self.entries:
            self.measure(entry, number)
        self.look_at_machine()

    def look_at_machine(self) -> None:
        """The machine's limits, in the same round; a look that fails leaves the last."""
        block = self.block
        request = {"do": "limits", "spec": self.spec.to_dict(), "batch": block.batch, "mode": block.mode}
        try:
            answer = self.bench.processes.ask(MACHINE, None, {**request, "precisions": [block.precision]})
        except WorkerFailed:
            return
        self.bench.note_limits(answer)
        self.cubes.append(answer[block.precision]["cube"])
        self.models.append(answer[block.precision]["model"])

    def results(self) -> list[Measured]:
        """What was measured, vitscope first; after Ctrl-C in a first round, the quickest setting so far."""
        quickest: dict[Cell, Entry] = {}
        for entry in sorted((entry for entry in self.entries if entry.seconds), key=lambda entry: min(entry.seconds)):
            quickest.setdefault(entry.cell, entry)
        return [
            Measured(
                cell=cell,
                setting=quickest[cell].words,
                seconds=tuple(quickest[cell].seconds),
                flops_per_image=size_of(self.spec).flops,
                limit=statistics.median(self.cubes or self.bench.cubes[cell.precision]),
                model_products=statistics.median(self.models) if self.models else None,
                peak_bytes=quickest[cell].peak_bytes,
                settings=quickest[cell].tried,
            )
            for cell in self.cells
            if cell in quickest
        ]
