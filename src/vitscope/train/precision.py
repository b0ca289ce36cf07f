"""Whether this machine's CPU multiplies in bf16 at all, or takes numbers apart to do so. In go settings and a device, out comes the precision to
train in.

Without instructions for it (x86 before AVX-512, most laptops) torch's bf16 products are some forty times as slow as those in fp32.
"""

from __future__ import annotations

import time
from functools import cache

import torch

from vitscope._core.text import Text
from vitscope.train.spec import TrainSpec

TOO_SLOW = 4.0
"""How many times the time of an fp32 product a bf16 one may take: with instructions for it, it takes less than once."""
_ROWS, _INNER, _COLUMNS, _TRIES = 256, 128, 256, 5


def quick_precision(spec: TrainSpec, device: torch.device) -> tuple[TrainSpec, Text | None]:
    """The settings to train with, and what was changed in them: fp32 in the place of bf16 where the CPU is too slow at it and `train.fast` lets
    the machine choose."""
    if not (spec.fast and spec.precision == "bf16" and device.type == "cpu"):
        return spec, None
    times = cost_of_bf16()
    if times <= TOO_SLOW:
        return spec, None
    return spec.model_copy(update={"precision": "fp32"}), Text(
        f"fp32 instead of bf16, whose products take {times:.0f} times as long on this CPU",
        f"bf16の代わりにfp32（このCPUではbf16の行列積に{times:.0f}倍の時間がかかるため）",
    )


@cache
def cost_of_bf16() -> float:
    """How many times as long a small product takes in bf16 as in fp32, each at its best; a tenth of a second at most. In one thread: two wait for
    each other where something else computes, and so small a product then takes as long in either."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _seconds(torch.bfloat16) / _seconds(torch.float32)
    finally:
        torch.set_num_threads(threads)


def _seconds(dtype: torch.dtype) -> float:
    one, other = torch.ones(_ROWS, _INNER, dtype=dtype), torch.ones(_INNER, _COLUMNS, dtype=dtype)
    best = float("inf")
    for _ in range(_TRIES):
        begun = time.perf_counter()
        torch.mm(one, other)
        best = min(best, time.perf_counter() - begun)
    return best
