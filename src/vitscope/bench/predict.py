"""How long a step will take and what it will hold, before it is built: closed form, refined by what was measured already. No torch.

Time is FLOPs over a rate. The rate is that of the nearest cell that was measured, and before any was, the machine's matrix product times
a share that eager code reaches. Both predictions are meant to be on the safe side; they decide what is left out, never what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitscope._core.text import Text
from vitscope.bench.limits import step_flops
from vitscope.bench.plan import OURS, Cell, Mode, Precision
from vitscope.model.size import size_of
from vitscope.model.spec import ViTSpec

REACHED_AT_FIRST = 0.4
"""Of the machine's matrix product, where nothing was measured yet."""
OVERHEAD_SECONDS = 0.0004
"""A block's Python and dispatch in one direction: what a step of one tiny image still costs."""
OPTIMIZER_BYTES = 28
"""Read and written for each parameter by a step of AdamW: weight, gradient, two moments, three of them back."""
COMPILE_SECONDS = 5.0
"""A block of the model and a direction, before one was compiled."""
SHARE_OF_MEMORY = 0.8


@dataclass
class Predictor:
    """What is known of the machine and of the cells so far."""

    products: dict[Precision, float]
    """FLOP/s of the machine's 2048³ product."""
    copy: float
    """Bytes a second of a copy."""
    _measured: dict[Cell, float] = field(default_factory=dict)
    _compiling: dict[tuple[str, Mode], float] = field(default_factory=dict)

    def learn(self, cell: Cell, seconds: float) -> None:
        """A step of this cell took so long."""
        self._measured[cell] = seconds

    def learn_compiling(self, cell: Cell, seconds: float) -> None:
        """This cell was built and compiled in so long."""
        self._compiling[cell.model, cell.mode] = max(seconds, self._compiling.get((cell.model, cell.mode), 0.0))

    def seconds(self, cell: Cell, spec: ViTSpec) -> float:
        """A step of this cell."""
        flops = step_flops(size_of(spec).flops, cell.batch, cell.mode)
        near = self._nearest(cell)
        if near is not None:
            known, took = near
            share = cell.batch / known.batch
            return took * share if share > 1 else took * (0.1 + 0.9 * share)
        fixed = OVERHEAD_SECONDS * spec.depth
        if cell.mode == "train":
            fixed += 2 * OVERHEAD_SECONDS * spec.depth + size_of(spec).parameters * OPTIMIZER_BYTES / self.copy
        return flops / (self.products[cell.precision] * REACHED_AT_FIRST) + fixed

    def _nearest(self, cell: Cell) -> tuple[Cell, float] | None:
        """The measured cell of the same model, mode and precision, of the same library if there is one, that is nearest in batch."""
        alike = [
            (known, took)
            for known, took in self._measured.items()
            if (known.model, known.mode, known.precision) == (cell.model, cell.mode, cell.precision)
        ]
        own = [(known, took) for known, took in alike if known.library == cell.library]
        if not own and alike:  # the slowest of the others
            alike.sort(key=lambda pair: -pair[1] / pair[0].batch)
            return alike[0]
        return min(own, key=lambda pair: abs(pair[0].batch - cell.batch), default=None)

    def compile_seconds(self, cell: Cell, spec: ViTSpec) -> float:
        """Compiling this cell: what the slowest library took for the same, else a guess from the number of blocks."""
        if not cell.compiled:
            return 0.0
        return self._compiling.get(
            (cell.model, cell.mode), COMPILE_SECONDS * spec.depth * (1 + (cell.mode == "train")) / 2
        )


def held_bytes(cell: Cell, spec: ViTSpec) -> int:
    """What stays between two steps: weights, in training gradients and two moments too, and bf16 copies of weights and gradients."""
    parameters = size_of(spec).parameters
    if cell.mode == "inference":
        return parameters * 6
    return parameters * (20 if cell.library == OURS and cell.precision == "bf16" else 16)


def step_bytes(cell: Cell, spec: ViTSpec) -> int:
    """What a step holds at its most: in training the activations of the whole batch, with all maps (`size.py`), else a block's.

    Under bf16 autocast activations are partly fp32, so they are counted as fp32 throughout; what is live for a moment is counted twice.
    """
    T, D, M, K = spec.tokens, spec.dim, spec.mlp_width, spec.heads
    moment = 4 * cell.batch * (2 * T * max(M, 3 * D) + 2 * K * T * T)
    if cell.mode == "inference":
        return moment
    return size_of(spec).activation_bytes_explicit * cell.batch + moment


def fit_together(cells: Sequence[Cell], spec: ViTSpec, available: int | None) -> bool:
    """Whether all these cells can be held while one of them takes a step and another setting of it is tried."""
    most = max(held_bytes(cell, spec) + step_bytes(cell, spec) for cell in cells)
    return available is None or most + sum(held_bytes(cell, spec) for cell in cells) <= SHARE_OF_MEMORY * available


def too_large(cell: Cell, spec: ViTSpec, available: int | None) -> Text | None:
    """Why a cell does not fit the memory, or None."""
    needed = held_bytes(cell, spec) + step_bytes(cell, spec)
    if available is None or needed <= SHARE_OF_MEMORY * available:
        return None
    return Text(
        "needs about {needed:.1f} GiB of memory, and {free:.1f} GiB are free",
        "メモリが約 {needed:.1f} GiB 必要ですが、空きは {free:.1f} GiB です",
    ).format(needed=needed / 2**30, free=available / 2**30)
