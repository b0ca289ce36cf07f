"""What was seen of a training loop. In go events, in the order in which they happen; checks read them when the loop is over.

Shapes: scores B Y. Nothing in here computes anything of the user's, or holds a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mode
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.doctor.loop.made import Making
from vitscope.doctor.loop.passes import Pass, Phase, Validated

MOST = 20_000
"""How many events of one kind are kept; a longer loop is judged by its beginning."""


@dataclass(eq=False)
class Forward:
    """One call of the model."""

    training: bool
    grad: bool
    """Whether gradients were switched on."""
    phase: Phase | None
    batch: int | None
    precision: torch.dtype | None
    """Of autocast, where that was on; of the scores, where they are in half precision."""
    drawn: Phase | None = None
    """Which loader had just given a batch. That the model was called with it is likely, but not sure."""
    estimates: bool = False
    """Whether batch norms average over all batches, as they do only where their statistics are estimated anew (`update_bn`)."""
    form: str | None = None
    """What its scores look like, where that was looked at: `probabilities`, `sigmoid`, `scores`."""
    reaches: bool = False
    """Whether a gradient came back to its scores."""
    step: int = 0
    """How many optimizer steps there were before."""


@dataclass(eq=False)
class Backward:
    """One call of `loss.backward()`."""

    loss: Tensor | None
    """Its value before any loss scaling; None where it is no single number."""
    scaled: bool
    """Whether a GradScaler multiplied it."""
    norm: float | None
    """Of the gradients of some parameters afterwards, where looked at."""
    step: int
    arrived: bool = False
    """Whether any parameter that the optimizer holds has a gradient afterwards."""
    thrown: bool = False
    """Whether its gradients were cleared before a step, or a GradScaler skipped that step."""


@dataclass(eq=False)
class Step:
    """One step of the optimizer."""

    lrs: tuple[float, ...]
    closure: bool
    training: bool | None
    """The model's mode in the last forward before whose scores a gradient reached."""
    phase: Phase | None
    """Where the batch of that forward came from."""
    backwards: int
    """Since the last step."""
    batches: int
    """That the loader gave since the last step."""
    is_first: bool = False
    """Whether the training loader was begun anew since the last step."""
    stale: bool = False
    """The gradients still hold those of the step before."""
    left: frozenset[int] | None = None
    """The parameters, by identity, whose gradients were not cleared since the step before, where looked at."""
    leaked: bool = False
    """The gradients hold that of a batch of the validation loader too, from a backward before."""
    empty: bool = False
    """Every gradient is missing or exactly zero."""
    cleared: bool = False
    """`zero_grad` was called between the last backward and the step."""
    thrown: int = 0
    """How often gradients were cleared after a backward, without a step."""
    norm: float | None = None
    """Of all gradients that the optimizer holds, where looked at."""
    shrunk: float | None = None
    """Norm of some gradients at the step, beside that behind the backward without the scale of a GradScaler, where looked at."""
    zeros: float | None = None
    """Share of the numbers in the gradients that are exactly zero, where looked at."""
    later: tuple[float, float] | None = None
    """The norm of all gradients right behind it, and when they were cleared or added to, where looked at and still there."""
    change: float | None = None
    """By how much of their size it changed the model's matrices, the median over them, where looked at."""


@dataclass(frozen=True)
class LossFit:
    """What the gradient of one batch's scores says about the loss: that it is a cross-entropy, and of which size."""

    is_cross_entropy: bool
    size: float
    """Beside the mean over the batch: 1 is a mean, 1/B one that was divided twice, B a sum."""
    smoothing: float
    batch: int
    scaled: bool
    entropy: float = float("nan")
    """The plain cross-entropy of the scores with the labels, whatever the loss is."""
    step: int = 0
    """How many optimizer steps there were before."""
    is_told: bool = True
    """Whether the labels are the loader's or the loss's, and not read from the gradient."""
    is_of_softmax: bool = False
    """Whether it is the cross-entropy of a softmax of the scores, as if that were scores."""
    is_of_raw_scores: bool = False
    """Whether it is the mean of the labels' scores with a minus, which a negative log-likelihood makes of what is no logarithm of probabilities."""
    misfit: str = ""
    """Which loss was given what it does not take (`misfits`)."""
    is_placed: bool = False
    """Whether its images are known to be a batch of the training loader."""
    is_negated: bool = False
    """Whether it is a cross-entropy with a minus in front."""

    @property
    def is_known(self) -> bool:
        """Whether the gradient tells what the loss is."""
        ways = (self.is_cross_entropy, self.is_of_softmax, self.is_of_raw_scores, self.is_negated)
        return any(ways) or self.misfit not in ("", "unclear")


