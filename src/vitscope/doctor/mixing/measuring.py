"""One attention with all that it is held against: heads, widths, the axis of its softmax, the constants it is scaled by. In goes a tape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vitscope.doctor.mixing.experiments import heads_of, listed, width_of
from vitscope.doctor.mixing.scaling import Scaling, are_alike, scaling_of
from vitscope.doctor.mixing.shares import Axis, constant_row_sum, wrong_axis
from vitscope.lens.attention import Attention
from vitscope.lens.tape import Tape


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
    axis = wrong_axis(attention.map, heads) if not attention.over_keys else None
    return Measured(attention, heads, width_of(tape, part), axis, scaling_of(tape, attention))


def of_which_width(factor: float, of: Measured) -> str | None:
    """Of which number a factor is a root, its reciprocal, or that of the number itself."""
    for name, number in of.widths.items():
        if any(are_alike(factor, float(number) ** power) for power in (-0.5, 0.5, -1.0, 1.0)):
            return name
    return None


def where(measured: Iterable[Measured]) -> str:
    """The modules of some attentions, in a sentence."""
    return listed(each.path for each in measured)
