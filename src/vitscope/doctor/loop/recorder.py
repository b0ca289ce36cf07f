"""What happens in somebody's training loop, noted down while it happens. In go the things that the user trains with, out comes a `Record`.

It hooks and wraps, and changes nothing: the results of all calls are the user's own, no random number is drawn, no gradient touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope.doctor.loop.batches import labels_of, size_of
from vitscope.doctor.loop.fit import fitted, form_of
from vitscope.doctor.loop.held import Held, has_gradient
from vitscope.doctor.loop.patching import Hook, Told, patch
from vitscope.doctor.loop.probe import AT, probed
from vitscope.doctor.loop.record import MOST, Backward, Forward, Pass, Phase, Record, Step
from vitscope.doctor.patient import scores_of

LABELED_BATCHES = 100
"""Of how many batches of a pass the labels are kept."""


def looks(number: int) -> bool:
    """Whether something that costs is done at an event: at the first ones, then seldom."""
    return number < 30 or (number < 1000 and number % 25 == 0)


class Recorder:
    """Notes down one loop."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.held = Held(record.model, record.optimizer)
        self._undo = ExitStack()
        self._depth: set[str] = set()
        self._last: Forward | None = None
        self._call: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
        self._drawn: Phase | None = None
        self._is_new = False
        self._labels: Tensor | None = None
        self._target: Tensor | None = None
        self._scores: Tensor | None = None
        self._scale = 1.0
        self._pending: Tensor | None = None
        self._since = Step((), False, None, None, 0, 0)
        self._behind: float | None = None
        self._old = False
        self._fresh = False  # whether a gradient came since they were last cleared

    # beginning and end

    def start(self) -> None:
        """From now on everything is seen."""
        record = self.record
        optimizer, enter = record.optimizer, self._undo.callback
        enter(record.model.register_forward_hook(Hook(self._forward), with_kwargs=True).remove)
        enter(optimizer.register_step_pre_hook(Hook(self._before_step)).remove)
        enter(optimizer.register_step_post_hook(Hook(self._after_step)).remove)
        if isinstance(record.loss_fn, nn.Module):
            enter(record.loss_fn.register_forward_hook(Hook(self._loss), with_kwargs=True).remove)
        patch(self._undo, torch.Tensor, "backward", self._around_backward)
        patch(self._undo, torch.amp.GradScaler, "scale", self._around_scale)
        patch(self._undo, torch.amp.GradScaler, "step", self._around_scaler_step)
        patch(self._undo, nn.Module, "zero_grad", self._around_zero)
        for owner in {torch.optim.Optimizer, next(c for c in type(optimizer).__mro__ if "zero_grad" in vars(c))}:
            patch(self._undo, owner, "zero_grad", self._around_zero)
        if record.scheduler is not None:
            self._try_patch(record.scheduler, "step", self._around_scheduler)
        loaders: list[tuple[Any, Phase]] = [(record.loader, "train"), (record.val_loader, "val")]
        for loader, phase in loaders:
            if loader is not None and not (phase == "val" and loader is record.loader):
                self._try_patch(loader, "__iter__", partial(self._around_iter, loader, phase))

    def stop(self) -> None:
        """All hooks and wrappers are gone, and what moved is known."""
        self._undo.close()
        self.refresh()
        self._scores = self._labels = self._target = self._pending = None
        self._call = None

    def refresh(self) -> None:
        """Looks up what moved so far."""
        self.record.moved = self.held.moved()

    def _try_patch(self, thing: Any, name: str, around: Callable[..., Any]) -> None:
        try:
            patch(self._undo, type(thing), name, around)
        except (TypeError, AttributeError):
            self.record.unwatched.append(f"{type(thing).__name__}.{name}")

    # forwards

    def _forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> None:
        record = self.record
        if module is not record.model or len(record.forwards) >= MOST:
            return
        count = next((size_of(each) for each in (*args, *kwargs.values()) if size_of(each) is not None), None)
        phase = self._drawn if self._is_new or self._drawn == "val" else None
        device = next((p.device.type for p in module.parameters()), "cpu")
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        seen = Forward(module.training, torch.is_grad_enabled(), phase, count, precision, step=len(record.steps))
        self._is_new = False
        record.forwards.append(seen)
        scores = None
        try:
            scores = scores_of(answer, count or 0)
        except ModelError:
            scores = next((x for x in _tensors(answer) if x.requires_grad), None)
        if scores is None or not scores.is_floating_point():
            return
        if scores.ndim == 2 and len(scores) == count:
            record.classes = int(scores.shape[1])
            if looks(len(record.forwards)):
                seen.form = form_of(scores)
        if scores.requires_grad and seen.grad:
            self._last, self._scores, self._call = seen, scores.detach(), (args, kwargs)
            scores.register_hook(partial(self._came_back, seen))  # type: ignore[no-untyped-call]

    def _came_back(self, seen: Forward, gradient: Tensor) -> None:
        """A gradient reaches the scores; none has been added to any parameter before them yet."""
        record = self.record
        self._see_gradients()
        seen.reaches = True
        scores, labels = self._scores, self._target if self._target is not None else self._labels
        if seen is not self._last or scores is None or labels is None or gradient.shape != scores.shape:
            return
        if scores.ndim == 2 and looks(len(record.fits)):
            fit = fitted(scores, gradient, labels, scale=self._scale)
            record.fits += [] if fit is None else [fit]

    def _loss(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], loss: Any) -> None:
        """The user's loss module was called."""
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        scores = self._scores
        if scores is None:
            return
        for each in given:
            if each.is_floating_point() and each.data_ptr() == scores.data_ptr() and each.shape == scores.shape:
                self.record.loss_saw_scores = True
            elif each.ndim == 1 and not each.is_floating_point() and len(each) == len(scores):
                self._target = each.detach()

    # backwards

    def _around_backward(self, original: Callable[..., Any], loss: Tensor, *args: Any, **kwargs: Any) -> Any:
        if "backward" in self._depth or not isinstance(loss, Tensor):
            return original(loss, *args, **kwargs)
        record = self.record
        self._see_gradients()
        value = self._pending if self._pending is not None else loss.detach() if loss.numel() == 1 else None
        scaled, self._pending = self._pending is not None, None
        if not loss.requires_grad:
            record.cut_losses += 1
        self._depth.add("backward")
        try:
            return original(loss, *args, **kwargs)
        finally:
            self._depth.discard("backward")
            self._scale = 1.0
            self._since.backwards += 1
            self._since.cleared, self._fresh, self._target = False, True, None
            if loss.requires_grad and len(record.backwards) < MOST:
                self._behind = self.held.norm_of_some() if looks(len(record.backwards)) else None
                arrived = any(p.grad is not None for p in self.held.parameters())
                value = None if value is None else value.detach().clone()
                record.backwards.append(Backward(value, scaled, self._behind, len(record.steps), arrived))

    def _around_scale(self, original: Callable[..., Any], scaler: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        given = original(scaler, outputs, *args, **kwargs)
        if scaler.is_enabled() and isinstance(outputs, Tensor) and outputs.numel() == 1:
            self.record.saw_scaler = True
            self._pending, self._scale = outputs.detach(), float(scaler.get_scale())
        return given

    def _around_scaler_step(
        self, original: Callable[..., Any], scaler: Any, optimizer: Any, *args: Any, **kwargs: Any
    ) -> Any:
        before = len(self.record.steps)
        given = original(scaler, optimizer, *args, **kwargs)
        if optimizer is self.record.optimizer and len(self.record.steps) == before:
            self.record.scaler_skips += 1
            self._since = Step((), False, None, None, 0, 0)
        return given

    def _around_zero(self, original: Callable[..., Any], owner: Any, *args: Any, **kwargs: Any) -> Any:
        given = original(owner, *args, **kwargs)
        if owner is self.record.optimizer or (isinstance(owner, nn.Module) and owner is self.record.model):
            self.record.cleared += 1
            self._see_gradients()
            if self._fresh and self._since.backwards:
                self._since.cleared = True
                self._since.thrown += 1
            self._fresh = False
        return given

    def _see_gradients(self) -> None:
        """Before anything is added to gradients, or just behind their clearing: are those of the last step gone?"""
        if self._old and not self.held.is_old_there():
            self._old = False

    # steps

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        record, step, number = self.record, self._since, len(self.record.steps)
        if number >= MOST:
            return
        step.lrs = tuple(float(group["lr"]) for group in optimizer.param_groups if "lr" in group)
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        step.closure = callable(closure)
        if self._last is not None:
            step.training, step.phase = self._last.training, self._last.phase
        self._see_gradients()
        if not step.closure:
            step.stale, step.empty = self._old and step.backwards > 0, self.held.is_empty()
            if looks(number):
                self._look(step)
        if number in AT and self._call is not None:
            labels = self._labels
            probe = probed(record.model, *self._call, labels, step=number)
            record.probes += [] if probe is None else [probe]

    def _look(self, step: Step) -> None:
        """What costs a little."""
        self.held.meet()
        step.norm, step.zeros = self.held.norm(), self.held.zeros()
        if self._behind:
            step.shrunk = self.held.norm_of_some() / self._behind
        arrived = self.record.arrived
        arrived |= {n for n, p in self.record.model.named_parameters() if n not in arrived and has_gradient(p)}

    def _after_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if len(self.record.steps) >= MOST:
            return
        self.record.steps.append(self._since)
        self._since = Step((), False, None, None, 0, 0)
        self.held.remember()
        self._old, self._behind, self._fresh = True, None, False

    def _around_scheduler(self, original: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if scheduler is self.record.scheduler and "scheduler" not in self._depth:
            self.record.scheduler_steps.append(len(self.record.steps))
            self._depth.add("scheduler")
            try:
                return original(scheduler, *args, **kwargs)
            finally:
                self._depth.discard("scheduler")
        return original(scheduler, *args, **kwargs)

    # loaders

    def _around_iter(
        self, loader: Any, phase: Phase, original: Callable[..., Any], owner: Any, *args: Any, **kwargs: Any
    ) -> Any:
        inner = original(owner, *args, **kwargs)
        if owner is not loader or len(self.record.passes) >= MOST:
            return inner
        seen = Pass(phase)
        self.record.passes.append(seen)
        return Told(inner, partial(self._drew, seen), partial(self._ended, seen))

    def _drew(self, seen: Pass, batch: Any) -> None:
        labels = labels_of(batch)
        self._drawn, self._is_new = seen.phase, True
        self._labels = labels
        self._since.batches += seen.phase == "train"
        seen.batches += 1
        seen.samples += size_of(batch) or 0
        if labels is not None and len(seen.labels) < LABELED_BATCHES:
            seen.labels.append(labels.detach().cpu().clone())

    def _ended(self, seen: Pass) -> None:
        seen.exhausted = True
        self._drawn = None


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, Mapping):
        return [x for x in answer.values() if isinstance(x, Tensor)]
    return [x for x in answer if isinstance(x, Tensor)] if isinstance(answer, tuple | list) else []
