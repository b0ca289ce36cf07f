"""Muon for the hidden matrices and AdamW for the rest, as one optimizer. In go two sets of parameter groups, out comes an optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers"; updates scaled to AdamW's size (arXiv 2502.16982, section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def matrices_of(parameter: Tensor) -> list[Tensor]:
    """The matrices that a parameter holds: a kernel (O I h w) is one of O × (I h w); queries, keys and values packed as 3D × D are three.

    Names differ from library to library, so the shape decides: a layer that happens to be 3D × D is moved as three matrices too.
    """
    matrix = parameter.reshape(len(parameter), -1)
    rows, columns = matrix.shape
    return list(matrix.chunk(3)) if parameter.ndim == 2 and rows == 3 * columns else [matrix]


class MuonWithAdamW(torch.optim.Optimizer):
    """Both behind one face: gradient scaling, clipping and schedules see the model's own parameters in `param_groups`."""

    def __init__(
        self, muon_groups: Sequence[dict[str, Any]], adamw: torch.optim.AdamW, *, lr: float, momentum: float
    ) -> None:
        self.adamw = adamw
        hidden = [p for group in muon_groups for p in group["params"]]
        super().__init__([*hidden, *(p for group in adamw.param_groups for p in group["params"])], {})
        assert all(p.is_contiguous() for p in hidden)  # else the matrices would be copies, see groups.py
        self.views = {p: [nn.Parameter(m) for m in matrices_of(p.detach())] for p in hidden}
        groups = [{**group, "params": [v for p in group["params"] for v in self.views[p]]} for group in muon_groups]
        self.muon = torch.optim.Muon(groups, lr=lr, momentum=momentum, nesterov=True, adjust_lr_fn="match_rms_adamw")
        self.param_groups = [*({"lr": lr, **group} for group in muon_groups), *adamw.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters; a closure is not supported."""
        assert closure is None
        for inner, outer in zip(self.muon.param_groups, self.param_groups, strict=False):
            inner["lr"] = outer["lr"]
        for parameter, views in self.views.items():
            gradients = [None] * len(views) if parameter.grad is None else matrices_of(parameter.grad)
            for view, gradient in zip(views, gradients, strict=True):
                view.grad = gradient
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self.param_groups[: len(self.muon.param_groups)], *self.adamw.param_groups]
