"""The measuring process: its answers, what it builds, real processes, and memory that can be reset."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_samples import TINY

from vitscope.bench import limits, memory, startup
from vitscope.bench.limits import Product, rate_of_cube, rate_of_products
from vitscope.bench.plan import MODES, OURS, PRECISIONS, Cell
from vitscope.bench.processes import Processes, WorkerEnded, WorkerFailed, WorkerProcess
from vitscope.bench.startup import Startup
from vitscope.bench.tasks import make_step
from vitscope.bench.worker import Worker, serve

FLAT = "bench_samples:Flat"
HERE = str(Path(__file__).parent)


def building(cell: Cell, setting: str = "default fp32") -> dict[str, Any]:
    return {"do": "build", "key": "k", "cell": cell.to_dict(), "spec": TINY.to_dict(), "setting": setting}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_of_vitscope_is_what_train_does(mode: Any, precision: Any) -> None:
    step, words = make_step(Cell("tiny", OURS, mode, precision, False, 4), TINY, "default")
    first, later = step(), [step() for _ in range(30)][-1]
    assert words.startswith("explicit attention, ")
    if mode == "train":
        assert ("masters" in words) == (precision == "bf16")
        assert float(later.detach()) < float(first.detach())  # a fixed batch is learned
    else:
        assert first.shape == (4, TINY.classes)
        assert first.is_inference()
        assert first.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
        assert torch.equal(first, later)


@pytest.mark.parametrize(
    ("mode", "setting", "dtype"),
    [
        ("train", "default autocast", torch.float32),
        ("inference", "default autocast", torch.bfloat16),
        ("inference", "default weights", torch.bfloat16),
        ("inference", "default fp32", torch.float32),
    ],
)
def test_a_step_of_a_library_of_ones_own(mode: Any, setting: str, dtype: torch.dtype) -> None:
    precision: Any = "fp32" if setting.endswith("fp32") else "bf16"
    step, _ = make_step(Cell("tiny", FLAT, mode, precision, False, 4), TINY, setting)
    first = step()
    assert first.dtype == dtype
    if mode == "train":
        assert float([step() for _ in range(30)][-1].detach()) < float(first.detach())


def test_the_protocol_is_a_line_for_a_line() -> None:
    cell = Cell("tiny", FLAT, "train", "fp32", False, 4)
    requests = [
        {"do": "hello", "mode": "train"},
        building(cell),
        {"do": "measure", "key": "k", "slice": 0.01, "with_memory": True},
        {"do": "drop", "keys": ["k"]},
        {"do": "measure", "key": "k", "slice": 0.01},
        {"do": "limits", "side": 32, "copied": 4096, "spec": TINY.to_dict(), "batch": 2, "mode": "train", "precisions": ["bf16"]},
        {"do": "limits", "side": 32, "copied": 4096},
    ]  # fmt: skip
    written: list[str] = []
    serve(Worker(FLAT), [json.dumps(request) + "\n" for request in requests], written.append)
    hello, built, measured, dropped, gone, look, limits = map(json.loads, written)
    assert hello["version"] is None
    assert hello["threads"] == torch.get_num_threads()
    assert built["setting"] == "fp32"
    assert measured["seconds"] > 0
    assert measured["steps"] >= 1
    assert measured["peak_bytes"] is None or measured["peak_bytes"] >= 0
    assert dropped == {}
    assert "KeyError" in gone["error"]
    assert set(look) == {"bf16"}
    assert set(look["bf16"]) == {"cube", "model"}
    assert set(limits) == {"fp32", "bf16", "copy"}
    assert set(limits["fp32"]) == {"cube"}


def test_the_first_step_after_a_build_never_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for all the memory and makes the optimizer's state: seconds, for a large model."""
    from vitscope.bench import worker as module

    taken = 0

    def step() -> torch.Tensor:
        nonlocal taken
        taken += 1
        return torch.zeros(1)

    monkeypatch.setattr(module, "LONG", 0.0)  # every step is a long one
    monkeypatch.setattr(module, "make_step", lambda *words: (step, "fp32"))
    worker = Worker(FLAT)
    request = {"do": "measure", "key": "k", "slice": 0.0}
    for _ in range(2):  # built anew, it is cold again
        worker.answer(building(Cell("tiny", FLAT, "train", "fp32", False, 4)))
        before = taken
        worker.answer(request)
        assert taken - before == 2
        worker.answer(request)
        assert taken - before == 3
    worker.answer({**request, "with_memory": True})  # which gives memory back first
    assert taken - before == 5
    worker.answer({"do": "drop", "keys": ["another"]})
    worker.answer(request)
    assert taken - before == 7


