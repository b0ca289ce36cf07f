"""Training mode without its noise. In goes a patient, out comes a `Quiet`: a copy that computes as in training, with every dropout off and batch norm
as in evaluation, and that knows which dropouts it would have had."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitscope.doctor.blocks.census import leaves_of, tensors_in
from vitscope.doctor.copying import all_modules, copied, moved, without_reentrant_checkpoints
from vitscope.doctor.patient import CPU, Patient, scores_of
from vitscope.lens.randomness import seed_cpu
from vitscope.model.dropout import Dropout

DROPOUTS = {
    **dict.fromkeys(("dropout", "dropout_", "alpha_dropout", "alpha_dropout_"), True),
    **dict.fromkeys(("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_alpha_dropout"), False),
}
"""torch's functions by name, and whether they drop single numbers rather than whole tokens or channels."""
_FUSED = {"scaled_dot_product_attention": 4, "multi_head_attention_forward": 10}
"""Attentions that drop out themselves, and the place of `dropout_p` among what they are given."""


@dataclass(frozen=True)
class Drop:
    """A dropout that training mode calls."""

    p: float
    path: str
    """The module that calls it."""
    is_attention: bool
    of_numbers: bool
    """Whether it drops single numbers."""


@dataclass(frozen=True)
class Twice:
    """Two dropouts of which the second acts on what the first has given, with nothing done in between."""

    first: str
    second: str
    """The modules that call them."""
    p: float
    """The greater share of the two."""
    together: float
    """The share that both drop."""


@dataclass(eq=False)
class Quiet:
    """A copy of the patient's model, and how it is run."""

    patient: Patient
    model: nn.Module
    drops: dict[tuple[str, float, bool], Drop] = field(default_factory=dict)
    twice: dict[tuple[str, str], Twice] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    draws: bool = False
    """Whether training mode has drawn anything beside its dropouts."""

    def answer(self, images: Tensor, *, seed: int, training: bool = True, loud: bool = False) -> Any:
        """What it gives back, with the graph if gradients are on; with its dropouts, if `loud`."""
        for module in all_modules(self.model):
            module.training = training and not isinstance(module, nn.modules.batchnorm._BatchNorm)
        random.seed(seed)  # layers are skipped by Python's numbers too
        seed_cpu(seed)
        before = random.getstate(), torch.get_rng_state()
        with without_reentrant_checkpoints(), nullcontext() if loud else _Silence(self):
            answer = self.model(images.clone())
        if training and not loud:
            self.draws |= random.getstate() != before[0] or not torch.equal(torch.get_rng_state(), before[1])
        return answer

    def scores(self, images: Tensor, *, seed: int, training: bool = True, loud: bool = False) -> Tensor:
        """The scores in it, without a graph."""
        answer = self.answer(images, seed=seed, training=training, loud=loud)
        return scores_of(answer, len(images), self.patient.classes).detach()

    @torch.enable_grad()
    def learning(self, images: Tensor, *, seed: int, training: bool = True, loud: bool = False) -> tuple[Any, set[str]]:
        """What it gives back, and the parameters that a gradient would reach from there."""
        answer = self.answer(images, seed=seed, training=training, loud=loud)
        leaves = {id(leaf) for leaf in leaves_of(tensors_in(answer))}
        return answer, {name for name, parameter in self.model.named_parameters() if id(parameter) in leaves}


def quiet(patient: Patient) -> Quiet:
    """The copy; of a large model in float32."""
    model = copied(patient.model)
    if patient.is_large:
        model = moved(model, CPU, torch.float32)
    made = Quiet(patient, model)
    for path, module in model.named_modules():
        if isinstance(module, Dropout):
            module.__dict__["forward"] = partial(nn.Dropout.forward, module)  # its own draws otherwise, by the same law
        module.register_forward_pre_hook(lambda *_, path=path: made.running.append(path or "the model"))
        module.register_forward_hook(lambda *_: made.running.pop() and None)
    return made


class _Silence(TorchFunctionMode):
    """What drops by chance lets everything through, and is written down."""

    def __init__(self, quiet: Quiet) -> None:
        super().__init__()
        self.quiet = quiet
        self.gave: dict[int, tuple[Tensor, float, str]] = {}
        """What dropouts gave, each as a view of its own, kept so that no later tensor takes its id."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in DROPOUTS:
            p, training = _given(args, kwargs, 1, "p", 0.5), _given(args, kwargs, 2, "training", True)
            given = args[0] if args else kwargs["input"]
            if not kwargs.get("train", training) or p == 0:
                return given
            self._note(float(p), is_attention=False, of_numbers=DROPOUTS[name])
            return self._followed(given, float(p)) if DROPOUTS[name] and not name.endswith("_") else given
        if name in _FUSED:
            place = _FUSED[name]
            if name != "multi_head_attention_forward" or kwargs.get("training", True):
                self._note(float(_given(args, kwargs, place, "dropout_p", 0.0)), is_attention=True, of_numbers=True)
            if len(args) > place:
                args = (*args[:place], 0.0, *args[place + 1 :])
            else:
                kwargs["dropout_p"] = 0.0
        return func(*args, **kwargs)

    def _followed(self, given: Tensor, p: float) -> Tensor:
        """The same numbers, known again if they are dropped out once more."""
        path, together = self._path(), p
        if id(given) in self.gave:
            _, before, first = self.gave[id(given)]
            together = 1 - (1 - before) * (1 - p)
            self.quiet.twice.setdefault((first, path), Twice(first, path, max(before, p), together))
        shown = given.view_as(given)
        self.gave[id(shown)] = (shown, together, path)
        return shown

    def _path(self) -> str:
        return self.quiet.running[-1] if self.quiet.running else "the model"

    def _note(self, p: float, *, is_attention: bool, of_numbers: bool) -> None:
        path = self._path()
        if p > 0:
            self.quiet.drops.setdefault((path, p, is_attention), Drop(p, path, is_attention, of_numbers))


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def only_tensor(answer: Any) -> bool:
    """Whether a model gave back one tensor and nothing beside it, such as another head's scores or the partners of a mixture."""
    found: Iterator[Tensor] = tensors_in(answer)
    return next(found, None) is not None and next(found, None) is None
