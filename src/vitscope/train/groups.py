"""Which parameters decay, and which Muon moves. In goes a model, out come groups that hold every trainable parameter exactly once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

# Positions, class token and registers, by the names that the field gives them.
_TOKENS = re.compile(r"(^|[._])(pos|cls|registers?)([._]|$)|pos_?emb|position|token", re.I)
_LAYERS = (nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
"""Their weights are matrices whatever they are called: `mlp_tokens`, `to_token`, `decomposition`."""


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

    A parameter decays when it is a matrix or a convolution kernel and neither belongs to a norm nor is a position or a token; what is as
    long in one direction only (LayerScale as 1×1×D, a temperature for each head) is no matrix. With `muon`, the decaying matrices and
    kernels go to Muon, but for embeddings and for the model's first and last (patch embedding and head, frozen or not), as its authors
    advise.

    Raises:
        ValueError: a parameter would be in no group or in two (asserted complete).
    """
    every = dict(model.named_parameters())
    table = {name: p for name, p in every.items() if p.requires_grad}
    matrices = [name for name, p in every.items() if _is_matrix(name, p, model)]
    inner = {name for name in matrices[1:-1] if muon and _is_for_muon(every[name], _owner(name, model))}
    matrices = [name for name in matrices if name in table]

    def group(role: str, names: list[str], *, decays: bool, by_muon: bool = False) -> ParameterGroup:
        return ParameterGroup(role, tuple(names), tuple(table[n] for n in names), decays, by_muon)

    groups = (
        group("hidden matrices", [n for n in matrices if n in inner], decays=True, by_muon=True),
        group("matrices", [n for n in matrices if n not in inner], decays=True),
        group("rest", [n for n in table if n not in set(matrices)], decays=False),
    )
    placed = [id(p) for g in groups for p in g.parameters]
    there = {id(p) for p in model.parameters() if p.requires_grad}
    if len(placed) != len(there) or set(placed) != there:
        raise ValueError(f"parameter groups hold {len(placed)} parameters, the model has {len(there)}")
    return tuple(g for g in groups if g.names)


def _is_for_muon(parameter: nn.Parameter, owner: nn.Module) -> bool:
    """A matrix of real numbers, or the kernel of an undivided convolution over more than one channel, which as a view is a matrix too."""
    is_kernel = parameter.ndim == 4 and parameter.shape[1] > 1 and getattr(owner, "groups", 1) == 1
    is_real = parameter.is_floating_point() and parameter.numel() > 0 and parameter.is_contiguous()
    return is_real and (parameter.ndim == 2 or is_kernel) and not isinstance(owner, nn.Embedding)


def _owner(name: str, model: nn.Module) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _is_matrix(name: str, parameter: nn.Parameter, model: nn.Module) -> bool:
    owner = _owner(name, model)
    if parameter.ndim < 2 or "norm" in type(owner).__name__.lower():
        return False
    if isinstance(owner, _LAYERS):
        return True
    return sum(length > 1 for length in parameter.shape) >= 2 and not _TOKENS.search(name)
