"""The optimizer of a spec. In go parameter groups, out comes one `torch.optim.Optimizer`, also where Muon and AdamW share the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vitscope.train.groups import ParameterGroup
from vitscope.train.spec import TrainSpec


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the hidden matrices and AdamW for the rest, as one optimizer: gradient scaling, clipping and schedules see one.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers"; updates scaled to AdamW's size (arXiv 2502.16982, section 2.2).
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.muon, self.adamw = muon, adamw
        super().__init__([p for o in (muon, adamw) for g in o.param_groups for p in g["params"]], {})
        self.param_groups = muon.param_groups + adamw.param_groups

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters; a closure is not supported."""
        assert closure is None
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = self.muon.param_groups + self.adamw.param_groups


def build_optimizer(groups: Sequence[ParameterGroup], spec: TrainSpec) -> torch.optim.Optimizer:
    """The optimizer that a spec names, with weight decay only where a group says so."""

    def settings(chosen: Sequence[ParameterGroup]) -> list[dict[str, Any]]:
        return [
            {"params": list(g.parameters), "weight_decay": spec.weight_decay * g.decays, "role": g.role} for g in chosen
        ]

    rest = [g for g in groups if not g.muon]
    fused = {"fused": _fused_works(groups)}
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            settings(groups), lr=spec.lr, momentum=spec.momentum, nesterov=spec.momentum > 0, **fused
        )
    if spec.optimizer == "adam":
        return torch.optim.Adam(settings(groups), lr=spec.lr, betas=spec.betas, eps=spec.eps, **fused)
    adamw = torch.optim.AdamW(settings(rest), lr=spec.lr, betas=spec.betas, eps=spec.eps, **fused)
    if spec.optimizer == "adamw" or len(rest) == len(groups):
        return adamw
    muon = torch.optim.Muon(
        settings([g for g in groups if g.muon]),
        lr=spec.lr,
        momentum=spec.muon_momentum,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
    )
    return MuonWithAdamW(muon, adamw)


def _fused_works(groups: Sequence[ParameterGroup]) -> bool:
    parameters: list[Tensor] = [p for g in groups for p in g.parameters]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
