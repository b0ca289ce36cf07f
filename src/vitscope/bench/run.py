"""The bench itself: a plan in, a result out. Rounds of all libraries in turn, until they are done or the budget is.

It computes nothing: processes of their own do (`worker.py`), one at a time. What does not fit the memory or the time, or fails, is named
with its reason and left out; Ctrl-C ends the measuring and keeps what there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vitscope._core.errors import UsageError
from vitscope._core.text import Text
from vitscope.bench import memory
from vitscope.bench.plan import MODELS, MODES, OURS, PEERS, PRECISIONS, Block, Care, Cell, Plan, Precision, care_of
from vitscope.bench.predict import Predictor, too_large
from vitscope.bench.processes import Processes, WorkerFailed
from vitscope.bench.result import BenchResult, Measured, Skipped, rows_of
from vitscope.bench.rounds import BlockRun, Progress
from vitscope.bench.startup import Startup, measure_startup
from vitscope.bench.worker import MACHINE
from vitscope.runs import environment

_NOT_INSTALLED = Text(
    "is not installed ({error}); run: pip install 'vitscope[bench]'",
    "インストールされていません（{error}）。pip install 'vitscope[bench]' を実行してください",
)
_NO_TURN = Text("the bench ended before its turn", "順番が来る前に測定が終わりました")

Tell = Callable[[Progress], None]
Keep = Callable[[BenchResult], None]


class Bench:
    """One bench under way."""

    def __init__(
        self,
        plan: Plan,
        processes: Processes,
        *,
        tell: Tell | None = None,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.monotonic,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        self.plan, self.processes, self.clock, self.available = plan, processes, clock, available
        self.tell: Tell = tell or (lambda progress: None)
        self.keep: Keep = keep or (lambda result: None)
        self.facts = environment()
        self.started = clock()
        self.deadline = self.started + plan.minutes * 60
        self.measured: list[Measured] = []
        self.skipped: list[Skipped] = []
        self.versions: dict[str, str | None] = {}
        self.limits: dict[str, Any] = {}
        self.cubes: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        self.copies: list[float] = []
        self.startup: Startup | None = None
        self.chosen: dict[tuple[Any, ...], str] = {}
        """The quickest setting of (model, mode, precision, library), by its words in `settings_of`."""

    def run(self) -> BenchResult:
        """Everything that the plan asks for, in its order."""
        interrupted = False
        try:
            self.say("libraries")
            self.open_libraries()
            if self.plan.startup:
                self.say("start-up")
                self.startup = measure_startup()
            self.say("machine")
            self.note_limits(self.processes.ask(MACHINE, None, {"do": "limits"}))
            self.predictor = Predictor(
                products={precision: self.cubes[precision][0] for precision in PRECISIONS}, copy=self.copies[0]
            )
            blocks = self.plan.blocks
            if self.quickest == "fp32":  # on a machine without bf16 products those would take the whole budget
                blocks = tuple(sorted(blocks, key=lambda block: block.precision != "fp32"))
            for number, block in enumerate(blocks):
                self.measure(block, blocks[number + 1 :])
                self.keep(self.result())
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.processes.close()
        return self.result(finished=not interrupted and bool(self.measured), interrupted=interrupted)

    def result(self, *, finished: bool = False, interrupted: bool = False) -> BenchResult:
        """What there is so far; every cell of the plan is named in it."""
        named = {one.cell for one in self.measured} | {one.cell for one in self.skipped}
        to_come = tuple(
            Skipped(_NO_TURN, cell=cell)
            for block in self.plan.blocks
            for cell in block.cells
            if cell.library in self.versions and cell not in named
        )
        return BenchResult(
            self.machine(),
            rows_of(self.measured),
            (*self.skipped, *to_come),
            finished=finished,
            interrupted=interrupted,
        )

    def open_libraries(self) -> None:
        """Starts a process for each library; one that is not there is skipped by name."""
        wanted = [
            (library, mode) for library in self.plan.libraries for mode in (MODES if library == OURS else (None,))
        ]
        answers = self.processes.ask_all(
            [(library, mode, {"do": "hello", "mode": mode or "train"}) for library, mode in wanted]
        )
        for (library, _), answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, WorkerFailed):
                self.versions[library] = answer["version"]
                self.limits["threads"] = answer["threads"]
                continue
            why = answer.why
            if library not in (OURS, *PEERS):
                raise UsageError(
                    f"--peers names {library}, which failed with a small ViTSpec ({why.en}); give a function that takes a "
                    "ViTSpec and gives a module: images B C H W in, scores B Y out"
                )
            if library in PEERS and why.en.startswith("ModuleNotFoundError: "):
                why = _NOT_INSTALLED.format(error=why.en.partition(": ")[2])
            if all(one.library != library for one in self.skipped):
                self.skipped.append(Skipped(why, library=library))

    def measure(self, block: Block, later: tuple[Block, ...]) -> None:
        """One block: what may be measured is, the rest is skipped by name."""
        cells = [cell for cell in block.cells if cell.library in self.versions]
        free = self.available()
        fitting = []
        for cell in cells:
            why = too_large(cell, MODELS[block.model], free)
            if why is None:
                fitting.append(cell)
            else:
                self.skip(cell, why)
        if not fitting:
            return
        weights = [self.care(one).weight for one in (block, *later)]
        part = weights[0] / sum(weights) if any(weights) else 1.0
        run = BlockRun(self, block, fitting, part)
        try:
            run.run()
        finally:  # Ctrl-C too: the rounds that were finished count
            self.measured += run.results()

    def skip(self, cell: Cell, why: Text, **numbers: float) -> None:
        """Names what is left out."""
        self.skipped.append(Skipped(why, cell=cell, numbers=numbers))

    def note_limits(self, answer: dict[str, Any]) -> None:
        """Keeps what a look at the machine gave."""
        for precision in set(PRECISIONS) & set(answer):
            self.cubes[precision].append(answer[precision]["cube"])
        if "copy" in answer:
            self.copies.append(answer["copy"])

    @property
    def quickest(self) -> Precision:
        """The precision in which this machine multiplies the quickest."""
        return max(reversed(PRECISIONS), key=lambda precision: self.cubes[precision][0])

    def care(self, block: Block) -> Care:
        """How thoroughly a block is measured."""
        return care_of(block, self.quickest, self.plan.rounds)

    def time_left(self) -> float:
        """Seconds until the budget is spent."""
        return self.deadline - self.clock()

    def say(self, doing: str, cell: Cell | None = None, round_: int | None = None) -> None:
        """Tells who listens what is being done."""
        spent = min(1.0, (self.clock() - self.started) / (self.deadline - self.started))
        self.tell(Progress(doing=doing, spent=spent, cell=cell, round=round_, measured=len(self.measured)))

    def machine(self) -> dict[str, Any]:
        """Hardware, versions, date, limits and start-up."""
        import statistics

        facts = dict(self.facts)
        facts["libraries"] = dict(self.versions)
        facts["threads_used"] = self.limits.get("threads")
        if self.copies:
            facts["limits"] = {
                "matrix_product_flops_per_second": {p: statistics.median(values) for p, values in self.cubes.items()},
                "matrix_product_side": 2048,
                "copy_bytes_per_second": statistics.median(self.copies),
                "samples": {p: len(values) for p, values in self.cubes.items()},
            }
        if self.startup is not None:
            facts["startup"] = self.startup.to_dict()
        facts["plan"] = self.plan.to_dict()
        facts["seconds"] = self.clock() - self.started
        return facts


def run_bench(plan: Plan, *, tell: Tell | None = None, keep: Keep | None = None) -> BenchResult:
    """Measures what a plan asks for.

    Args:
        plan: from `make_plan`.
        tell: called before each measurement with a `Progress`.
        keep: called after each block with what was measured so far, for who wants to keep it from a power cut.

    Returns: what was measured, also after Ctrl-C (`interrupted` is then true, and `finished` is not).
    """
    return Bench(plan, Processes(plan.threads), tell=tell, keep=keep).run()
