"""The learning rate over the steps, and the scheduler's own steps. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.lengths import over_early, soon_over, too_early, too_fast, too_slow
from vitscope.doctor.loop.no_rate import no_rate
from vitscope.doctor.loop.rates import climbs_again, gone_early, hardly_moves, mostly_gone, swings
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.words import counted

NEVER = Fault(
    "scheduler-never-stepped",
    "L4",
    "loop-schedule",
    "warning",
    Text(
        "The learning rate stays where the schedule begins: with a warm-up that is close to nothing, without one there is no decay.",
        "学習率がスケジュールの開始値のまま変わりません。ウォームアップがあればほぼゼロのまま、なければ減衰しないことになります。",
    ),
    Text(
        "call scheduler.step() behind optimizer.step(), per batch or per epoch as it counts",
        "scheduler.step()を、数え方に合わせてバッチごとまたはエポックごとに、optimizer.step()の後で呼んでください",
    ),
    "optimizer.step()\nscheduler.step()",
    explains=("loss-does-not-move", "learning-rate-zero-at-the-start", "learning-rate-always-zero"),
)
OTHER = Fault(
    "scheduler-of-another-optimizer",
    "L4",
    "loop-schedule",
    "warning",
    Text(
        "A scheduler changes the learning rate of the optimizer that it was made with. That one takes no steps here, and the one that does keeps its "
        "rate.",
        "スケジューラが変更するのは、作成時に渡したオプティマイザの学習率だけです。ここではそのオプティマイザは使われておらず、実際に学習している"
        "オプティマイザの学習率は変わりません。",
    ),
    Text(
        "make the scheduler after the optimizer is final, and with that one",
        "オプティマイザが確定してから、そのオプティマイザを渡してスケジューラを作成してください",
    ),
    "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)\nscheduler = CosineAnnealingLR(optimizer, T_max=epochs)",
    explains=(
        "scheduler-never-stepped",
        "scheduler-at-the-wrong-rate",
        "learning-rate-zero-at-the-start",
        "learning-rate-always-zero",
    ),
)
ORDER = Fault(
    "scheduler-before-optimizer",
    "L4",
    "loop-schedule",
    "note",
    Text("The first value of the schedule is skipped.", "スケジュールの最初の値が飛ばされます。"),
    Text(
        "call optimizer.step() first, scheduler.step() behind it",
        "先にoptimizer.step()、その後にscheduler.step()を呼んでください",
    ),
    "optimizer.step()\nscheduler.step()",
)


_PERHAPS_LATER = Text(
    " Where it is to begin later, behind some epochs at a constant rate, that is meant.",
    "一定の学習率で数エポック進めてから開始する意図なら問題ありません。",
)


def schedule(record: Record) -> Iterator[Finding]:
    """Whether the schedule counts what its step() is called for.

    Does: notes the learning rate at each optimizer step and when the scheduler steps; reads the lengths of PyTorch's own schedulers.
    Finds: a length in epochs stepped per batch and the other way round, a rate that is gone within an epoch, a warm-up that hardly moves, a scheduler
    that never steps or belongs to another optimizer, a first epoch or all steps at 0, the wrong order.
    Must not accuse: schedules that are to begin later (a note), warm restarts and cyclic schedules, one-cycle, warm-up with cosine
    per batch, plateau schedules, short windows, training that ends within an epoch with its schedule.
    Source: PyTorch, torch.optim, "How to adjust learning rate"
    """
    if len(record.steps) < 5:
        raise Skipped(
            Text(
                f"{counted(len(record.steps), 'optimizer step')} cannot tell",
                f"ステップが{len(record.steps)}回しかなく、判断できません",
            )
        )
    rates, scheduler = record.rates, record.scheduler
    if not rates:
        raise Skipped(
            Text(
                "the optimizer tells no learning rate in its parameter groups",
                "オプティマイザのパラメータグループに学習率がありません",
            )
        )
    yield from _of_another(record, rates)
    found = (
        None
        if scheduler is None
        else too_fast(record, scheduler) or too_slow(record, scheduler) or too_early(record, scheduler)
    )
    found = found or climbs_again(record, rates) or swings(record, rates) or gone_early(record, rates)
    found = found or mostly_gone(record, rates) or hardly_moves(record, rates)
    if scheduler is not None:
        found = found or over_early(record, scheduler) or soon_over(record, scheduler)
    if found is not None:
        yield found
    yield from _never(record)
    yield from no_rate(record, rates)
    early = [pending for pending in record.early_scheduler_steps if pending == 0 or record.period == 1]
    if early and not record.scaler_skips:
        yield ORDER.found(
            Text(
                "scheduler.step() was called before the first optimizer.step().",
                "最初のoptimizer.step()より前にscheduler.step()が呼ばれています。",
            ),
            {"scheduler_steps_before": len(early)},
        )


def _never(record: Record) -> Iterator[Finding]:
    epoch = record.steps_per_epoch
    through = [each for each in record.train_passes() if each.exhausted]
    is_late = len(through) >= 2 or (epoch is not None and len(record.steps) > 1.5 * epoch)
    is_seen = (
        record.scheduler is not None
        and not _waits(record.scheduler)
        and not any(type(record.scheduler).__name__ in w for w in record.unwatched)
    )
    rates = {step.lrs for step in record.steps}
    if not is_seen or record.scheduler_steps or not is_late or len(rates) > 1:
        return
    rate, is_sure = max(record.steps[-1].lrs), _is_due(record)
    perhaps = Text("", "") if is_sure else _PERHAPS_LATER
    yield (NEVER if is_sure else replace(NEVER, explains=())).found(
        Text(
            f"In {counted(len(record.steps), 'optimizer step')} ({counted(len(through), 'whole epoch')}) scheduler.step() was not called; the "
            f"learning rate stays at {rate:.2g}.{perhaps.en}",
            f"{len(record.steps)}ステップ（完了したエポック数{len(through)}）の間、scheduler.step()が一度も呼ばれていません。学習率は"
            f"{rate:.2g}のままです。{perhaps.ja}",
        ),
        {"steps": len(record.steps), "epochs": len(through), "lr": rate},
        severity="warning" if is_sure else "note",
    )


def _is_due(record: Record) -> bool:
    """Whether a schedule that was not begun is surely late: it begins with a warm-up, below the rate that the training is meant for."""
    bases = [float(group.get("max_lr") or group.get("initial_lr") or 0.0) for group in record.optimizer.param_groups]
    return max(bases, default=0.0) > 1.01 * max(record.steps[-1].lrs)


def _waits(scheduler: Any) -> bool:
    """Whether it is stepped only where something happens: a validation, the beginning of weight averaging."""
    return isinstance(scheduler, lr_scheduler.ReduceLROnPlateau | SWALR)


def _of_another(record: Record, rates: list[float]) -> Iterator[Finding]:
    other = getattr(record.scheduler, "optimizer", None)
    groups = {id(group) for group in record.optimizer.param_groups}
    chain: list[Any] = [other]
    while len(chain) < 5 and getattr(chain[-1], "optimizer", None) is not None:  # wrappers
        chain.append(chain[-1].optimizer)
    if not isinstance(other, torch.optim.Optimizer) or len(set(rates)) > 1:
        return
    if any(id(group) in groups for each in chain for group in getattr(each, "param_groups", ())):
        return
    theirs = max((float(group["lr"]) for group in other.param_groups if group.get("lr") is not None), default=0.0)
    times = len(record.scheduler_steps)
    yield OTHER.found(
        Text(
            f"The scheduler stepped {counted(times, 'time')} and belongs to another optimizer, whose learning rate is now {theirs:.2g}; the one that "
            f"is watched stays at {rates[-1]:.2g} in {len(rates)} steps.",
            f"スケジューラ（step()は{times}回）は別のオプティマイザに結び付いており、そちらの学習率は現在{theirs:.2g}です。監視している"
            f"オプティマイザの学習率は、{len(rates)}ステップの間{rates[-1]:.2g}のままです。",
        ),
        {"scheduler_steps": times, "lr_of_the_other": theirs, "lr": rates[-1], "steps": len(rates)},
    )
