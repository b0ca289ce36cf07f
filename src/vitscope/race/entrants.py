"""Who races: a name and what makes the model, untrained, in; what a reader must know of the weights that each seed starts from, out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vitscope._core.text import Text
from vitscope.doctor.examine import as_it_was
from vitscope.race.contest import seed_all

Make = Callable[[], nn.Module]
Opening = Callable[[str], None]
"""Told whose code runs from now on."""


def unheard(who: str) -> None:
    """Where nobody wants to be told."""


Starts = Literal["fresh", "same"]
"""Whether each seed's training begins from weights of its own, or all from the same: then seeds differ in the order of the data alone."""


@dataclass(frozen=True)
class Entrant:
    """One of the two: its name and what makes it, untrained, under torch's current seed."""

    name: str
    make: Make
    starts: Starts = "fresh"


def of_its_starts(name: str, make: Make) -> tuple[Starts, Text | None]:
    """What code starts from at each seed, and what a reader must know of that. A race trains copies, so what the code keeps stays as it is."""
    with as_it_was():
        seed_all(0)
        one = make()
        first = {key: value.clone() for key, value in _numbers(one).items()}
        seed_all(1)
        other = make()
    if one is other:
        return "same", _FINISHED.format(model=name)
    second = _numbers(other)
    if first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first):
        return "same", _ALIKE.format(model=name)
    shared = len(_places(one) & _places(other))
    return "fresh", _SHARED.format(model=name, count=shared) if shared else None


def _numbers(model: nn.Module) -> dict[str, Tensor]:
    """Its parameters and buffers, but for those of lazy layers, which have none yet."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in named if not is_lazy(tensor)}


def _places(model: nn.Module) -> set[int]:
    """Where in memory its numbers stand."""
    return {tensor.untyped_storage().data_ptr() for tensor in _numbers(model).values() if tensor.numel()}


_FINISHED = Text(
    "{model} is a finished module: each seed starts from the weights that it has.",
    "{model}は作成済みのモジュールです。どのシードでも、現在の重みから学習を始めます。",
)
_ALIKE = Text(
    "{model} makes the same weights whatever the seed (it seeds itself, or loads them): each seed starts from these.",
    "{model}はシードを変えても同じ重みを作ります（内部でシードを固定しているか、重みを読み込んでいます）。"
    "どのシードでも、この重みから学習を始めます。",
)
_SHARED = Text(
    "{model} puts the same {count} tensors into every model that it makes: these start from the same values at each seed, "
    "untouched by the trainings before.",
    "{model}は、作るモデルすべてに同じテンソル{count}個を使い回します。この部分はどのシードでも同じ値から始まり、"
    "前の学習の影響は受けません。",
)