@dataclass(frozen=True)
class Probe:
    """One batch through a copy of the model as it stood at a step, without and with what only training does (dropout)."""

    step: int
    quiet: Tensor
    loud: Tensor
    labels: Tensor | None
    behind: frozenset[str] | None = None
    """The parameters that the scores were computed from, where that could be followed."""

    @property
    def is_one_shape(self) -> bool:
        """Whether both modes give scores of one shape: a model may give features in one and scores in the other."""
        return self.quiet.shape == self.loud.shape[1:]

    @property
    def differs(self) -> bool:
        """Whether the mode changes anything."""
        if not self.is_one_shape:
            return True
        return float((self.quiet - self.loud).abs().max()) > 1e-5 * (1 + float(self.quiet.abs().max()))


@dataclass(eq=False)
class Record:
    """All that was seen."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: Any
    val_loader: Any
    loss_fn: Any
    scheduler: Any
    forwards: list[Forward] = field(default_factory=list)
    backwards: list[Backward] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    scheduler_steps: list[int] = field(default_factory=list)
    """How many optimizer steps there had been at each."""
    fits: list[LossFit] = field(default_factory=list)
    makings: list[Making] = field(default_factory=list)
    """What the losses that were looked at were made of."""
    labels_used: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Of batches of the training loader whose loss is a cross-entropy: its labels, and those of that loss."""
    reordered: int = 0
    """In how many of them the images went through the model in another order, in which these labels are."""
    validated: list[Validated] = field(default_factory=list)
    """Batches of the validation loader that went through the model without gradients."""
    probes: list[Probe] = field(default_factory=list)
    classes: int | None = None
    saw_scaler: bool = False
    scaler_skips: int = 0
    cleared: int = 0
    """How often `zero_grad` was called."""
    cut_losses: int = 0
    """Backwards of a loss that depends on nothing."""
    loss_saw_scores: bool = False
    """Whether the loss module was given the model's scores themselves."""
    loss_forms: list[str] = field(default_factory=list)
    """What the first argument of the loss module looked like where it was not the model's scores themselves."""
    loss_saw_labels: bool = False
    """Whether it was given the labels that the loader gave."""
    early_scheduler_steps: list[int] = field(default_factory=list)
    """Steps of the scheduler before the first optimizer step, without being told which epoch it is: how many backwards there had been at each."""
    unwatched: list[str] = field(default_factory=list)
    """What could not be watched, and what went wrong in watching."""
    moved: Mapping[str, bool] = field(default_factory=dict)
    """By the names of the model's parameters: whether the block changed it."""
    arrived: set[str] = field(default_factory=set)
    """Names of the parameters that had a gradient other than zero at some step."""
    without_gradient: Mapping[str, int] = field(default_factory=dict)
    """Names of the parameters that the optimizer holds and that never had a gradient: at how many steps they could have had one."""

    @property
    def saw_anything(self) -> bool:
        """Whether anything of a loop happened: a call of the model, a backward, a step."""
        return bool(self.forwards or self.backwards or self.cut_losses or self.steps or self.scaler_skips)

    @property
    def uses_closure(self) -> bool:
        return any(step.closure for step in self.steps)

    @property
    def period(self) -> int:
        """How many backwards go into one step, most of the time."""
        counts = [step.backwards for step in self.steps if step.backwards]
        return mode(counts) if counts else 1

    @property
    def rates(self) -> list[float]:
        """The largest learning rate at each step; empty where the optimizer does not tell it."""
        return [max(step.lrs) for step in self.steps] if all(step.lrs for step in self.steps) else []

    @property
    def losses(self) -> tuple[float, ...]:
        """Of all backwards."""
        return tuple(float(b.loss) for b in self.backwards if b.loss is not None)

    @property
    def names(self) -> dict[int, str]:
        """The model's parameters by identity."""
        return {id(parameter): name for name, parameter in self.model.named_parameters()}

    @property
    def held(self) -> set[str]:
        """Names of the model's parameters that the optimizer holds."""
        names = self.names
        return {names[id(p)] for g in self.optimizer.param_groups for p in g["params"] if id(p) in names}

    @property
    def epoch(self) -> int | None:
        """How many batches the training loader gives in one pass, if that is known."""
        whole = [each.batches for each in self.passes if each.phase == "train" and each.exhausted]
        if whole:
            return whole[-1]
        try:
            return len(self.loader)
        except (TypeError, AttributeError, NotImplementedError):
            return None

    @property
    def steps_per_epoch(self) -> int | None:
        """How many optimizer steps one pass through the training loader takes, if that is known."""
        return None if self.epoch is None else -(-self.epoch // max(self.period, 1))

    @property
    def mode_matters(self) -> bool | None:
        """Whether training and evaluation mode differ at all; None where that could not be tried."""
        return any(probe.differs for probe in self.probes) if self.probes else None

    @property
    def is_stepped_per_epoch(self) -> bool:
        """Whether the scheduler steps, and once in a whole epoch of several batches."""
        times, through = len(self.scheduler_steps), sum(each.exhausted for each in self.train_passes())
        return 0 < times <= through + 1 and times < 0.3 * len(self.steps)

    def train_passes(self) -> list[Pass]:
        return [each for each in self.passes if each.phase == "train" and each.batches]
