"""Samples for tests of the bench: a library of one's own, and processes that answer at once with what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from vitscope.bench.plan import LONG
from vitscope.bench.processes import Processes, WorkerFailed
from vitscope.model.spec import ViTSpec

TINY = ViTSpec(image_size=(8, 8), patch_size=(4, 4), dim=16, depth=2, heads=2, mlp_dim=24, classes=3)
GFLOPS = 1e9


class Flat(nn.Module):
    """One matrix; it stands for somebody's library."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.layer = nn.Linear(spec.channels * spec.image_size[0] * spec.image_size[1], spec.classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


class FakeClock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeWorker:
    """Answers like a process; `seconds` gives a step's time from (library, cell, setting), or raises `WorkerFailed`."""

    def __init__(self, fleet: FakeFleet, library: str) -> None:
        self.fleet, self.library = fleet, library
        self.built: dict[str, tuple[dict[str, Any], str]] = {}
        self.warm: set[str] = set()
        self.waiting: list[Mapping[str, Any]] = []

    def send(self, request: Mapping[str, Any]) -> None:
        self.waiting.append(request)

    def receive(self) -> dict[str, Any]:
        request = self.waiting.pop(0)
        self.fleet.log.append((self.library, request["do"], request.get("key")))
        return getattr(self, request["do"])(request)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.fleet.closed += 1

    def hello(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.library in self.fleet.absent:
            raise WorkerFailed(f"ModuleNotFoundError: No module named '{self.library}'")
        return {"version": "1.0", "threads": 2}

    def build(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.built[request["key"]] = (request["cell"], request["setting"])
        self.warm.discard(request["key"])
        seconds = self.fleet.building(request["cell"])
        self.fleet.clock.now += seconds
        if not request.get("warm"):
            return {"setting": request["setting"], "seconds": seconds}
        self.warm.add(request["key"])
        return {"setting": request["setting"], "seconds": seconds * 5}  # five compile at once

    def measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        cell, setting = self.built[request["key"]]
        seconds = self.fleet.seconds(self.library, cell, setting)
        alone = seconds >= LONG and request["key"] in self.warm
        self.warm.add(request["key"])
        self.fleet.clock.now += seconds if alone else seconds + max(seconds, request["slice"])
        return {"seconds": seconds, "first": seconds, "steps": 1, "peak_bytes": 2**20}

    def drop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        for key in request.get("keys") or list(self.built):
            self.built.pop(key, None)
        return {}

    def limits(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.fleet.clock.now += 0.1
        rates = {"fp32": self.fleet.fp32, "bf16": 400 * GFLOPS}
        asked = request.get("precisions", tuple(rates))
        found = {precision: {"cube": rates[precision], "model": rates[precision] / 2} for precision in asked}
        return found if "spec" in request else {**found, "copy": 10 * GFLOPS}


class FakeFleet:
    """All fake processes of a bench, what they were asked in order, and their clock."""

    def __init__(self, seconds: Callable[[str, Mapping[str, Any], str], float], absent: tuple[str, ...] = ()) -> None:
        self.seconds, self.absent = seconds, absent
        self.clock, self.log, self.closed = FakeClock(), list[tuple[str, str, str | None]](), 0
        self.fp32 = 100 * GFLOPS
        """FLOP/s of the fp32 product; those of bf16 are 400 G."""
        self.building: Callable[[Mapping[str, Any]], float] = lambda cell: 0.1
        """Seconds that a cell takes to be built."""
        self.processes = Processes(start=lambda library, threads: FakeWorker(self, library))

    def measured(self) -> list[str]:
        """The libraries whose steps were measured, in order."""
        return [library for library, does, _ in self.log if does == "measure"]
