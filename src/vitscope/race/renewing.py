"""Fresh start values for a module that is given as it is: a module in, what makes copies of it with weights drawn anew out, if that can be."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitscope.doctor.copying import hidden
from vitscope.doctor.examine import as_it_was

SLACK = 5.0
"""Standard errors within which two drawings of one distribution count as alike."""


def renewing(model: nn.Module) -> Callable[[], nn.Module] | None:
    """What gives copies with weights that each layer's own `reset_parameters` has drawn anew.

    None where that would leave a parameter out, or where the weights are not as these draw them: trained, loaded, or initialised in another way,
    which is then a part of what is compared.
    """
    if hidden(model):
        return None

    def make() -> nn.Module:
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.fill_(float("nan"))  # what no layer draws stays so
        for module in reversed(list(twin.modules())):  # parts first, as constructors do it
            _reset(module)
        return twin

    try:
        with as_it_was():
            trial = make()
            return make if _is_so_drawn(model, trial) else None
    except Exception:  # whatever somebody's own reset_parameters does
        return None


def _reset(module: nn.Module) -> None:
    name = "_reset_parameters" if isinstance(module, nn.MultiheadAttention) else "reset_parameters"
    reset = getattr(module, name, None)
    if callable(reset):
        reset()


def _is_so_drawn(model: nn.Module, trial: nn.Module) -> bool:
    """Whether the weights of a model could have been drawn like those of the trial, all of which were."""
    pairs = [(a.detach(), b.detach()) for a, b in zip(model.parameters(), trial.parameters(), strict=True)]
    if not pairs or not all(bool(b.isfinite().all()) for _, b in pairs):
        return False
    copies = [
        len({_digest(pair[side]) for pair in pairs}) for side in (0, 1)
    ]  # of one layer, as nn.TransformerEncoder makes them
    return copies[0] == copies[1] and all(_are_alike(a, b) for a, b in pairs)


def _digest(values: Tensor) -> tuple[object, ...]:
    return (*values.shape, float(values.double().sum()), float(values.double().abs().sum()))


def _are_alike(own: Tensor, drawn: Tensor) -> bool:
    if bool((drawn == drawn.flatten()[0]).all()):
        return torch.equal(own, drawn)
    spreads = float(own.double().std()), float(drawn.double().std())
    slack = SLACK / math.sqrt(own.numel())
    if min(spreads) == 0.0 or abs(math.log(spreads[0] / spreads[1])) > slack:
        return False
    return float(own.abs().max()) <= (1 + slack) * float(drawn.abs().max())
