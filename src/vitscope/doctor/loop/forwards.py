"""The model's calls and the loss's: modes, scores, and the gradient that comes back to them. In go calls while they happen, out come the `Forward`s
and `LossFit`s of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitscope._core.errors import ModelError
from vitscope.doctor.loop.batches import size_of
from vitscope.doctor.loop.fit import fitted, fitted_without_labels, form_of, labels_in
from vitscope.doctor.loop.guard import Guard, Observing
from vitscope.doctor.loop.loaders import Batch, Loaders
from vitscope.doctor.loop.made import making, place_of
from vitscope.doctor.loop.passes import validated
from vitscope.doctor.loop.record import MOST, Forward, Record
from vitscope.doctor.patient import scores_of

HALF = (torch.float16, torch.bfloat16)
Call = tuple[tuple[Any, ...], Mapping[str, Any], Tensor | None]
"""What the model was called with, and the labels that belong to it."""


def looks(number: int) -> bool:
    """Whether something that costs is done at an event: at the first ones, then seldom."""
    return number < 30 or number % (25 if number < 1000 else 250) == 0


class Forwards:
    """The model's calls so far."""

    def __init__(self, record: Record, guard: Guard, loaders: Loaders, back: Callable[[], None]) -> None:
        self.record, self._guard, self._loaders, self._back = record, guard, loaders, back
        self.scale = 1.0
        """What a GradScaler multiplies the loss with, until the backward is over."""
        self.call: Call | None = None
        """The last one that learns."""
        self._last: Forward | None = None
        self._reached: Forward | None = None
        self._batch: Batch | None = None
        self._target: Tensor | None = None
        self._scores: Tensor | None = None
        self._place: int | None = None
        self._is_inside = False

    @property
    def is_of_validation(self) -> bool:
        """Whether the gradient that came last is that of a batch of the validation loader."""
        return self._reached is not None and self._reached.phase == "val"

    @property
    def of_step(self) -> Forward | None:
        """The one that the coming step goes by."""
        return self._reached or self._last

    def end_step(self) -> None:
        """What comes next belongs to another step."""
        self._reached = None

    def end_backward(self) -> None:
        """What comes next belongs to another loss."""
        self.scale, self._target = 1.0, None

    def see_loss(self, loss: Tensor) -> None:
        """What a loss was made of, where it hangs on the scores that came last."""
        if self._place is not None and looks(len(self.record.backwards)):
            made = making(loss, self._place)
            self.record.makings += [] if made is None else [made]

    def forget(self) -> None:
        """The block is over: no tensor of the user's is held any longer."""
        self.call = self._scores = self._target = self._batch = None

    def around_model(self, module: nn.Module, *args: Any, **kwargs: Any) -> Observing:
        model = self.record.model
        is_it = module is model or getattr(module, "_orig_mod", None) is model
        if not is_it or self._is_inside:
            return
        self._is_inside = True
        try:
            answer = yield
        finally:
            self._is_inside = False
        if len(self.record.forwards) < MOST:
            self._forward(model, args, kwargs, answer)

    def _forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> None:
        record, given = self.record, (*args, *kwargs.values())
        count = next((size_of(each) for each in given if size_of(each) is not None), None)
        batch = self._loaders.origin(given, looks=looks(len(record.forwards)))
        device = next((p.device.type for p in module.parameters()), "cpu")
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        phase = None if batch is None else batch.phase
        seen = Forward(module.training, torch.is_grad_enabled(), phase, count, precision, step=len(record.steps))
        seen.drawn, self._loaders.drawn = self._loaders.drawn, None
        seen.estimates = not seen.grad and any(
            isinstance(m, _BatchNorm) and m.momentum is None for m in module.modules()
        )
        record.forwards.append(seen)
        scores = None
        try:
            scores = scores_of(answer, count or 0)
        except ModelError:
            scores = next((x for x in _tensors(answer) if x.requires_grad), None)
        if scores is None or not scores.is_floating_point():
            return
        if scores.dtype in HALF:
            seen.precision = scores.dtype
        if scores.ndim == 2 and len(scores) == count:
            record.classes = int(scores.shape[1])
            if looks(len(record.forwards)):
                seen.form = form_of(scores)
            own = batch.labels if batch is not None and phase == "val" and not seen.grad else None
            if own is not None and len(own) == count:
                record.validated.append(validated(scores, own, step=seen.step))
        if scores.requires_grad and seen.grad:
            self._last, self._scores, self._batch, self._place = seen, scores.detach(), batch, place_of(scores)
            self.call = (args, kwargs, self._labels())
            back = partial(self._guard.run, "loss.backward", self._came_back, seen)
            scores.register_hook(back)  # type: ignore[no-untyped-call]

    def _labels(self) -> Tensor | None:
        """Those of the batch that went through the model last."""
        return self._batch.labels if self._batch is not None else self._loaders.last_labels()

    def _came_back(self, seen: Forward, gradient: Tensor) -> None:
        """A gradient reaches the scores; none has been added to any parameter before them yet."""
        record = self.record
        seen.reaches, self._reached = True, seen
        self._back()
        scores, labels = self._scores, self._target if self._target is not None else self._labels()
        if seen is not self._last or scores is None or gradient.shape != scores.shape:
            return
        count = len(record.backwards)
        if scores.ndim == 2 and (looks(count) or (count < 1000 and count % 5 == 0)):
            told = labels is not None
            fit = (
                fitted_without_labels(scores, gradient, scale=self.scale)
                if labels is None
                else fitted(scores, gradient, labels, scale=self.scale)
            )
            placed = self._batch is not None and self._batch.phase == "train"
            record.fits += [] if fit is None else [replace(fit, step=len(record.steps), is_told=told, is_placed=placed)]
            self._note_labels(scores, gradient, labels if fit is not None and fit.is_cross_entropy else None)

    def _note_labels(self, scores: Tensor, gradient: Tensor, labels: Tensor | None) -> None:
        """Those that a cross-entropy went by, beside the loader's."""
        own = self._batch.labels if self._batch is not None and self._batch.phase == "train" else None
        if own is None or len(own) != len(scores):
            return
        if labels is None:
            labels = labels_in(gradient)
            fit = fitted(scores, gradient, labels, scale=self.scale)
            if fit is None or not fit.is_cross_entropy:
                return
        own, labels = own.detach().cpu().long(), labels.detach().cpu().long()
        has_label = (labels >= 0) & (labels < scores.shape[1])
        self.record.reordered += self._batch is not None and self._batch.is_reordered
        self.record.labels_used.append((own[has_label], labels[has_label]))

    def around_loss(self, module: nn.Module, *args: Any, **kwargs: Any) -> Observing:
        """The user's loss module is called."""
        yield
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        scores, labels = self._scores, self._labels()
        if module is not self.record.loss_fn:
            return
        self._look_at_loss(args[0] if args else kwargs.get("input"), scores)
        if scores is None:
            return
        for each in given:
            if each.is_floating_point() and each.data_ptr() == scores.data_ptr() and each.shape == scores.shape:
                self.record.loss_saw_scores = True
            elif each.ndim == 1 and not each.is_floating_point() and len(each) == len(scores):
                self._target = each.detach()
                if labels is not None and not self.record.loss_saw_labels:
                    self.record.loss_saw_labels = torch.equal(labels.cpu(), self._target.to(labels.dtype).cpu())

    def _look_at_loss(self, given: Any, scores: Tensor | None) -> None:
        """What the loss is given as its scores, where something stands between them and the model's."""
        forms = self.record.loss_forms
        if not isinstance(given, Tensor) or given.ndim != 2 or not given.is_floating_point() or not given.requires_grad:
            return
        if scores is not None and given.data_ptr() == scores.data_ptr():
            return
        if len(forms) < 30:
            forms.append(form_of(given))


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, Mapping):
        return [x for x in answer.values() if isinstance(x, Tensor)]
    return [x for x in answer if isinstance(x, Tensor)] if isinstance(answer, tuple | list) else []
