"""A process that measures one library: requests come as lines of JSON on standard input, answers go as lines to standard output.

A process of its own gives each library the settings that it makes itself and none of another's: vitscope tells glibc to keep freed memory,
which would speed its peers up or slow them down just the same. Requests: `hello`, `build`, `measure`, `drop`, `limits`. An answer holds
`error` where a request could not be met; the process goes on.

    python -m vitscope.bench.worker timm --threads 2
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from vitscope.bench import memory
from vitscope.bench.limits import COPIED, CUBE, copy_rate, products_of, rate_of_cube, rate_of_products, repeat
from vitscope.bench.peers import settings_of, version_of
from vitscope.bench.plan import LONG, PRECISIONS, Cell, Mode
from vitscope.bench.tasks import Step, make_step
from vitscope.model.spec import ViTSpec

SETTLING = 8
"""Short steps that are taken before the first that counts, until the allocator has blocks of all the sizes that a step asks for."""
MACHINE = "machine"
"""The worker that measures the machine's own limits."""
TINY = ViTSpec(image_size=(8, 8), patch_size=(4, 4), dim=16, depth=1, heads=2, mlp_dim=16, classes=2)


class Worker:
    """The steps that are built, by key, and how each request is met."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.steps: dict[str, tuple[Step, int]] = {}
        self.warm: set[str] = set()
        """Keys of steps that were taken before, since memory was last given back."""

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request in, one answer out."""
        does: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "hello": self.hello,
            "build": self.build,
            "measure": self.measure,
            "drop": self.drop,
            "limits": self.limits,
        }
        try:
            return does[request["do"]](request)
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            return {"error": f"{type(error).__name__}: {first}"[:300]}

    def hello(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Whether the library is there, and its version. A step of a tiny model takes what a first step alone does out of the figures."""
        facts = {"threads": torch.get_num_threads(), "torch": torch.__version__}
        if self.library == MACHINE:
            return {**facts, "version": None}
        mode: Mode = request["mode"]
        cell = Cell("tiny", self.library, mode, "bf16", False, 2)
        for setting in settings_of(cell):
            make_step(cell, TINY, setting)[0]()
        gc.collect()
        gc.freeze()  # what the library brought along is not looked through again, at a seventh of a second each time
        return {**facts, "version": version_of(self.library)}

    def build(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the step `key` of a cell under a setting; with `warm`, takes one, which compiles it too. Seconds, and the setting."""
        cell, spec = Cell(**request["cell"]), ViTSpec.parse(request["spec"])
        before, start = self.give_back() or 0, time.perf_counter()
        step, setting = make_step(cell, spec, request["setting"])
        self.steps[request["key"]] = (step, before)
        if request.get("warm"):
            step()
            self.warm.add(request["key"])
        return {"setting": setting, "seconds": time.perf_counter() - start}

    def measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A warm-up, then steps until `slice` has passed: seconds a step, and the most memory above what was held before `build`."""
        step, before = self.steps[request["key"]]
        if request.get("with_memory"):
            self.give_back()
        can_reset = bool(request.get("with_memory")) and memory.reset_peak()
        start = time.perf_counter()
        result = step()
        first = time.perf_counter() - start
        if not bool(torch.isfinite(result.detach().float()).all()):
            return {"error": "a step gave numbers that are not finite"}
        del result
        is_warm = request["key"] in self.warm
        counts = first >= LONG and is_warm
        for _ in range(0 if is_warm or first >= LONG else SETTLING):
            step()
        self.warm.add(request["key"])
        seconds, steps = (first, 1) if counts else repeat(step, float(request["slice"]), warm=True)
        most = memory.peak() if can_reset else None
        return {
            "seconds": seconds,
            "steps": steps,
            "first": first,
            "peak_bytes": None if most is None else max(0, most - before),
        }

    def drop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forgets the steps with these keys, or all, and gives their memory back."""
        for key in request.get("keys") or list(self.steps):
            self.steps.pop(key, None)
        self.give_back()
        return {}

    def give_back(self) -> int | None:
        """Gives back all memory that is free, and tells what is held: the next step of each key asks for its own anew, so none is warm."""
        self.warm.clear()
        return memory.resident()

    def limits(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """FLOP/s of the `precisions` at 2048³ and, with a `spec`, at the model's own sizes; bytes a second of a copy."""
        rates: dict[str, Any] = {}
        for precision in request.get("precisions", PRECISIONS):
            rates[precision] = {"cube": rate_of_cube(precision, int(request.get("side", CUBE)))}
            if "spec" in request:
                products = products_of(ViTSpec.parse(request["spec"]), int(request["batch"]), request["mode"])
                rates[precision]["model"] = rate_of_products(products, precision)
        return rates if "spec" in request else {**rates, "copy": copy_rate(int(request.get("copied", COPIED)))}


def serve(worker: Worker, requests: Iterable[str], write: Callable[[str], object]) -> None:
    """Meets requests, a line each, until there are no more."""
    for line in requests:
        write(json.dumps(worker.answer(json.loads(line))) + "\n")


def main() -> None:
    """The process: answers keep standard output to themselves, what libraries print goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library")
    parser.add_argument("--threads", type=int)
    words = parser.parse_args()
    if words.threads is not None:
        torch.set_num_threads(words.threads)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")  # a line at a time
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(Worker(words.library), sys.stdin, answers.write)


if __name__ == "__main__":
    main()
