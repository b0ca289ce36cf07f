"""Which parameters decay, and which Muon moves. In goes a model, out come groups that hold every trainable parameter exactly once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

# Positions, class token and registers, by the names that the field gives them.
_TOKENS = re.compile(
    r"(^|[._])(pos|position|cls|class_token|dist_token|reg|registers?)([._]|$)|pos_?emb|position|cls_token|token", re.I
)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that one rule treats alike.

    `role` is `matrices` (decayed), `hidden matrices` (decayed, and moved by Muon) or `rest` (norms, biases, positions, tokens: not decayed).
    """

    role: str
    names: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]
    decays: bool
    muon: bool

    @property
    def numbers(self) -> int:
        """Numbers in all its parameters together."""
        return sum(p.numel() for p in self.parameters)

    def to_dict(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "parameters": len(self.names),
            "numbers": self.numbers,
            "decays": self.decays,
            "muon": self.muon,
        }


def parameter_groups(model: nn.Module, *, muon: bool = False) -> tuple[ParameterGroup, ...]:
    """Sorts every trainable parameter into a group.

    A parameter decays when it is a matrix or a convolution kernel and neither belongs to a norm nor is a position or a token. With `muon`,
    the decaying matrices go to Muon, but for the first and the last (patch embedding and head), as its authors advise.

    Raises:
        ValueError: a parameter would be in no group or in two (asserted complete).
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [name for name, p in named if p.ndim >= 2 and not _TOKENS.search(name) and not _in_norm(name, model)]
    inner = {name for name, p in named if name in set(matrices[1:-1]) and p.ndim == 2} if muon else set()
    table = dict(named)

    def group(role: str, names: list[str], *, decays: bool, by_muon: bool = False) -> ParameterGroup:
        return ParameterGroup(role, tuple(names), tuple(table[n] for n in names), decays, by_muon)

    groups = (
        group("hidden matrices", [n for n in matrices if n in inner], decays=True, by_muon=True),
        group("matrices", [n for n in matrices if n not in inner], decays=True),
        group("rest", [n for n, _ in named if n not in set(matrices)], decays=False),
    )
    placed = [name for g in groups for name in g.names]
    if sorted(placed) != sorted(table):
        raise ValueError(f"parameter groups hold {len(placed)} parameters, the model has {len(table)}")
    return tuple(g for g in groups if g.names)


def _in_norm(name: str, model: nn.Module) -> bool:
    owner = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    return "norm" in type(owner).__name__.lower()
