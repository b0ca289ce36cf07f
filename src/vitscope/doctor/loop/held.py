"""The parameters that both the model has and the optimizer holds: what of their gradients is new, old, or nothing, and which of them moved."""

from __future__ import annotations

import math
import weakref
from statistics import median

import torch
from torch import Tensor, nn

SAMPLE = 8
"""How many parameters are looked at where looking at all would be slow."""
NUMBERS = 64
"""How many numbers of each parameter are kept to see whether it moved."""


class Held:
    """The model's parameters that the optimizer holds, and the state of their gradients."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self._groups = -1
        self._parameters: list[nn.Parameter] = []
        self._old: list[tuple[nn.Parameter, bool]] = []
        self._start: dict[int, tuple[nn.Parameter, Tensor]] = {}
        self._left: list[tuple[nn.Parameter, weakref.ref[Tensor], int]] | None = None
        self._weights: list[tuple[nn.Parameter, Tensor]] = []
        self._gradless: dict[int, tuple[nn.Parameter, int]] = {}
        self._had: set[int] = set()
        self.meet()

    def meet(self) -> None:
        """Keeps some numbers of each parameter that was not there before."""
        for parameter in self.model.parameters():
            if id(parameter) not in self._start:
                self._start[id(parameter)] = parameter, _some(parameter)

    def parameters(self) -> list[nn.Parameter]:
        """All of them that learn; looked up again when the optimizer got a group more."""
        count = sum(len(group["params"]) for group in self.optimizer.param_groups)
        if count != self._groups:
            ours = {id(parameter) for parameter in self.model.parameters()}
            self._parameters = [p for g in self.optimizer.param_groups for p in g["params"] if id(p) in ours]
            self._groups = count
        return [parameter for parameter in self._parameters if parameter.requires_grad]

    def sample(self) -> list[nn.Parameter]:
        """Some of them, from the first to the last."""
        return _spread(self.parameters())

    def remember_weights(self) -> None:
        """A step comes: some numbers of some matrices before it."""
        matrices = _spread([parameter for parameter in self.parameters() if parameter.ndim > 1])
        self._weights = [(parameter, _some(parameter).float()) for parameter in matrices]

    def change(self) -> float | None:
        """By how much of their size these matrices changed since, the median over those that were not zero; None where none was looked at."""
        before, self._weights = [(p, old, float(old.norm())) for p, old in self._weights], []
        shares = [float((_some(p).float() - old).norm()) / size for p, old, size in before if size > 0]
        return median(shares) if shares else None

    def remember(self) -> None:
        """The step is done: the gradients that are there now are old."""
        self._old = [(parameter, has_gradient(parameter)) for parameter in self.sample()]

    def is_old_there(self) -> bool:
        """Whether the gradients of the last step are still in place. To be asked before anything is added to them."""
        had = [parameter for parameter, was_there in self._old if was_there]
        return bool(had) and sum(has_gradient(parameter) for parameter in had) * 2 > len(had)

    def remember_all(self) -> None:
        """The step is done: every gradient that is there now, as it is, is old. None of them is kept alive by that."""
        there = [(p, p.grad) for p in self.parameters() if p.grad is not None and not p.grad.is_sparse]
        self._left = [(p, weakref.ref(gradient), gradient._version) for p, gradient in there]

    def forget_all(self) -> None:
        self._left = None

    def see_all(self, *, is_added: bool) -> None:
        """Lets go of the gradients that were cleared since, and, before anything was added to them, of those that were replaced or changed too."""
        if self._left:
            self._left = [each for each in self._left if (is_added or _is_untouched(*each)) and has_gradient(each[0])]

    def left(self) -> frozenset[int] | None:
        """Which parameters that are moved hold the gradient of the last step still, by identity; None where that was not looked at."""
        if self._left is None:
            return None
        still = {id(p) for group in self.optimizer.param_groups if group.get("lr") == 0 for p in group["params"]}
        return frozenset(id(p) for p, _, _ in self._left if id(p) not in still)

    def see_missing(self, *, is_step: bool) -> None:
        """Which parameters have no gradient yet, and had none before; a step counts that."""
        for parameter in self.parameters():
            if id(parameter) in self._had:
                continue
            if parameter.grad is not None:
                self._had.add(id(parameter))
                self._gradless.pop(id(parameter), None)
            elif is_step:
                self._gradless[id(parameter)] = parameter, self._gradless.get(id(parameter), (parameter, 0))[1] + 1

    def without_gradient(self) -> dict[str, int]:
        """By name: at how many steps a parameter had no gradient that never had one."""
        return {name: self._gradless[id(p)][1] for name, p in self.model.named_parameters() if id(p) in self._gradless}

    def is_some_there(self) -> bool:
        """Whether any of some gradients is there."""
        return any(has_gradient(parameter) for parameter in self.sample())

    def is_empty(self) -> bool:
        """Whether every gradient is missing or exactly zero."""
        return not self.is_some_there() and not any(has_gradient(p) for p in self.parameters())

    def norm_of_some(self) -> float:
        return _norm([parameter.grad for parameter in self.sample() if parameter.grad is not None])

    def norm(self) -> float:
        return _norm([parameter.grad for parameter in self.parameters() if parameter.grad is not None])

    def zeros(self) -> float:
        """The share of exact zeros in the gradients that are there."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None and not p.grad.is_sparse]
        count = sum(gradient.numel() for gradient in gradients)
        return sum(int((gradient == 0).sum()) for gradient in gradients) / max(count, 1)

    def moved(self) -> dict[str, bool]:
        """By name: whether a parameter holds other numbers than when it was first met."""
        start = self._start
        return {
            name: id(parameter) not in start or not _same(start[id(parameter)][1], _some(parameter))
            for name, parameter in self.model.named_parameters()
        }


def _spread(every: list[nn.Parameter]) -> list[nn.Parameter]:
    step = max(1, (len(every) - 1) / max(SAMPLE - 1, 1))
    return [every[round(i * step)] for i in range(min(SAMPLE, len(every)))]


def _is_untouched(parameter: nn.Parameter, gradient: weakref.ref[Tensor], version: int) -> bool:
    """Whether a gradient is the same tensor, and nothing was written into it."""
    now = parameter.grad
    return now is not None and now is gradient() and now._version == version


def has_gradient(parameter: nn.Parameter) -> bool:
    """Whether there is one, other than zero."""
    gradient = parameter.grad
    if gradient is None:
        return False
    if gradient.is_sparse:
        return gradient._nnz() > 0
    return bool((gradient != 0).any())


@torch.no_grad()
def _norm(gradients: list[Tensor]) -> float:
    return math.sqrt(sum(float(gradient.float().norm()) ** 2 for gradient in gradients if not gradient.is_sparse))


@torch.no_grad()
def _some(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // NUMBERS)].clone().cpu()


def _same(before: Tensor, after: Tensor) -> bool:
    return before.shape == after.shape and bool(torch.equal(before, after) or (before.isnan() & after.isnan()).all())
