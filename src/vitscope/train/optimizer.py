"""The optimizer of a spec. In go parameter groups, out comes one `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitscope.train.groups import ParameterGroup
from vitscope.train.muon import Muon, MuonWithAdamW
from vitscope.train.spec import TrainSpec


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
    muon = Muon(settings([g for g in groups if g.muon]), lr=spec.lr, momentum=spec.muon_momentum)
    return MuonWithAdamW(muon, adamw)


def _fused_works(groups: Sequence[ParameterGroup]) -> bool:
    parameters: list[Tensor] = [p for g in groups for p in g.parameters]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
