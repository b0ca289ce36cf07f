"""Rounds, budget and choice of settings, with processes that answer at once; medians and ratios against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from bench_samples import GFLOPS, FakeFleet

from vitscope.bench.limits import step_flops
from vitscope.bench.plan import HEADLINE, MODELS, OURS, PEERS, Cell, Plan, make_plan
from vitscope.bench.result import BenchResult, Measured, against_fastest, as_people_run_it, rows_of, spread_of
from vitscope.bench.run import Bench
from vitscope.bench.worker import MACHINE
from vitscope.model.size import size_of

ROW = {
    "model",
    "library",
    "mode",
    "precision",
    "compiled",
    "batch",
    "images_per_second",
    "spread",
    "ratio",
    "limit_fraction",
    "peak_bytes",
}


def plan_of(*peers: str, minutes: float = 9.5, rounds: int = 3, compiled: bool = False, batches: str = "128") -> Plan:
    plan = make_plan(",".join(peers) or "none", "specimen", batches=batches, rounds=rounds, minutes=minutes)
    return replace(plan, startup=False, blocks=tuple(b for b in plan.blocks if b.compiled == compiled))


def steady(library: str, cell: Mapping[str, Any], setting: str) -> float:
    """vitscope is the quickest; bf16 halves, and the second attention of a peer is quicker than its first."""
    seconds = {OURS: 0.1, "timm": 0.2, "transformers": 0.3}.get(library, 0.4)
    seconds *= 0.5 if cell["precision"] == "bf16" else 1
    return seconds * (0.9 if setting.startswith(("explicit", "eager")) else 1)


def bench_of(fleet: FakeFleet, plan: Plan, **others: Any) -> Bench:
    return Bench(plan, fleet.processes, clock=fleet.clock, available=lambda: 2**40, **others)


def test_medians_spreads_ratios_and_shares_by_hand() -> None:
    def one(library: str, precision: Any, seconds: tuple[float, ...], limit: float) -> Measured:
        cell = Cell("specimen", library, "train", precision, False, 10)
        return Measured(cell, "s", seconds, 1_000_000, limit, None, 7, {})

    rows = rows_of([
        one(OURS, "bf16", (0.1, 0.2, 0.4), 1e9),
        one(OURS, "fp32", (0.5,), 1e9),
        one("timm", "fp32", (1.0, 0.8, 0.4), 2e9),
    ])  # fmt: skip
    assert [row.images_per_second for row in rows] == [50, 20, 12.5]
    assert [row.round_seconds for row in rows] == [(0.1, 0.2, 0.4), (0.5,), (1.0, 0.8, 0.4)]
    assert [row.spread for row in rows] == [pytest.approx(1.5), None, pytest.approx(0.75)]
    assert [row.ratio for row in rows] == [1, 2.5, 4]
    assert [row.limit_fraction for row in rows] == pytest.approx([3e7 / 0.2 / 1e9, 3e7 / 0.5 / 1e9, 3e7 / 0.8 / 2e9])
    assert spread_of([2.0]) is None
    assert rows_of([one("timm", "fp32", (1.0,), 1e9)])[0].ratio is None


def test_rounds_are_interleaved_and_the_machine_is_looked_at_in_each() -> None:
    fleet = FakeFleet(steady)
    result = bench_of(fleet, plan_of("vit-pytorch", "timm", rounds=3)).run()
    block = [(library, does) for library, does, _ in fleet.log if does in ("measure", "limits")][1:]
    looks = [i for i, (_, does) in enumerate(block) if does == "limits"]
    training = [block[: looks[0]], *(block[a + 1 : b] for a, b in pairwise(looks))][:3]
    order = [OURS, "vit-pytorch", "timm"]
    first = [OURS, "vit-pytorch", "timm", "timm"]  # timm has two settings
    assert [[library for library, _ in round_] for round_ in training] == [first, order, order]
    assert {(row.precision, row.rounds) for row in result.rows} == {("bf16", 3), ("fp32", 2)}
    assert fleet.closed == 5  # vitscope has a process a mode, and the machine one


def test_the_quickest_setting_of_a_peer_is_reported_and_all_are_told() -> None:
    result = bench_of(FakeFleet(steady), plan_of("transformers")).run()
    row = next(r for r in result.rows if (r.library, r.mode, r.precision) == ("transformers", "inference", "bf16"))
    assert row.setting.startswith("eager")
    assert len(row.settings_tried) == 4
    assert row.images_per_second == pytest.approx(128 / (0.3 * 0.5 * 0.9))
    assert row.ratio == pytest.approx(0.3 * 0.9 / 0.1)
    assert row.limit_fraction == pytest.approx(289_022_208 * 128 / (0.3 * 0.5 * 0.9) / (400 * GFLOPS))


def test_the_json_is_that_of_the_contract() -> None:
    result = bench_of(FakeFleet(steady, absent=("timm",)), plan_of("vit-pytorch", "timm")).run()
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"machine", "rows", "skipped"} <= set(document)
    assert all(set(row) >= ROW for row in document["rows"])
    assert {row["library"] for row in document["rows"]} == {OURS, "vit-pytorch"}
    assert [one["library"] for one in document["skipped"]] == ["timm"]
    assert "is not installed" in document["skipped"][0]["why"]
    machine = document["machine"]
    assert machine["limits"]["matrix_product_flops_per_second"] == {"fp32": 100 * GFLOPS, "bf16": 400 * GFLOPS}
    assert machine["limits"]["copy_bytes_per_second"] == 10 * GFLOPS
    assert {"cpu", "packages", "date", "threads"} <= set(machine)


def test_the_summary_takes_the_best_of_each_side() -> None:
    result = bench_of(FakeFleet(steady), plan_of("vit-pytorch", "timm")).run()
    plain, fastest = as_people_run_it(result), against_fastest(result)
    assert [one.ratio for one in plain] == pytest.approx([0.4 / 0.05] * 2)
    assert {one.theirs.precision for one in plain} == {"fp32"}
    assert [(one.theirs.library, one.theirs.precision) for one in fastest] == [("timm", "bf16")] * 2
    assert [one.ratio for one in fastest] == pytest.approx([0.2 * 0.5 * 0.9 / 0.05] * 2)
    assert set(fastest[0].to_dict()) >= {"model", "mode", "batch", "ratio", "library"}


def test_what_no_time_is_left_for_is_named_and_the_budget_is_kept() -> None:
    fleet = FakeFleet(lambda library, cell, setting: 10 * steady(library, cell, setting))
    result = bench_of(fleet, plan_of(*PEERS, minutes=0.5, batches="128,512")).run()
    assert fleet.clock.now < 35
    assert result.rows[0].batch == 128
    measured = {(r.library, r.mode, r.precision, r.batch) for r in result.rows}
    named = {(s.cell.library, s.cell.mode, s.cell.precision, s.cell.batch) for s in result.skipped if s.cell}
    assert measured | named == {
        (library, mode, precision, batch)
        for library in (OURS, *PEERS) for mode in ("train", "inference") for precision in ("fp32", "bf16") for batch in (128, 512)
    }  # fmt: skip
    assert not measured & named
    assert {one.why.en for one in result.skipped} == {"the budget of 0.5 minutes (--minutes) has no time for it"}
    assert all(one.to_dict()["seconds_needed"] > one.to_dict()["seconds_left"] >= 0 for one in result.skipped)


def recorded(library: str, cell: Mapping[str, Any], setting: str) -> float:
    """About what benchmarks/results/2026-11-25-bench measured on two cores, with a step's fixed cost for small batches."""
    rate = {"bf16": 450, "fp32": 166} if cell["model"] == "specimen" else {"bf16": 640, "fp32": 196}
    spec, train = MODELS[cell["model"]], cell["mode"] == "train"
    seconds = step_flops(size_of(spec).flops, cell["batch"], cell["mode"]) / (rate[cell["precision"]] * GFLOPS)
    slow = cell["precision"] == "bf16" and not setting.startswith(("default", "explicit", "eager"))
    return seconds * (1.5 if slow and cell["model"] == "specimen" else 1.1 if slow else 1) + spec.depth * (
        0.0012 if train else 0.0003
    )