def test_a_library_that_is_not_there_answers_with_its_reason() -> None:
    assert "No module named 'nowhere'" in Worker("nowhere:f").answer({"do": "hello", "mode": "train"})["error"]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setenv("PYTHONPATH", HERE)
    made = Processes(threads=1)
    yield made
    made.close()


@pytest.mark.e2e
def test_real_processes_answer_fail_and_end(processes: Processes) -> None:
    cell = Cell("tiny", FLAT, "inference", "fp32", False, 2)
    assert processes.ask(FLAT, "inference", {"do": "hello", "mode": "inference"})["threads"] == 1
    processes.ask(FLAT, "inference", building(cell))
    assert processes.ask(FLAT, "inference", {"do": "measure", "key": "k", "slice": 0.001})["seconds"] > 0
    with pytest.raises(WorkerFailed, match="KeyError"):
        processes.ask(FLAT, "inference", {"do": "measure", "key": "other", "slice": 0.001})
    worker = processes.of(FLAT)
    assert isinstance(worker, WorkerProcess)
    worker.process.kill()
    with pytest.raises(WorkerEnded, match="killed"):
        processes.ask(FLAT, None, {"do": "drop"})
    assert processes.of(FLAT) is not worker  # started anew
    one, two = processes.ask_all([("nowhere:f", None, {"do": "hello", "mode": "train"}), (FLAT, None, {"do": "drop"})])
    assert isinstance(one, WorkerFailed)
    assert two == {}


def test_vitscope_has_a_process_for_each_mode_and_a_peer_one() -> None:
    started: list[str] = []

    class Silent:
        def send(self, request: Any) -> None: ...

        def receive(self) -> dict[str, Any]:
            return {}

        def close(self) -> None: ...

    def start(library: str, threads: int | None) -> Silent:
        started.append(library)
        return Silent()

    processes = Processes(start=start)
    assert processes.of(OURS, "train") is not processes.of(OURS, "inference")
    assert processes.of("timm", "train") is processes.of("timm", "inference")
    assert started == [OURS, OURS, "timm"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a peak that can be reset")
def test_the_peak_begins_anew() -> None:
    before = memory.resident()
    assert before is not None
    if not memory.reset_peak():
        pytest.skip("this system does not let the peak be reset")
    held = bytearray(64 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    del held
    most = memory.peak()
    assert most is not None
    assert most - before > 50 * 2**20
    memory.resident()
    memory.reset_peak()
    again = memory.peak()
    assert again is not None
    assert again < most


def test_rates_are_flops_over_seconds() -> None:
    assert Product(3, 2, 5, 7, 4).flops == 2 * 3 * 2 * 5 * 7 * 4
    assert rate_of_cube("fp32", 64) > 0


@pytest.mark.parametrize(("slow", "sides"), [(1e9, [16, 64]), (0.0, [16])])
def test_a_product_that_would_take_seconds_is_stood_for_by_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch, slow: float, sides: list[int]
) -> None:
    timed: list[int] = []
    monkeypatch.setattr(limits, "SLOW", slow)
    monkeypatch.setattr(limits, "rate_of_products", lambda products, _: timed.append(products[0].rows) or 1e9)
    assert rate_of_cube("bf16", 64) == 1e9
    assert timed == sides
    assert rate_of_products((Product(2, 4, 4, 4), Product(1, 4, 4, 4, 2)), "bf16") > 0


def test_the_median_of_a_start_leaves_the_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float | None] = iter([100.0, 1.0, 3.0, 2.0, None, None])
    monkeypatch.setattr(startup, "first_training_step", lambda: next(times))
    monkeypatch.setattr(startup, "IMPORTS", ("sys",))
    found = startup.measure_startup(3)
    assert found.first_step == 2
    assert found.imports["sys"] > 0
    assert startup.measure_startup(1).first_step is None
    assert set(Startup(None, 0.1, {"torch": 1.0}, 3).to_dict()) == {"first_step", "python", "imports", "times"}
