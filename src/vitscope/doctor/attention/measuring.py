"""One attention with all that it is held against: heads, widths, the axis of its softmax, the constants it is scaled by. In goes a tape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope.doctor.attention.scaling import Scaling, are_alike, scaling_of
from vitscope.doctor.attention.shares import SUM, constant_row_sum, wrong_axis
from vitscope.doctor.attention.shares import Axis as OneAxis
from vitscope.doctor.mixing.experiments import heads_of, width_of
from vitscope.doctor.naming import listed
from vitscope.lens.attention import Attention
from vitscope.lens.tape import Tape

SMALL = 16.5
"""Up to here a whole number is a small one."""
Axis = (
    OneAxis
    | Literal[
        "queries and keys", "rows of others", "one head", "batch", "batch and heads", "batch and windows", "everything"
    ]
)
"""Along what shares sum to one that should along the keys."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One attention, and what it is held against."""

    attention: Attention
    heads: int
    width: int
    axis: Axis | None
    scaling: Scaling

    @property
    def path(self) -> str:
        return self.attention.path or "the model"

    @property
    def head_width(self) -> int:
        return int(self.attention.q.shape[-1])

    @property
    def is_across_channels(self) -> bool:
        """Whether channels attend to channels: then what is summed over is tokens."""
        keys, own = int(self.attention.map.shape[-1]), self.width // self.heads
        return keys == own and self.head_width != own

    @property
    def tokens(self) -> int:
        """How many keys there are."""
        return int(self.attention.map.shape[-1])

    @property
    def spread(self) -> float:
        """The standard deviation of scores within their rows, as they go into the softmax: what the map's logarithms show."""
        logs = self.attention.map.double().log()
        seen = logs.isfinite()
        mean = torch.where(seen, logs, 0.0).sum(dim=-1, keepdim=True) / seen.sum(dim=-1, keepdim=True).clamp(min=1)
        return float(torch.where(seen, logs - mean, 0.0).pow(2).sum().div(seen.sum().clamp(min=1)).sqrt())

    @property
    def widths(self) -> dict[str, int]:
        """What a scale may have been taken of, by name."""
        found = {"head": self.head_width, "width": self.width, "heads": self.heads}
        return {name: number for name, number in found.items() if number > 1}

    @property
    def behind(self) -> float | None:
        """The factor behind the softmax, as the tape has it and the rows show it; None where there is none."""
        behind, rows = self.scaling.behind, constant_row_sum(self.attention.map)
        if self.attention.over_keys or self.axis or behind is None or rows is None:
            return None
        return rows if are_alike(rows, behind) and not are_alike(rows, 1.0) else None

    @property
    def behind_values(self) -> float | None:
        """A power of a width by which the module multiplies map · v, where the scores have no scale."""
        before, factor = self.scaling.before, self.scaling.output
        is_instead = before is not None and are_alike(before, 1.0) and self.head_width > 1
        return factor if is_instead and of_which_width(factor, self) else None


def measure(tape: Tape, attention: Attention) -> Measured:
    """An attention, measured; where heads are computed one by one, the constants are the first one's."""
    part = attention.parts[0] if attention.parts else attention
    heads = heads_of(tape, part) * max(len(attention.parts), 1)
    axis = axis_of(attention.map, heads) if not attention.over_keys else None
    return Measured(attention, heads, width_of(tape, part), axis, scaling_of(tape, attention))


def axis_of(map_: Float[Tensor, "K Tq T"], heads: int) -> Axis | None:
    """Along which axes other than the keys the shares sum to one, also along two or three of them together; None where along none."""
    axis = wrong_axis(map_, heads)
    if axis is not None or min(map_.shape[-2:]) < 2 or not bool((map_ >= 0).all()):
        return axis
    if constant_row_sum(map_) is not None:  # rows alike are a softmax along the keys, and a factor behind it
        return None
    sums = map_.double().sum(dim=(-2, -1))
    together = [sums, *(sums.view(-1, each).sum(dim=1) for each in (heads, len(sums)) if len(sums) % each == 0)]
    is_one = any(float((each - 1).abs().max()) <= SUM for each in together)
    return "queries and keys" if is_one else None


def is_telling(factor: float) -> bool:
    """Whether a factor above zero is no small whole number, nor one over it: those are written for many reasons, and are powers of much."""
    times = max(factor, 1 / factor)
    return times > SMALL or not are_alike(times, round(times))


def of_which_width(factor: float, of: Measured) -> str | None:
    """Of which number a factor is a root, its reciprocal, or that of the number itself."""
    for name, number in of.widths.items():
        if name == "heads" and not is_telling(factor):
            continue
        if any(are_alike(factor, float(number) ** power) for power in (-0.5, 0.5, -1.0, 1.0)):
            return name
    return None


def where(measured: Iterable[Measured]) -> str:
    """The modules of some attentions, in a sentence."""
    return listed(each.path for each in measured)
