"""What the machine can do: matrix products at a model's own sizes and at 2048³, and copying memory. Sizes in, rates out.

A model's products are listed in closed form and add up to its FLOPs (`model/size.py`); each different product is timed once and counts as
often as the model does it. FLOPs are two per multiply-add.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitscope.bench.plan import Mode, Precision
from vitscope.model.spec import ViTSpec

if TYPE_CHECKING:
    import torch

CUBE = 2048
SLOW = 2.0
"""Seconds that the product of two such squares may take."""
COPIED = 256 * 2**20
"""Bytes of the tensor that is copied: more than the caches of most machines hold."""


@dataclass(frozen=True)
class Product:
    """`matrices` products of (rows × inner) with (inner × columns) in one call, done `times` times in a forward."""

    matrices: int
    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flops(self) -> int:
        """Of all of them."""
        return 2 * self.matrices * self.rows * self.inner * self.columns * self.times


def products_of(spec: ViTSpec, batch: int, mode: Mode = "inference") -> tuple[Product, ...]:
    """Every matrix product of a step. In training each has two more behind it: towards its input and towards its other factor."""
    T, D, M, E, K, L = spec.tokens, spec.dim, spec.mlp_width, spec.head_dim, spec.heads, spec.depth
    forward = [
        Product(1, batch * spec.patches, spec.patch_dim, D),
        Product(1, batch * T, D, 3 * D, L),
        Product(batch * K, T, E, T, L),
        Product(batch * K, T, T, E, L),
        Product(1, batch * T, D, D, L),
        Product(1, batch * T, D, M, L),
        Product(1, batch * T, M, D, L),
        Product(1, batch, D, spec.classes),
    ]
    if mode == "inference":
        return tuple(forward)
    towards_input = [Product(p.matrices, p.rows, p.columns, p.inner, p.times) for p in forward]
    towards_other = [Product(p.matrices, p.inner, p.rows, p.columns, p.times) for p in forward]
    return (*forward, *towards_input, *towards_other)


def step_flops(flops_per_image: int, batch: int, mode: Mode) -> int:
    """FLOPs of a step in closed form: a backward is twice its forward."""
    return flops_per_image * batch * (3 if mode == "train" else 1)


def rate_of_products(products: tuple[Product, ...], precision: Precision) -> float:
    """FLOP/s of these products one after the other, weighted by what each does."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    seconds = 0.0
    for product in products:
        shape = (product.matrices,) if product.matrices > 1 else ()
        a = torch.ones(*shape, product.rows, product.inner, dtype=dtype)
        b = torch.ones(*shape, product.inner, product.columns, dtype=dtype)
        out = torch.empty(*shape, product.rows, product.columns, dtype=dtype)
        seconds += repeat(_multiplication(a, b, out), 0.01)[0] * product.times
    return sum(product.flops for product in products) / seconds


def rate_of_cube(precision: Precision, side: int = CUBE) -> float:
    """FLOP/s of one product of two square matrices: what the machine can do where everything suits it.

    One that would take seconds, as in bf16 on a CPU without instructions for it, is stood for by one of a quarter of its side.
    """
    small, whole = (Product(1, each, each, each) for each in (max(side // 4, 1), side))
    rate = rate_of_products((small,), precision)
    return rate if whole.flops / rate > SLOW else rate_of_products((whole,), precision)


def copy_rate(size: int = COPIED) -> float:
    """Bytes a second that a copy reads and writes together."""
    import torch

    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * size / repeat(lambda: target.copy_(source), 0.01)[0]


def _multiplication(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
    import torch

    return lambda: torch.matmul(a, b, out=out)


def repeat(task: Callable[[], object], least: float, *, warm: bool = False) -> tuple[float, int]:
    """Seconds of one call, over as many calls as fill `least`, and how many those were; one goes before, unless it is `warm`."""
    if not warm:
        task()
    calls, start = 0, time.perf_counter()
    while True:
        task()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= least:
            return passed / calls, calls
