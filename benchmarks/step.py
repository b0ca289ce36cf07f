"""Where a training step goes on this machine: each choice of the fast path by itself, attention by length, dropout, and a profile.

In go nothing but sizes; out comes JSON, for `benchmarks/results/`. It answers the questions that the code took a side on: from how
many tokens does the fused attention pay (`model/attention.py`)? What do bf16 weights with fp32 masters save (`train/fast.py`), and what
kept memory (`train/memory.py`)? What does the quick dropout save (`model/dropout.py`)? Which operations is a training
step made of? All forms are measured in turn within each round; a figure from a busy machine is worth little, so the load before is part
of the result.

    python benchmarks/step.py > step.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from vitscope import create_model
from vitscope.model.attention import explicit_attention, fused_attention
from vitscope.model.dropout import Dropout
from vitscope.model.last_block import quick_copy
from vitscope.runs import environment
from vitscope.train.master_weights import MasterWeights
from vitscope.train.memory import keep_freed_memory

HEADS, HEAD_DIM = 3, 64
TOKENS = (17, 65, 197, 257, 513, 1025)
MAP_NUMBERS = 128 * HEADS * 65**2
"""Numbers in all attention maps of a batch, about: longer sequences come in smaller batches."""
SETTLING, PROFILED_STEPS = 10, 6
"""Steps before the profile, until the allocator has blocks of all the sizes that a step asks for, and steps in it."""
WAYS = ("fp32", "autocast", "masters", "inference")

Task = Callable[[], object]


def forward(function: Callable[..., Tensor], *inputs: Tensor) -> Task:
    def task() -> object:
        with torch.inference_mode():
            return function(*inputs)

    return task


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
    """Attention alone, both paths, by number of tokens: forward and backward (`ms`), and forward in inference (`inference_ms`)."""
    rows: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        for tokens in TOKENS:
            batch = max(1, min(128, MAP_NUMBERS // (HEADS * tokens**2)))
            q, k, v = torch.randn(3, batch, HEADS, tokens, HEAD_DIM, dtype=dtype)
            paths = {"explicit": explicit_attention, "fused": fused_attention}
            tasks = {name: forward_and_backward(path, q, k, v) for name, path in paths.items()}
            ms = medians(tasks, rounds, repeats=3)
            looks = {name: forward(path, q, k, v) for name, path in paths.items()}
            name = str(dtype).removeprefix("torch.")
            inference = medians(looks, rounds, repeats=3)
            rows.append({"dtype": name, "tokens": tokens, "batch": batch, "ms": ms, "inference_ms": inference})
    return rows


def dropout(rounds: int) -> dict[str, Any]:
    """Forward and backward of dropout alone, on what the MLP of a batch of good-vit gives to it."""
    x = torch.randn(128, 65, 512, dtype=torch.bfloat16)
    tasks = {"torch": forward_and_backward(nn.Dropout(0.1), x), "vitscope": forward_and_backward(Dropout(0.1), x)}
    return {"shape": list(x.shape), "dtype": "bfloat16", "ms": medians(tasks, rounds, repeats=3)}


def training_step(batch: int, way: str) -> Task:
    """A step of the plain ViT of specimen size under AdamW: in `fp32`, under bf16 `autocast`, or with bf16 weights and fp32 `masters`."""
    model = create_model("vit-ti4-32", depth=6, mlp_dim=512, classes=10).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    masters = MasterWeights(model) if way == "masters" else None

    def task() -> object:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=way == "autocast"):
            scores = model(images) if masters is None else masters.worker(images.bfloat16())
        nn.functional.cross_entropy(scores.float(), labels).backward()
        if masters is not None:
            masters.take_gradients()
        optimizer.step()
        if masters is not None:
            masters.hand_out(model)
        return scores

    return task


def inference(batch: int) -> Task:
    """Scores of the same ViT in bf16, the last block for the class token only."""
    model = quick_copy(create_model("vit-ti4-32", depth=6, mlp_dim=512, classes=10).eval(), torch.bfloat16)
    return forward(model, torch.randn(batch, 3, 32, 32, dtype=torch.bfloat16))


def ways_of_a_step(batch: int, rounds: int, memory: str, ways: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds of a step each way and of an inference, in a process whose allocator gives freed memory back or keeps it."""
    if memory != "given back":
        keep_freed_memory()
    tasks = {way: inference(batch) if way == "inference" else training_step(batch, way) for way in ways}
    return {way: medians({way: task}, rounds, repeats=5)[way] for way, task in tasks.items()}


def steps(batch: int, rounds: int, processes: int, ways: tuple[str, ...]) -> list[dict[str, Any]]:
    """The ways of a step by what becomes of freed memory, so many processes each, in turn: pages lie elsewhere in each."""
    found: list[dict[str, Any]] = []
    for _ in range(processes):
        for memory in ("given back", "kept"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                ms = process.submit(ways_of_a_step, batch, rounds, memory, ways).result()
            found.append({"memory": memory, "ms": ms})
    return found


def profile(batch: int, way: str) -> dict[str, Any]:
    """Operations by their share of the time of a training step (the fast way) or of an inference, and the time without the profiler."""
    keep_freed_memory()
    step = inference(batch) if way == "inference" else training_step(batch, way)
    for _ in range(SETTLING):
        step()
    plain = medians({way: step}, rounds=3, repeats=PROFILED_STEPS)[way]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED_STEPS):
            step()
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    by_time = sorted(events, key=lambda event: -event.self_cpu_time_total)[:20]
    rows = [
        {
            "operation": event.key,
            "share": round(event.self_cpu_time_total / whole, 4),
            "ms_a_step": round(event.self_cpu_time_total / PROFILED_STEPS / 1000, 2),
            "calls_a_step": event.count // PROFILED_STEPS,
        }
        for event in by_time
    ]
    return {"ms": plain, "ms_profiled": round(whole / PROFILED_STEPS / 1000, 2), "operations": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds; one more warms up (default: 7)")
    parser.add_argument("--processes", type=int, default=3, help="processes for each choice about memory (default: 3)")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, help="of a step, with each choice about memory"
    )
    parser.add_argument("--steps-only", action="store_true", help="leave out profiles, attention and dropout")
    parser.add_argument("--batch", type=int, default=128, help="images in the training step (default: 128)")
    words = parser.parse_args()
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    facts = environment()
    result = {
        "date": date.today().isoformat(),
        "load_before": round(load, 2),
        "machine": {key: facts.get(key) for key in ("cpu", "cores", "threads", "packages", "git_commit")},
        "batch": words.batch,
        "steps": steps(words.batch, words.rounds, words.processes, tuple(words.ways)),
    }
    if not words.steps_only:
        result |= {
            "profile": {way: profile(words.batch, way) for way in ("masters", "inference")},
            "attention": attention(words.rounds),
            "dropout": dropout(words.rounds),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
