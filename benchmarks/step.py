"""Where a training step goes on this machine: attention and dropout in both forms by length, start of the data, and a profile.

In go nothing but sizes; out comes JSON, for `benchmarks/results/`. It answers three questions that the code took a side on: from how
many tokens does the fused attention pay (`model/attention.py`)? What does the quick dropout save (`model/dropout.py`)? Which operations is a
training step of good-vit made of? All forms are measured in turn within each round; a figure from a busy machine is worth little, so the load
before is part of the result.

    python benchmarks/step.py > step.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import torch
from torch import Tensor, nn

from vitscope import create_model
from vitscope.model.attention import explicit_attention, fused_attention
from vitscope.model.dropout import Dropout
from vitscope.runs import environment

HEADS, HEAD_DIM = 3, 64
TOKENS = (17, 65, 197, 257, 513, 1025)
MAP_NUMBERS = 128 * HEADS * 65**2
"""Numbers in all attention maps of a batch, about: longer sequences come in smaller batches."""
PROFILED_STEPS = 6

Task = Callable[[], object]


def forward_and_backward(function: Callable[..., Tensor], *inputs: Tensor) -> Task:
    def task() -> object:
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = function(*leaves)
        out.backward(torch.ones_like(out))
        return out

    return task


def medians(tasks: dict[str, Task], rounds: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of each task, all of them in turn within a round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            for _ in range(repeats):
                task()
            if round_:
                times[name].append((time.perf_counter() - start) * 1000 / repeats)
    return {name: round(statistics.median(each), 3) for name, each in times.items()}


def attention(rounds: int) -> list[dict[str, Any]]:
    """Forward and backward of attention alone, both paths, by number of tokens."""
    rows: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        for tokens in TOKENS:
            batch = max(1, min(128, MAP_NUMBERS // (HEADS * tokens**2)))
            q, k, v = torch.randn(3, batch, HEADS, tokens, HEAD_DIM, dtype=dtype)
            paths = {"explicit": explicit_attention, "fused": fused_attention}
            tasks = {name: forward_and_backward(path, q, k, v) for name, path in paths.items()}
            ms = medians(tasks, rounds, repeats=3)
            rows.append({"dtype": str(dtype).removeprefix("torch."), "tokens": tokens, "batch": batch, "ms": ms})
    return rows


def dropout(rounds: int) -> dict[str, Any]:
    """Forward and backward of dropout alone, on what the MLP of a batch of good-vit gives to it."""
    x = torch.randn(128, 65, 512, dtype=torch.bfloat16)
    tasks = {"torch": forward_and_backward(nn.Dropout(0.1), x), "vitscope": forward_and_backward(Dropout(0.1), x)}
    return {"shape": list(x.shape), "dtype": "bfloat16", "ms": medians(tasks, rounds, repeats=3)}


def training_step(batch: int) -> Task:
    """A step of good-vit under AdamW with bf16 autocast."""
    model = create_model("good-vit").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))

    def task() -> object:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = model(images)
        nn.functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()
        return scores

    return task


def profile(batch: int) -> list[dict[str, Any]]:
    """Operations by their share of the time of a training step."""
    step = training_step(batch)
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED_STEPS):
            step()
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    by_time = sorted(events, key=lambda event: -event.self_cpu_time_total)[:20]
    return [
        {
            "operation": event.key,
            "share": round(event.self_cpu_time_total / whole, 4),
            "ms_a_step": round(event.self_cpu_time_total / PROFILED_STEPS / 1000, 2),
            "calls_a_step": event.count // PROFILED_STEPS,
        }
        for event in by_time
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds; one more warms up (default: 7)")
    parser.add_argument("--batch", type=int, default=128, help="images in the training step (default: 128)")
    words = parser.parse_args()
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    step_ms = medians({"step": training_step(words.batch)}, words.rounds, repeats=2)["step"]
    facts = environment()
    result = {
        "date": date.today().isoformat(),
        "load_before": round(load, 2),
        "machine": {key: facts.get(key) for key in ("cpu", "cores", "threads", "packages", "git_commit")},
        "step": {"model": "good-vit", "precision": "bf16 autocast", "batch": words.batch, "ms": step_ms},
        "profile": profile(words.batch),
        "attention": attention(words.rounds),
        "dropout": dropout(words.rounds),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
