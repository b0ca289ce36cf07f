"""The learning rate as a function of the step, and of nothing else: a resume needs no scheduler state. No torch here."""

from __future__ import annotations

import math

from vitscope.train.spec import TrainSpec


def lr_at(step: int, spec: TrainSpec, *, total: int, per_epoch: int) -> float:
    """The learning rate of one optimizer step.

    Args:
        step: 0 for the first.
        spec: names the schedule.
        total: optimizer steps of the whole training.
        per_epoch: optimizer steps in one epoch.
    """
    if spec.schedule_unit == "epoch":
        step = step // per_epoch * per_epoch
    warmup = min(spec.warmup.steps(per_epoch=per_epoch, total=total), total)
    if step < warmup:
        return spec.lr * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(total - warmup, 1)
    if spec.schedule == "cosine":
        return spec.lr * (spec.final_lr + (1 - spec.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))
    if spec.schedule == "linear":
        return spec.lr * (spec.final_lr + (1 - spec.final_lr) * (1 - done))
    if spec.schedule == "step":
        every = max(spec.step_every.steps(per_epoch=per_epoch, total=total), 1)
        return spec.lr * spec.step_factor ** ((step - warmup) // every)
    return spec.lr
