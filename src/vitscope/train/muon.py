"""Muon for the hidden matrices and AdamW for the rest, as one optimizer. In go two sets of parameter groups, out comes an optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers"; updates scaled to AdamW's size (arXiv 2502.16982, section 2.2).
"""

from __future__ import annotations

import math
from collections import defaultdict
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


def newton_schulz(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices of the same directions as those given (N r c), all their singular values near one, by a polynomial iteration."""
    a, b, c = coefficients
    is_tall = x.shape[1] > x.shape[2]
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x.mT @ x if is_tall else x @ x.mT
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, gram, beta=a) if is_tall else torch.baddbmm(x, gram, x, beta=a)
    return x


class StackedMuon(torch.optim.Muon):
    """torch's Muon, its state and its numbers, with matrices of one shape moved together (docs/lab-notes.md, 2026-11-25)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all matrices that have a gradient; a closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                moved = newton_schulz(
                    torch.stack([self._direction(m, group["momentum"]) for m in matrices]).bfloat16(),
                    group["ns_coefficients"],
                    group["ns_steps"],
                    group["eps"],
                )
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))  # match_rms_adamw
                torch._foreach_add_(matrices, list(moved.unbind()), alpha=-rate)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """The gradient, leaning to the mean of those before it (Nesterov)."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        return matrix.grad.lerp(state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum), momentum)


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
        self.muon = StackedMuon(groups, lr=lr, momentum=momentum, nesterov=True, adjust_lr_fn="match_rms_adamw")
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
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self.param_groups[: len(self.muon.param_groups)], *self.adamw.param_groups]
