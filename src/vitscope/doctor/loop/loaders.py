"""Which batches the loaders gave, and from which of them the tensors of a call came. In go passes through loaders, out come labels and phases.

Which loader was drawn last does not tell: loops go through two at once, break one off, or fetch ahead. The tensors themselves tell, by their place in
memory, or, where they were moved to another device since, by some of their numbers.
"""

from __future__ import annotations

import copy
import weakref
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitscope.doctor.loop.batches import labels_of, pixels_of, size_of, tensors
from vitscope.doctor.loop.guard import Guard, Observing
from vitscope.doctor.loop.passes import Pass, Phase
from vitscope.doctor.loop.patching import Told
from vitscope.doctor.loop.record import MOST, Record

LABELED_BATCHES = 100
"""Of how many batches of a pass the labels are kept."""
HASHED = 2000
"""Of how many images of each loader the pixels are held against the other's."""
RECENT = 4
"""How many batches of each loader are known again: some loops fetch ahead."""
ROWS_OF = 400
"""Of how many batches the images are known again in another order."""
MARKS = 64
"""How many numbers of a tensor are held against another's."""


class Batch:
    """One that a loader gave."""

    is_reordered = False
    """Whether its images went through the model in another order, in which the labels are here."""

    def __init__(self, phase: Phase, batch: Any, *, looks: bool) -> None:
        self.phase: Phase = phase
        self.labels = labels_of(batch)
        self._rows = [row_marks(each) for each in tensors(batch)] if looks and self.labels is not None else []
        held = [each for each in tensors(batch) if each.ndim > 1]
        self._tensors = [weakref.ref(each) for each in held]
        self._marks = [(each.shape, marks_of(each)) for each in held]

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of it, in the same place."""
        own = [each() for each in self._tensors]
        return any(x is not None and x.data_ptr() == tensor.data_ptr() and x.shape == tensor.shape for x in own)

    def resembles(self, shape: torch.Size, marks: Tensor) -> bool:
        """Whether a tensor holds the same numbers, up to half precision."""
        return any(
            own is not None and shape == of and bool(torch.allclose(own, marks, rtol=5e-3, atol=1e-3))
            for of, own in self._marks
        )

    def reordered(self, shape: torch.Size, rows: dict[bytes, int]) -> Batch | None:
        """The same in the order of a tensor that holds all of its images, none changed; None where it does not, or they are in their own order."""
        for own in self._rows:
            if own is None or own[0] != shape or own[1].keys() != rows.keys() or self.labels is None:
                continue
            order = [own[1][row] for row in rows]
            if order == sorted(order) or len(self.labels) != len(order):
                continue
            other = copy.copy(self)
            other.labels, other.is_reordered = self.labels[torch.tensor(order, device=self.labels.device)], True
            return other
        return None


class Loaders:
    """What the loaders gave so far."""

    def __init__(self, record: Record, guard: Guard) -> None:
        self.record, self._guard = record, guard
        self.drawn: Phase | None = None
        """Which loader gave something last, until that went through the model."""
        self.since_step = 0
        """How many training batches came since the last step."""
        self.in_pass = 0
        """How many of them the present pass through the training loader gave."""
        self._given = 0
        self._recent: dict[Phase, deque[Batch]] = {"train": deque(maxlen=RECENT), "val": deque(maxlen=RECENT)}

    def around_iter(self, loader: Any, phase: Phase, owner: Any, *args: Any, **kwargs: Any) -> Observing:
        """Around a loader's `__iter__`."""
        inner = yield
        if owner is not loader or len(self.record.passes) >= MOST:
            return None
        seen = Pass(phase)
        self.record.passes.append(seen)
        return Told(inner, self._guard, partial(self._drew, seen), partial(self._ended, seen))

    def _drew(self, seen: Pass, given: Any) -> None:
        self.drawn = seen.phase
        self.since_step += seen.phase == "train"
        seen.batches += 1
        self.in_pass = seen.batches if seen.phase == "train" else self.in_pass
        seen.samples += size_of(given) or 0
        self._given += 1
        batch = Batch(seen.phase, given, looks=self._given < ROWS_OF)
        self._recent[seen.phase].append(batch)
        if sum(len(each.pixels) for each in self.record.passes if each.phase == seen.phase) < HASHED:
            seen.pixels += pixels_of(given)
        if batch.labels is not None and len(batch.labels):
            seen.meets(batch.labels.detach(), keep=len(seen.labels) < LABELED_BATCHES)

    def _ended(self, seen: Pass) -> None:
        seen.exhausted = True
        self.drawn = None

    def origin(self, given: Iterable[Any], *, looks: bool) -> Batch | None:
        """The batch that the tensors of a call are of; None where that is unknown."""
        recent = [batch for of in self._recent.values() for batch in reversed(of)]
        inputs = [each for each in given if isinstance(each, Tensor) and each.ndim > 1]
        for each in inputs:
            found = next((batch for batch in recent if batch.holds(each)), None)
            if found is not None:
                return found
        for each in inputs if looks and recent else []:
            marks = marks_of(each)
            like = [] if marks is None else [batch for batch in recent if batch.resembles(each.shape, marks)]
            if like and len({batch.phase for batch in like}) == 1:
                return like[0]
            rows = row_marks(each) if marks is not None and not like else None
            reordered = [batch.reordered(*rows) for batch in recent] if rows is not None else []
            found = next((batch for batch in reordered if batch is not None), None)
            if found is not None:
                return found
        return None

    def last_labels(self) -> Tensor | None:
        """Of the last training batch; of the last of the other loader where there is none."""
        of = self._recent["train"] or self._recent["val"]
        return of[-1].labels if of else None

    def forget(self) -> None:
        """The block is over."""
        for each in self._recent.values():
            each.clear()


@torch.no_grad()
def row_marks(tensor: Tensor) -> tuple[torch.Size, dict[bytes, int]] | None:
    """The place of each image in a batch, by some of its numbers; None where two are alike."""
    shape = tensor.shape
    if not tensor.is_floating_point() or tensor.ndim < 3 or len(tensor) < 4 or tensor[0].numel() < MARKS:
        return None
    where = torch.linspace(0, tensor[0].numel() - 1, MARKS, dtype=torch.float64).long()
    places: tuple[Any, ...] = (slice(None), *torch.unravel_index(where, shape[1:]))
    picked = tensor.detach()[places].double().cpu()
    rows = {row.numpy().tobytes(): number for number, row in enumerate(picked)}
    return (shape, rows) if len(rows) == len(tensor) else None


@torch.no_grad()
def marks_of(tensor: Tensor) -> Tensor | None:
    """Some numbers from all over a tensor; None where they are too few or too alike to tell it from others."""
    if not tensor.is_floating_point() or tensor.numel() < MARKS:
        return None
    where = torch.linspace(0, tensor.numel() - 1, MARKS, dtype=torch.float64).long()
    marks = tensor.detach()[torch.unravel_index(where, tensor.shape)].double().cpu()
    return marks if len(set(marks.tolist())) >= 8 else None
