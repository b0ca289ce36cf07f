"""Mending what the doctor found, where it knows how, in a copy: a model and a finding in, the mended model and a sentence on what was done out.

A mend changes nothing but what the finding names: the weights and everything else stay as they are, so a race of the two tells what the fault costs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding


@dataclass(frozen=True, eq=False)
class Mended:
    """A model without a fault, and what was done to it."""

    model: nn.Module
    done: Text


def mended(model: nn.Module, finding: Finding) -> Mended | None:
    """A copy of the model without this fault; None where the doctor knows no mend, or it would change nothing."""
    mend = _MENDS.get(finding.id)
    if mend is None:
        return None
    twin = copy.deepcopy(model)
    done = mend(twin, finding)
    return None if done is None else Mended(twin, done)


def can_mend(finding: Finding) -> bool:
    """Whether there is a mend for such a fault at all."""
    return finding.id in _MENDS


def _batch_first(model: nn.Module, finding: Finding) -> Text | None:
    """`batch_first=True` for every torch attention that lacks it and that the finding names."""
    named = [str(path) for path in finding.evidence.get("attentions_across_the_batch", ())]
    changed = 0
    for path, module in model.named_modules():
        if (
            isinstance(module, nn.MultiheadAttention)
            and not module.batch_first
            and (not named or _is_named(path, named))
        ):
            module.batch_first = True
            changed += 1
    if not changed:
        return None
    return Text(
        f"batch_first=True for {changed} nn.MultiheadAttention; no weight was touched",
        f"nn.MultiheadAttention {changed}個をbatch_first=Trueにしました。重みには触れていません",
    )


def _is_named(path: str, named: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") or name.startswith(path) for name in named)


class _Same(nn.Module):
    """What goes in comes out."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _scores_as_they_are(model: nn.Module, finding: Finding) -> Text | None:
    """Takes a softmax, sigmoid, tanh or ReLU module out of the end of the model."""
    ends = [
        (path, m) for path, m in model.named_modules() if isinstance(m, nn.Softmax | nn.Sigmoid | nn.Tanh | nn.ReLU)
    ]
    if not ends:
        return None
    path, module = ends[-1]
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, _Same())
    kind = type(module).__name__
    return Text(f"nn.{kind} at {path} was taken out", f"{path}のnn.{kind}を取り除きました")


def _position_added(model: nn.Module, finding: Finding) -> Text | None:
    """Adds a table that is held and never added to what the first block is given."""
    name = finding.evidence.get("never_added")
    blocks = next(
        (m for m in model.modules() if isinstance(m, nn.ModuleList | nn.Sequential) and len(m) > 1 and _are_alike(m)),
        None,
    )
    if not isinstance(name, str) or blocks is None:
        return None
    blocks[0].register_forward_pre_hook(_AddTable(model.get_parameter(name)))
    return Text(
        f"{name} is added to the tokens before the first block", f"{name}を最初のブロックの前でトークンに足しました"
    )


class _AddTable:
    """A hook that adds a table; an object, so that a copy of the module gets one with its own table."""

    def __init__(self, table: nn.Parameter) -> None:
        self.table = table

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        tokens = given[0]
        if tokens.shape[-1] != self.table.shape[-1] or tokens.shape[1] > self.table.shape[-2]:
            return None
        return (tokens + self.table.reshape(1, *self.table.shape[-2:])[:, : tokens.shape[1]], *given[1:])


def _are_alike(modules: nn.ModuleList | nn.Sequential) -> bool:
    return len({type(module) for module in modules}) == 1 and any(True for _ in modules[0].parameters())


_MENDS: dict[str, Callable[[nn.Module, Finding], Text | None]] = {
    "class-token-never-sees-a-patch": _batch_first,
    "attention-across-the-batch": _batch_first,
    "position-blind": _position_added,
}
"""By the id of the fault."""


def same_but_for(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models hold the same numbers under the same names."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
