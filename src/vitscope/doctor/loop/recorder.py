"""What happens in somebody's training loop, noted down while it happens. In go the things that the user trains with, out comes a `Record`.

It hooks and wraps, and changes nothing: the results of all calls are the user's own, no random number is drawn, no gradient touched. Whatever goes
wrong in here is noted and stays in here (`guard`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from vitscope.doctor.loop.forwards import Forwards, looks
from vitscope.doctor.loop.guard import Guard, Observing
from vitscope.doctor.loop.held import Held, has_gradient
from vitscope.doctor.loop.loaders import Loaders
from vitscope.doctor.loop.passes import Phase
from vitscope.doctor.loop.patching import Observe, patch
from vitscope.doctor.loop.probe import AT, probed
from vitscope.doctor.loop.record import MOST, Backward, Record, Step
from vitscope.doctor.loop.scaling import is_skipped_inside, scale_inside


class Recorder:
    """Notes down one loop."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.held = Held(record.model, record.optimizer)
        self.guard = Guard(record.unwatched)
        self.loaders = Loaders(record, self.guard)
        self.forwards = Forwards(record, self.guard, self.loaders, self._see_gradients)
        self._undo = ExitStack()
        self._depth: set[str] = set()
        self._pending: Tensor | None = None
        self._since = Step((), False, None, None, 0, 0)
        self._behind: float | None = None
        self._norm_behind: float | None = None
        """Norm of all gradients right behind the last step."""
        self._scale = 1.0
        """Of a GradScaler, at the last backward."""
        self._old = self._is_of_validation = False
        self._is_skipped = False
        self._fresh = False  # whether a gradient came since they were last cleared
        self._is_spent = False  # whether another optimizer went by it

    # beginning and end

    def start(self) -> None:
        """From now on everything is seen; nothing is left where that cannot be."""
        try:
            self._watch()
        except BaseException:
            self._undo.close()
            raise

    def _watch(self) -> None:
        record = self.record
        optimizer = record.optimizer
        for hook, tell in (
            (optimizer.register_step_pre_hook, self._before_step),
            (optimizer.register_step_post_hook, self._after_step),
        ):
            self._undo.callback(hook(partial(self._hooked, tell)).remove)
        others = register_optimizer_step_post_hook(partial(self._hooked, self._after_other_step))
        self._undo.callback(others.remove)
        self._patch(type(record.model), "__call__", self.forwards.around_model)
        frame = sys.modules.get("torch._dynamo.eval_frame")
        if frame is not None and not issubclass(type(record.model), frame.OptimizedModule):
            self._patch(frame.OptimizedModule, "__call__", self.forwards.around_model)
        if isinstance(record.loss_fn, nn.Module):
            self._patch(type(record.loss_fn), "__call__", self.forwards.around_loss)
        self._patch(torch.Tensor, "backward", self._around_backward)
        self._patch(torch.amp.GradScaler, "scale", self._around_scale)
        self._patch(torch.amp.GradScaler, "step", self._around_scaler_step)
        self._patch(nn.Module, "zero_grad", self._around_zero)
        for owner in {torch.optim.Optimizer, next(c for c in type(optimizer).__mro__ if "zero_grad" in vars(c))}:
            self._patch(owner, "zero_grad", self._around_zero)
        if record.scheduler is not None:
            self._try_patch(record.scheduler, "step", self._around_scheduler)
        loaders: list[tuple[Any, Phase]] = [(record.loader, "train"), (record.val_loader, "val")]
        for loader, phase in loaders:
            if loader is not None and not (phase == "val" and loader is record.loader):
                self._try_patch(loader, "__iter__", partial(self.loaders.around_iter, loader, phase))

    def stop(self) -> None:
        """All hooks and wrappers are gone, and what moved is known."""
        self.guard.run("watch", self._undo.close)
        self.refresh()
        self._pending = None
        self.forwards.forget()
        self.loaders.forget()

    def refresh(self) -> None:
        """Looks up what moved so far."""
        moved = self.guard.run("model.parameters()", self.held.moved)
        self.record.moved = moved if moved is not None else self.record.moved
        missing = self.guard.run("model.parameters()", self.held.without_gradient)
        self.record.without_gradient = missing if missing is not None else self.record.without_gradient

    def _patch(self, owner: Any, name: str, observe: Observe) -> None:
        patch(self._undo, owner, name, observe, self.guard)

    def _try_patch(self, thing: Any, name: str, observe: Observe) -> None:
        try:
            self._patch(type(thing), name, observe)
        except (TypeError, AttributeError):
            self.record.unwatched.append(f"{type(thing).__name__}.{name}")

    def _hooked(self, tell: Callable[..., None], *args: Any) -> None:
        if not torch.compiler.is_compiling():
            self.guard.run("optimizer.step", tell, *args)

    # backwards

    def _around_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> Observing:
        if "backward" in self._depth or not isinstance(loss, Tensor):
            return
        value, scaled = None, False
        self._depth.add("backward")
        try:
            self._see_later()
            self._see_gradients()
            value = self._pending if self._pending is not None else loss.detach() if loss.numel() == 1 else None
            scaled, self._pending = self._pending is not None, None
            self.record.cut_losses += not loss.requires_grad
            self.forwards.see_loss(loss)
            yield
        finally:
            self._depth.discard("backward")
            self._scale = self.forwards.scale
            self.forwards.end_backward()
            self._since.backwards += 1
            self._since.cleared, self._fresh, self._is_spent = False, True, False
            self._is_of_validation |= self.forwards.is_of_validation
            if loss.requires_grad and len(self.record.backwards) < MOST:
                self._note_backward(value, scaled=scaled)

    def _note_backward(self, value: Tensor | None, *, scaled: bool) -> None:
        record = self.record
        self.held.see_missing(is_step=False)
        self._behind = self.held.norm_of_some() if looks(len(record.backwards)) else None
        arrived = any(p.grad is not None for p in self.held.parameters())
        value = None if value is None else value.detach().clone()
        record.backwards.append(Backward(value, scaled, self._behind, len(record.steps), arrived))

    def _around_scale(self, scaler: Any, outputs: Any, *args: Any, **kwargs: Any) -> Observing:
        yield
        if scaler.is_enabled() and isinstance(outputs, Tensor) and outputs.numel() == 1:
            self.record.saw_scaler = True
            self._pending, self.forwards.scale = outputs.detach(), float(scaler.get_scale())

    def _around_scaler_step(self, scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Observing:
        before = len(self.record.steps)
        yield
        if optimizer is self.record.optimizer and len(self.record.steps) == before:
            self.record.scaler_skips += 1
            self._throw()
            self._begin_step()

    def _around_zero(self, owner: Any, *args: Any, **kwargs: Any) -> Observing:
        is_it = owner is self.record.optimizer or (isinstance(owner, nn.Module) and owner is self.record.model)
        if not is_it or "zero" in self._depth:
            return
        self._depth.add("zero")
        self._see_later()
        try:
            yield
        finally:
            self._depth.discard("zero")
        self.record.cleared += 1
        self._see_gradients()
        if self._fresh and not self._is_spent and self._since.backwards:
            self._since.cleared = True
            self._since.thrown += 1
            self._throw()
        self._fresh = False

    def _throw(self) -> None:
        """No step goes by the gradients since the last one."""
        for each in self.record.backwards[-self._since.backwards :] if self._since.backwards else ():
            each.thrown = each.step == len(self.record.steps)

    def _see_gradients(self) -> None:
        """Before anything is added to gradients, or just behind their clearing: are those of the last step gone?"""
        if self._old and not self.held.is_old_there():
            self._old = False
        self._is_of_validation = self._is_of_validation and self.held.is_some_there()
        self.held.see_all(is_added=self._since.backwards > 0)

    def _see_later(self) -> None:
        """Before the gradients of a step are cleared or added to: whether they are still what they were behind it."""
        if self._norm_behind is not None and self.record.steps:
            now = self.held.norm()
            self.record.steps[-1].later, self._norm_behind = (self._norm_behind, now) if now > 0 else None, None

    # steps

    def _begin_step(self) -> None:
        self._since = Step((), False, None, None, 0, 0)
        self.forwards.end_step()
        self.loaders.since_step = 0

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        record, step, number = self.record, self._since, len(self.record.steps)
        self._is_skipped = is_skipped_inside(optimizer)
        if number >= MOST or self._is_skipped:
            return
        rates = [group.get("lr") for group in optimizer.param_groups]
        step.lrs = tuple(float(rate) for rate in rates if isinstance(rate, int | float | Tensor))
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        step.closure, step.batches = callable(closure), self.loaders.since_step
        step.is_first = self.loaders.in_pass <= step.batches
        seen = self.forwards.of_step
        if seen is not None:
            step.training, step.phase = seen.training, seen.phase
        self._see_gradients()
        step.leaked = self._is_of_validation and step.phase == "train"
        self.held.see_missing(is_step=not callable(closure))
        if not step.closure:
            step.stale, step.empty = self._old and step.backwards > 0, self.held.is_empty()
            step.left = self.held.left() if step.backwards else None
            if looks(number):
                self._look(step, scale_inside(optimizer))
                self.held.remember_weights()
        if number in AT and self.forwards.call is not None:
            args, kwargs, labels = self.forwards.call
            probe = probed(record.model, args, kwargs, labels, step=number)
            record.probes += [] if probe is None else [probe]

    def _look(self, step: Step, scale: float) -> None:
        """What costs a little. Gradients may be scaled still, where the optimizer itself takes the scale out."""
        self.held.meet()
        step.norm, step.zeros = self.held.norm() / scale, self.held.zeros()
        if self._behind and math.isfinite(self._behind):
            step.shrunk = self.held.norm_of_some() / scale / self._behind * self._scale
        arrived = self.record.arrived
        arrived |= {n for n, p in self.record.model.named_parameters() if n not in arrived and has_gradient(p)}

    def _after_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if len(self.record.steps) >= MOST or self._is_skipped:
            return
        self._since.change = self.held.change()
        self._norm_behind = self.held.norm() if looks(len(self.record.steps)) and not self._since.closure else None
        self.record.steps.append(self._since)
        self._begin_step()
        self._behind, self._fresh, self._old = None, False, False
        self.held.remember()
        self._old = True
        if looks(len(self.record.steps)):
            self.held.remember_all()
        else:
            self.held.forget_all()

    def _after_other_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if optimizer is not self.record.optimizer and self._fresh:
            ours = {id(parameter) for parameter in self.record.model.parameters()}
            self._is_spent |= any(id(p) in ours for group in optimizer.param_groups for p in group["params"])

    def _around_scheduler(self, scheduler: Any, *args: Any, **kwargs: Any) -> Observing:
        if scheduler is not self.record.scheduler or "scheduler" in self._depth:
            return
        steps = self.record.steps
        is_told = bool(args or kwargs)  # which epoch it is: at the top of an epoch, as timm does it
        if not steps and not is_told:
            self.record.early_scheduler_steps.append(self._since.backwards)
        self.record.scheduler_steps.append(len(steps))
        self._depth.add("scheduler")
        try:
            yield
        finally:
            self._depth.discard("scheduler")
