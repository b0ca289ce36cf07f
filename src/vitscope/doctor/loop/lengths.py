"""PyTorch's own schedulers: how long they are, in calls of their step(), and how often that is called. In goes the record of a loop, out comes a
finding or nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from torch.optim import lr_scheduler

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding
from vitscope.doctor.loop.rates import GONE, LITTLE, WRONG_RATE, gone_for, steps_below
from vitscope.doctor.loop.record import Record

DEEP = 1e-5
"""No schedule is meant to end below this share of its peak."""
LONG = 1000
"""A schedule of more steps than this is not meant in epochs."""
_IN_EPOCHS = Text(
    " Is the training that long, or are {epochs} epochs meant, counted in batches?",
    "それだけの長さの学習でしょうか。それとも、バッチ単位で数えた{epochs}エポックのつもりでしょうか。",
)


class _Length(NamedTuple):
    """What a scheduler says of its length."""

    what: str
    value: float
    steps: float
    """After how many calls of step() it is over: nothing follows, or next to nothing is left of the rate."""


def _last_part(scheduler: Any) -> tuple[Any, int]:
    """The scheduler that comes last in a row of them, and after how many steps it begins."""
    begins = 0
    while isinstance(scheduler, lr_scheduler.SequentialLR):
        begins += int(scheduler._milestones[-1])
        scheduler = scheduler._schedulers[-1]
    return scheduler, begins


def _calls_per_epoch(record: Record) -> int | None:
    """How often step() is called in an epoch, where it is called for each batch (or each part of an accumulated one)."""
    epoch, steps = record.steps_per_epoch, len(record.steps)
    if epoch is None or len(record.scheduler_steps) <= 0.8 * steps:
        return None
    return max(epoch, round(epoch * len(record.scheduler_steps) / steps)) if record.period > 1 else epoch


def _length(scheduler: Any, begins: int) -> _Length | None:
    kind = type(scheduler)
    if kind is lr_scheduler.CosineAnnealingLR:
        return _Length("T_max", scheduler.T_max, begins + scheduler.T_max)
    if kind is lr_scheduler.MultiStepLR and len(scheduler.milestones) > 1:
        return _Length("milestones", max(scheduler.milestones), begins + max(scheduler.milestones))
    if kind is lr_scheduler.PolynomialLR:
        return _Length("total_iters", scheduler.total_iters, begins + scheduler.total_iters)
    if kind is lr_scheduler.LinearLR and scheduler.end_factor < scheduler.start_factor:
        return _Length("total_iters", scheduler.total_iters, begins + scheduler.total_iters)
    if kind in (lr_scheduler.StepLR, lr_scheduler.ExponentialLR) and 0 < scheduler.gamma < 1:
        size = scheduler.step_size if kind is lr_scheduler.StepLR else 1
        number = 1 + math.floor(math.log(GONE) / math.log(scheduler.gamma))
        what = ("step_size", size) if kind is lr_scheduler.StepLR else ("gamma", scheduler.gamma)
        return _Length(*what, begins + size * number)
    return None


def too_fast(record: Record, scheduler: Any) -> Finding | None:
    """A length in epochs, stepped for each batch. A training of less than an epoch may be meant where it ends with its schedule."""
    calls = _calls_per_epoch(record)
    if calls is None:
        return None
    if type(scheduler) is lr_scheduler.ReduceLROnPlateau:
        return _impatient(record, scheduler, calls)
    part, begins = _last_part(scheduler)
    length = _length(part, begins)
    if length is None or length.steps >= calls:
        return None
    went_on = getattr(scheduler, "last_epoch", 0) > length.steps
    name, value, times = type(part).__name__, f"{length.value:g}", len(record.scheduler_steps)
    return WRONG_RATE.found(
        Text(
            f"{name} ({length.what}: {value}) steps once for each batch, {calls} times in an epoch: it is over before the first epoch is.",
            f"{name}（{length.what}: {value}）がバッチごとに、1エポックに{calls}回進められています。最初のエポックの途中で終わってしまいます。",
        ),
        {"scheduler": name, length.what.lower(): float(value), "calls_per_epoch": calls, "scheduler_steps": times},
        severity="warning" if went_on else "note",
    )


def too_early(record: Record, scheduler: Any) -> Finding | None:
    """A length in epochs that lasts some epochs all the same, stepped for each batch: the training goes on for a good part, an epoch and more, with
    as good as no rate. What is counted in batches lasts whole epochs, or to the end; and nobody means to fall so deep."""
    calls, epoch, rates = _calls_per_epoch(record), record.steps_per_epoch, record.rates
    if calls is None or epoch is None or not rates or max(rates) <= 0:
        return None
    part, _ = _last_part(scheduler)
    is_deep, top = rates[-1] < DEEP * max(rates), max(rates)
    if type(part) is lr_scheduler.MultiStepLR:
        stays, share, is_known = steps_below(rates, 1.001 * GONE * top), 0.5, True
    elif type(part) is lr_scheduler.StepLR:
        stays, share, is_known = steps_below(rates, 0.5 * GONE * top), 0.25, is_deep or part.step_size % epoch > 0
    elif type(part) is lr_scheduler.ExponentialLR:
        stays, share, is_known = (
            steps_below(rates, 0.5 * GONE * top),
            0.15,
            is_deep or part.gamma == round(part.gamma, 2),
        )
    else:
        return None
    if not is_known or stays < max(5, epoch) or stays < share * len(rates):
        return None
    return gone_for(record, rates, stays, is_per_batch=True)


def over_early(record: Record, scheduler: Any) -> Finding | None:
    """Drops or a decay in epochs, stepped for each batch: nothing of them is left for the last two thirds of a training of several epochs. What is
    counted in batches lasts whole epochs."""
    calls, epoch, rates, times = (
        _calls_per_epoch(record),
        record.steps_per_epoch,
        record.rates,
        len(record.scheduler_steps),
    )
    if calls is None or epoch is None or not rates:
        return None
    part, begins = _last_part(scheduler)
    if type(part) is lr_scheduler.MultiStepLR:
        what, at = "milestones", [begins + int(each) for each in part.milestones]
    elif type(part) in (lr_scheduler.LinearLR, lr_scheduler.PolynomialLR):
        what, at = "total_iters", [begins + int(part.total_iters)]
    else:
        return None
    stays = steps_below(rates, 1.001 * rates[-1])
    is_in_batches = all(each % calls == 0 for each in at) and epoch > 1
    if not at or is_in_batches or 3 * max(at) > times or rates[-1] > 0.5 * max(rates) or stays < max(5, 2 * epoch):
        return None
    name, value, left = type(part).__name__, ", ".join(map(str, at)), f"{100 * rates[-1] / max(rates):.2g}"
    return WRONG_RATE.found(
        Text(
            f"{name} ({what}: {value}) steps once for each batch, {calls} times in an epoch: it was over after {max(at)} of {times} steps, and "
            f"the last {stays} optimizer steps run at {rates[-1]:.2g}, {left} % of the peak.",
            f"{name}（{what}: {value.replace(', ', '、')}）がバッチごとに、1エポックに{calls}回進められています。{times}回中{max(at)}回で終わり、"
            f"最後の{stays}ステップの学習率は{rates[-1]:.2g}（最大値の{left} %）です。",
        ),
        {
            "scheduler": name,
            what: float(max(at)),
            "calls_per_epoch": calls,
            "scheduler_steps": times,
            "steps_after": stays,
        },
    )


def soon_over(record: Record, scheduler: Any) -> Finding | None:
    """A decay as it is usual for each epoch, applied for each batch: within three epochs next to nothing is left, or, of steps that are shorter than
    an epoch, within four, where little is left already. Not yet seen, and so only asked."""
    calls, (part, begins), most = _calls_per_epoch(record), _last_part(scheduler), 3
    if calls is None:
        return None
    if type(part) is lr_scheduler.ExponentialLR:
        is_usual = part.gamma == round(part.gamma, 2)
    else:
        is_usual = type(part) is lr_scheduler.StepLR and 3 * part.step_size <= calls
        if type(part) is lr_scheduler.StepLR and not is_usual and record.rates:
            is_usual, most = part.step_size < calls and record.rates[-1] < LITTLE * max(record.rates), 4
    length = _length(part, begins)
    if not is_usual or length is None or not len(record.scheduler_steps) < length.steps < most * calls:
        return None
    name, epochs = type(part).__name__, length.steps / calls
    return WRONG_RATE.found(
        Text(
            f"{name} ({length.what}: {length.value:g}) steps once for each batch, {calls} times in an epoch: after {epochs:.1f} epochs a thousandth "
            "of the learning rate is left. Where the training is as short, that may be meant.",
            f"{name}（{length.what}: {length.value:g}）がバッチごとに、1エポックに{calls}回進められています。{epochs:.1f}エポックで学習率は千分の一に"
            "なります。学習がそれほど短いなら、意図どおりかもしれません。",
        ),
        {"scheduler": name, length.what: float(length.value), "calls_per_epoch": calls},
        severity="note",
    )


def _impatient(record: Record, scheduler: Any, calls: int) -> Finding | None:
    """A patience in epochs, counted in batches: the rate is lowered several times within an epoch."""
    rates, patience = record.rates, int(scheduler.patience)
    drops = [number for number, (a, b) in enumerate(pairwise(rates), 1) if b < a]
    if patience >= calls or not any(
        b - a < len(rates) and b - a < (record.steps_per_epoch or 0) for a, b in pairwise(drops)
    ):
        return None
    return WRONG_RATE.found(
        Text(
            f"ReduceLROnPlateau (patience: {patience}) steps once for each batch, {calls} times in an epoch: it lowered the learning rate "
            f"{len(drops)} times in {len(rates)} steps, from {rates[0]:.2g} to {rates[-1]:.2g}.",
            f"ReduceLROnPlateau（patience: {patience}）がバッチごとに、1エポックに{calls}回進められています。{len(rates)}ステップの間に学習率が"
            f"{len(drops)}回、{rates[0]:.2g}から{rates[-1]:.2g}まで下げられました。",
        ),
        {"scheduler": "ReduceLROnPlateau", "patience": patience, "calls_per_epoch": calls, "times_lowered": len(drops)},
    )


def too_slow(record: Record, scheduler: Any) -> Finding | None:
    """A length in batches, stepped for each epoch."""
    epoch = record.steps_per_epoch
    if epoch is None or epoch < 5 or not record.is_stepped_per_epoch:
        return None
    part, begins = _last_part(scheduler)
    kind, is_usual = type(part), True
    if kind in (lr_scheduler.OneCycleLR, lr_scheduler.CosineAnnealingLR):
        length = begins + int(part.total_steps if kind is lr_scheduler.OneCycleLR else part.T_max)
    elif kind is lr_scheduler.MultiStepLR and part.milestones:
        length, is_usual = begins + max(part.milestones), False
    elif kind in (lr_scheduler.LinearLR, lr_scheduler.PolynomialLR):
        length, is_usual = begins + int(part.total_iters), False
    else:
        return None
    is_long = length > LONG
    if 2 * len(record.scheduler_steps) >= length:
        return None  # it ends with the training
    shortest = 1 if kind is lr_scheduler.OneCycleLR else 5  # a cosine as short is as likely one of as many epochs
    if not is_long and (not is_usual or length % epoch or length < shortest * epoch):
        return None  # as likely meant in epochs
    name, epochs = type(scheduler).__name__, length // epoch
    asks = Text("", "") if is_long else _IN_EPOCHS
    return WRONG_RATE.found(
        Text(
            f"{name} is {length} steps long and steps once for each epoch of {epoch} batches: at this rate it ends after {length} "
            f"epochs.{asks.en.format(epochs=epochs)}",
            f"{name}の長さは{length}ステップですが、{epoch}バッチからなる1エポックごとに1回しか進みません。このままでは終わるまでに{length}エポックかかります。"
            f"{asks.ja.format(epochs=epochs)}",
        ),
        {"scheduler": name, "length": length, "steps_per_epoch": epoch, "scheduler_steps": len(record.scheduler_steps)},
        severity="warning" if is_long else "note",
    )