def building(cell: Mapping[str, Any]) -> float:
    """That run again; what a library takes of the 130 s in which five compile both ways at once."""
    if cell["compiled"]:
        return {"train": 17.0, "inference": 9.5}[cell["mode"]]
    return 1.2 if cell["model"] == "vit-b16-224" else 0.15


def test_the_default_plan_fits_its_budget_on_the_machine_of_the_record() -> None:
    fleet = FakeFleet(recorded)
    fleet.building = building
    plan = make_plan()
    result = bench_of(fleet, replace(plan, startup=False, minutes=plan.minutes - 0.5)).run()  # start-up and imports
    late = {(one.cell.compiled, one.cell.precision) for one in result.skipped if one.cell}
    assert late <= {(True, "fp32")}
    assert 400 < fleet.clock.now < 540
    assert {
        row.rounds for row in result.rows if row.batch in (128, 8) and row.precision == "bf16" and not row.compiled
    } <= {3, 4, 5}


def test_on_a_machine_that_is_slower_the_headline_comes_first_and_the_budget_is_kept() -> None:
    fleet = FakeFleet(lambda *words: 4 * recorded(*words))
    result = bench_of(fleet, replace(make_plan(), startup=False)).run()
    assert fleet.clock.now < 600
    assert {(row.model, row.batch, row.precision) for row in result.rows} >= {
        (model, batch, precision) for model, batch in HEADLINE for precision in ("bf16", "fp32")
    }


