"""Muon for the hidden matrices and AdamW for the rest, as one optimizer. In go two sets of parameter groups, out comes an optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers"; updates scaled to AdamW's size (arXiv 2502.16982, section 2.2).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS, STEPS, EPS = (3.4445, -4.7750, 2.0315), 5, 1e-7
"""Of the Newton-Schulz iteration, as in Jordan's code and torch's."""


def matrices_of(parameter: Tensor) -> list[Tensor]:
    """The matrices that a parameter holds, as views: a kernel (O I h w) is one of O × (I h w); queries, keys and values packed as 3D × D
    are three.

    Names differ from library to library, so the shape decides: a layer that happens to be 3D × D is moved as three matrices too.
    """
    matrix = parameter.view(len(parameter), -1)
    rows, columns = matrix.shape
    return list(matrix.chunk(3)) if parameter.ndim == 2 and rows == 3 * columns else [matrix]


def newton_schulz(x: Tensor) -> Tensor:
    """Matrices of the same directions as those given (N r c), all their singular values near one, by a polynomial iteration."""
    a, b, c = COEFFICIENTS
    is_tall = x.shape[1] > x.shape[2]
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(STEPS):
        gram = x.mT @ x if is_tall else x @ x.mT
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, gram, beta=a) if is_tall else torch.baddbmm(x, gram, x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """torch's Muon (`nesterov`, `match_rms_adamw`), which takes matrices only and one by one: here kernels and packed projections are
    taken too, and matrices of one shape are moved together (docs/lab-notes.md, 2026-11-25)."""

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient; a closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            alike: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in moved:
                direction = self._direction(parameter, group["momentum"])
                for matrix, towards in zip(matrices_of(parameter), matrices_of(direction), strict=True):
                    alike[matrix.shape].append((matrix, towards))
            if moved:
                torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            for shape, pairs in alike.items():
                step = newton_schulz(torch.stack([towards for _, towards in pairs]).bfloat16())
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_add_([matrix for matrix, _ in pairs], list(step.unbind()), alpha=-rate)

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """The gradient, leaning to the mean of those before it (Nesterov)."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return gradient.lerp(state["momentum_buffer"].lerp_(gradient, 1 - momentum), momentum).contiguous()


class MuonWithAdamW(torch.optim.Optimizer):
    """Both behind one face: gradient scaling, clipping and schedules see all groups in `param_groups`, which the two share."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.muon, self.adamw = muon, adamw
        super().__init__([p for o in (muon, adamw) for group in o.param_groups for p in group["params"]], {})
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters; a closure is not supported."""
        assert closure is None
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return {"muon": self.muon, "adamw": self.adamw, **super().__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]
