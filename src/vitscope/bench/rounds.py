"""One block of the bench: cells in, their rounds out, interleaved: round 1 of all, round 2 of all, and the machine's limits in each.

The first round tries every setting of a library; the quickest goes on. A cell that cannot be its library's best and whose step is long is
left at two rounds, so that the time goes to the figures that are compared.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vitscope._core.text import Text
from vitscope.bench.peers import settings_of
from vitscope.bench.plan import MODELS, OURS, PRECISIONS, Block, Cell
from vitscope.bench.predict import held_bytes
from vitscope.bench.processes import WorkerFailed
from vitscope.bench.result import Measured
from vitscope.bench.worker import LONG, MACHINE
from vitscope.model.size import size_of

if TYPE_CHECKING:
    from vitscope.bench.run import Bench

HEADLINE_SHARE = 0.3
"""Of the time that is left: what the further rounds of a headline block may take at least."""
HOPELESS = 1.5
"""A cell this much slower than its library's best is not measured further than two rounds, if its step is long."""
SHARE_HELD = 0.5
"""Of the free memory: what all models of a block may hold together between their rounds; else each is built anew for each round."""


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
    first: float = 0.0
    peak_bytes: int | None = None
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.cell} {self.setting}"

    def round_cost(self, slice_seconds: float) -> float:
        """Seconds of another round."""
        step = self.seconds[-1]
        return step if step >= LONG else step + max(step, slice_seconds)


class BlockRun:
    """The rounds of one block."""

    def __init__(self, bench: Bench, block: Block, cells: list[Cell], later: tuple[Block, ...]) -> None:
        self.bench, self.block, self.cells, self.later = bench, block, cells, later
        self.spec = MODELS[block.model]
        self.entries: list[Entry] = []
        self.cubes: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        self.models: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        free = bench.available()
        held = sum(held_bytes(cell, self.spec) * len(self.settings(cell)) for cell in cells)
        self.hold = free is None or held <= SHARE_HELD * free
        self.built: set[str] = set()

    def run(self) -> None:
        """First round, choice of settings, further rounds."""
        try:
            self.first_round()
            self.entries = [entry for entry in self.entries if entry.seconds]
            if not self.entries:
                return
            cost = sum(entry.round_cost(self.bench.plan.slice_seconds) for entry in self.entries)
            for number in range(2, self.rounds(cost) + 1):
                if self.bench.time_left() < 0:
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
            self.bench.chosen[(cell.model, cell.mode, cell.precision, cell.library)] = best.setting
            self.bench.predictor.learn(cell, best.seconds[0])
        self.look_at_machine()

    def settings(self, cell: Cell) -> tuple[str, ...]:
        """What is tried: every setting of the library, or where that would take long, the one that was best beside this cell."""
        all_of_them = settings_of(cell)
        known = self.bench.chosen.get((cell.model, cell.mode, cell.precision, cell.library))
        if known in all_of_them and (cell.compiled or self.bench.predictor.seconds(cell, self.spec) >= 1):
            return (known,)
        if cell.compiled:
            return all_of_them[:1]
        if self.bench.predictor.seconds(cell, self.spec) < LONG:
            return all_of_them
        others = [self.bench.chosen.get((cell.model, cell.mode, p, cell.library), "") for p in PRECISIONS]
        attention = next((other.split(" ")[0] for other in others if other), None)
        return tuple(s for s in all_of_them if attention is None or s.split(" ")[0] == attention) or all_of_them

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
            request = {"do": "measure", "key": entry.key, "slice": self.bench.plan.slice_seconds}
            answer = ask(cell.library, cell.mode, {**request, "with_memory": number == 1})
        except WorkerFailed as failure:
            self.built.discard(entry.key)
            return failure.why
        entry.seconds.append(answer["seconds"])
        if number == 1:
            entry.first, entry.peak_bytes = answer["first"], answer["peak_bytes"]
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

    def rounds(self, cost: float) -> int:
        """How many rounds in all: as many as the plan says while the later blocks keep time for two of theirs; two at least."""
        left = self.bench.time_left()
        spare = left - sum(self.estimate(block) for block in self.later)
        if self.block.headline:
            spare = max(spare, HEADLINE_SHARE * left)
        most = self.bench.plan.rounds
        return min(most, max(min(2, most), 1 + int(spare / max(cost, 1e-9))))

    def estimate(self, block: Block) -> float:
        """Seconds that two rounds of a later block will take."""
        spec, predictor = MODELS[block.model], self.bench.predictor
        seconds = 0.0
        for cell in block.cells:
            if cell.library in self.bench.versions:
                step = predictor.seconds(cell, spec)
                seconds += 3 * step if step >= LONG else 2 * (step + max(step, self.bench.plan.slice_seconds))
                seconds += predictor.compile_seconds(cell, spec) / 2
        return seconds

    def further_round(self, number: int) -> None:
        """Another round of all entries that may still matter."""
        best: dict[str, float] = {}
        for entry in self.entries:
            library = entry.cell.library
            best[library] = min(best.get(library, float("inf")), statistics.median(entry.seconds))
        for entry in self.entries:
            median = statistics.median(entry.seconds)
            if number > 2 and median >= 1 and median > HOPELESS * best[entry.cell.library]:
                continue
            if median > self.bench.time_left():
                continue
            self.measure(entry, number)
        self.look_at_machine()

    def look_at_machine(self) -> None:
        """The machine's limits, in the same round; a look that fails leaves the last."""
        precisions = list(self.block.precisions)
        request = {"do": "limits", "spec": self.spec.to_dict(), "batch": self.block.batch, "mode": self.block.mode}
        try:
            answer = self.bench.processes.ask(MACHINE, None, {**request, "precisions": precisions})
        except WorkerFailed:
            return
        self.bench.note_limits(answer)
        for precision in precisions:
            self.cubes[precision].append(answer[precision]["cube"])
            self.models[precision].append(answer[precision]["model"])

    def results(self) -> list[Measured]:
        """What was measured, vitscope first."""
        flops = size_of(self.spec).flops
        found = []
        for entry in sorted(self.entries, key=lambda entry: entry.cell.library != OURS):
            if not entry.seconds:
                continue
            precision = entry.cell.precision
            cubes = self.cubes[precision] or self.bench.cubes[precision]
            models = self.models[precision]
            found.append(
                Measured(
                    cell=entry.cell,
                    setting=entry.words,
                    seconds=tuple(entry.seconds),
                    flops_per_image=flops,
                    limit=statistics.median(cubes),
                    model_products=statistics.median(models) if models else None,
                    peak_bytes=entry.peak_bytes,
                    settings=entry.tried,
                )
            )
        return found