def test_where_fp32_is_the_quicker_it_comes_first() -> None:
    fleet = FakeFleet(steady)
    fleet.fp32 = 500 * GFLOPS
    result = bench_of(fleet, plan_of("timm")).run()
    assert [row.precision for row in result.rows] == ["fp32"] * 4 + ["bf16"] * 4
    assert {(row.precision, row.rounds) for row in result.rows} == {("fp32", 3), ("bf16", 2)}


def test_a_cell_that_does_not_fit_the_memory_is_named() -> None:
    fleet = FakeFleet(steady)
    result = Bench(plan_of("timm"), fleet.processes, clock=fleet.clock, available=lambda: 2**28).run()
    assert {one.cell.mode for one in result.skipped if one.cell} >= {"train"}
    assert all("GiB of memory" in one.why.en for one in result.skipped)
    assert all(row.mode == "inference" for row in result.rows)


def test_what_fails_is_named_and_the_rest_goes_on() -> None:
    from vitscope.bench.processes import WorkerFailed

    def fails(library: str, cell: Mapping[str, Any], setting: str) -> float:
        if library == "timm" and cell["mode"] == "train":
            raise WorkerFailed("RuntimeError: no")
        return steady(library, cell, setting)

    result = bench_of(FakeFleet(fails), plan_of("timm", "vit-pytorch")).run()
    assert {(s.cell.library, s.cell.mode) for s in result.skipped if s.cell} == {("timm", "train")}
    assert {s.why.en for s in result.skipped} == {"RuntimeError: no"}
    assert {row.library for row in result.rows if row.mode == "train"} == {OURS, "vit-pytorch"}


def test_ctrl_c_keeps_what_was_measured() -> None:
    count = 0

    def interrupted(library: str, cell: Mapping[str, Any], setting: str) -> float:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return steady(library, cell, setting)

    fleet = FakeFleet(interrupted)
    result = bench_of(fleet, plan_of("timm")).run()
    assert result.interrupted
    assert [(row.library, row.setting) for row in result.rows] == [(OURS, "default"), ("timm", "fused autocast")]
    assert {one.why.en for one in result.skipped} == {"the bench ended before its turn"}
    assert len(result.rows) + len(result.skipped) == 2 * 2 * 2
    assert fleet.closed == 4  # the machine, vitscope twice, timm
    assert isinstance(result, BenchResult)


def test_compiled_cells_are_built_together_with_one_setting() -> None:
    fleet = FakeFleet(steady)
    result = bench_of(fleet, plan_of("timm", "vit-pytorch", compiled=True)).run()
    assert {row.compiled for row in result.rows} == {True}
    does = [(library, what) for library, what, _ in fleet.log if library != MACHINE and what in ("build", "measure")]
    assert [what for _, what in does[:4]] == ["build", "build", "build", "measure"]
    assert len(result.rows) == 3 * 2 * 2
