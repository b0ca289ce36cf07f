"""The learning rate over the steps, and the scheduler's own steps. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torch.optim import lr_scheduler

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.record import Record

WRONG_RATE = Fault(
    "scheduler-at-the-wrong-rate",
    "L4",
    "loop-schedule",
    "warning",
    Text(
        "A schedule counts in calls of its step(). Counted in epochs and called for each batch, it is over within the first epoch, and a cosine "
        "climbs again; counted in batches and called for each epoch, it never leaves its beginning.",
        "スケジュールの長さはstep()の呼び出し回数で数えます。エポック単位で設計したものをバッチごとに呼ぶと最初のエポックで終わってしまい、コサインなら"
        "再び上昇します。逆にバッチ単位のものをエポックごとに呼ぶと、いつまでも序盤から進みません。",
    ),
    Text(
        "give T_max (total_steps, milestones …) in the same unit in which step() is called",
        "T_max（total_steps、milestonesなど）は、step()を呼ぶのと同じ単位で指定してください",
    ),
    "scheduler = CosineAnnealingLR(optimizer, T_max=epochs * len(loader))   # step() after each batch",
)
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
)
ZERO = Fault(
    "learning-rate-zero-at-the-start",
    "L5",
    "loop-schedule",
    "note",
    Text(
        "Steps at a learning rate of 0 change nothing: that time is lost.",
        "学習率0のステップでは何も変わらず、その分の時間が無駄になります。",
    ),
    Text("let the warm-up begin at one, not at zero", "ウォームアップは0ではなく1から数え始めてください"),
    "lr_lambda=lambda epoch: (epoch + 1) / warmup",
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
LONG = 1000
"""A schedule of more steps than this is not meant in epochs."""


def schedule(record: Record) -> Iterator[Finding]:
    """Whether the schedule counts what its step() is called for.

    Does: notes the learning rate at each optimizer step and when the scheduler steps; reads the lengths of PyTorch's own schedulers.
    Finds: a length in epochs stepped per batch and the other way round, a scheduler that never steps, a first epoch at 0, the wrong order.
    Must not accuse: warm restarts and cyclic schedules, one-cycle, warm-up with cosine per batch, plateau schedules, short windows.
    Source: PyTorch, torch.optim, "How to adjust learning rate"
    """
    if len(record.steps) < 5:
        raise Skipped(
            Text(
                f"{len(record.steps)} optimizer steps are too few to tell",
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
    found = _too_fast(record, scheduler) or _too_slow(record, scheduler)
    found = found or _climbs_again(record, rates) or _swings(record, rates)
    if found is not None:
        yield found
    yield from _never(record)
    yield from _zero(record, rates)
    early = [pending for pending in record.early_scheduler_steps if pending == 0 or record.period == 1]
    if early and not record.scaler_skips:
        yield ORDER.found(
            Text(
                "scheduler.step() was called before the first optimizer.step().",
                "最初のoptimizer.step()より前にscheduler.step()が呼ばれています。",
            ),
            {"scheduler_steps_before": len(early)},
        )


def _per_batch(record: Record) -> bool:
    """Whether the scheduler steps about as often as the optimizer."""
    return len(record.scheduler_steps) > 0.8 * len(record.steps)


def _per_epoch(record: Record) -> bool:
    """Whether it steps, and once in a whole epoch of several batches."""
    times = len(record.scheduler_steps)
    through = sum(each.exhausted for each in record.train_passes())
    return 0 < times <= through + 1 and times < 0.3 * len(record.steps)


def _too_fast(record: Record, scheduler: Any) -> Finding | None:
    """A length in epochs, stepped for each batch."""
    epoch = _steps_of_an_epoch(record)
    if scheduler is None or not _per_batch(record) or epoch is None:
        return None
    over = getattr(scheduler, "last_epoch", 0)
    if type(scheduler) is lr_scheduler.CosineAnnealingLR and scheduler.T_max < max(epoch, over):
        length, what = int(scheduler.T_max), "T_max"
    elif type(scheduler) is lr_scheduler.StepLR and scheduler.gamma ** (epoch // scheduler.step_size) < 1e-3:
        length, what = int(scheduler.step_size), "step_size"
    elif (
        type(scheduler) is lr_scheduler.MultiStepLR
        and len(scheduler.milestones) > 1
        and max(scheduler.milestones) < epoch
    ):
        length, what = int(max(scheduler.milestones)), "milestones"
    elif type(scheduler) is lr_scheduler.ExponentialLR and scheduler.gamma**epoch < 1e-3:
        length, what = 1, "gamma"
    else:
        return None
    name = type(scheduler).__name__
    value = f"{scheduler.gamma:g}" if what == "gamma" else f"{length}"
    return WRONG_RATE.found(
        Text(
            f"{name} ({what}: {value}) steps once for each batch, and an epoch has {epoch} steps: it is over before the first epoch is.",
            f"{name}（{what}: {value}）がバッチごとに進められています。1エポックは{epoch}ステップあり、最初のエポックの途中で終わってしまいます。",
        ),
        {
            "scheduler": name,
            what.lower(): float(value),
            "steps_per_epoch": epoch,
            "scheduler_steps": len(record.scheduler_steps),
        },
    )


def _too_slow(record: Record, scheduler: Any) -> Finding | None:
    """A length in batches, stepped for each epoch."""
    epoch = _steps_of_an_epoch(record)
    if scheduler is None or epoch is None or epoch < 5 or not _per_epoch(record):
        return None
    if type(scheduler) is lr_scheduler.OneCycleLR:
        length, is_sure = int(scheduler.total_steps), scheduler.total_steps % epoch == 0
    elif type(scheduler) is lr_scheduler.CosineAnnealingLR:
        length, is_sure = int(scheduler.T_max), False
    else:
        return None
    if length <= LONG and not is_sure and length % epoch:
        return None
    if length < 5 * epoch and not is_sure and length <= LONG:
        return None  # as likely meant in epochs
    name = type(scheduler).__name__
    return WRONG_RATE.found(
        Text(
            f"{name} is {length} steps long and steps once for each epoch of {epoch} batches: at this rate it ends after {length} epochs.",
            f"{name}の長さは{length}ステップですが、{epoch}バッチからなる1エポックごとに1回しか進みません。このままでは終わるまでに{length}エポックかかります。",
        ),
        {"scheduler": name, "length": length, "steps_per_epoch": epoch, "scheduler_steps": len(record.scheduler_steps)},
        severity="warning" if length > LONG or is_sure else "note",
    )


def _climbs_again(record: Record, rates: list[float]) -> Finding | None:
    """After its peak the rate falls by a third and more, and then climbs again bit by bit. A jump is a restart, and meant."""
    if _is_cyclic(record.scheduler):
        return None
    top = max(rates)
    low, low_at, fell = top, 0, False
    for number in range(rates.index(top), len(rates)):
        if rates[number] < low:
            low, low_at = rates[number], number
        fell = fell or low < 0.67 * top
        climb = rates[low_at : number + 1]
        gentle = len(climb) >= 4 and all(b - a < 0.5 * top for a, b in pairwise(climb))
        if fell and rates[number] > low + 0.1 * top and gentle:
            return WRONG_RATE.found(
                Text(
                    f"The learning rate falls from {top:.2g} to {low:.2g} (step {low_at + 1}) and climbs again to {rates[number]:.2g} "
                    f"(step {number + 1}): the schedule was over, and went on.",
                    f"学習率が{top:.2g}から{low:.2g}まで下がった後（{low_at + 1}ステップ目）、{rates[number]:.2g}まで再び上がっています"
                    f"（{number + 1}ステップ目）。スケジュールが終わった後も進められています。",
                ),
                {
                    "highest": top,
                    "lowest": low,
                    "lowest_at": low_at + 1,
                    "again": rates[number],
                    "again_at": number + 1,
                },
            )
    return None


def _swings(record: Record, rates: list[float]) -> Finding | None:
    """Nobody gave the scheduler, and the rate falls and rises again several times within one epoch: no restart is meant so often."""
    epoch, top = _steps_of_an_epoch(record), max(rates)
    if record.scheduler is not None or epoch is None or top <= 0:
        return None
    returns, is_low = 0, False
    warm = next(number for number, rate in enumerate(rates) if rate > 0.67 * top)  # what rises before is a warm-up
    for rate in rates[warm:]:
        returns += is_low and rate > 0.67 * top
        is_low = rate < 0.33 * top or (is_low and rate <= 0.67 * top)
    if returns < 2 or returns < 1.5 * len(rates) / epoch:
        return None
    return WRONG_RATE.found(
        Text(
            f"Within {len(rates)} steps the learning rate falls to {min(rates):.2g} and climbs back towards {top:.2g} {returns} times; an epoch has "
            f"{epoch} steps.",
            f"{len(rates)}ステップの間に、学習率が{min(rates):.2g}まで下がって{top:.2g}近くまで戻ることを{returns}回繰り返しています"
            f"（1エポックは{epoch}ステップ）。",
        ),
        {"highest": top, "lowest": min(rates), "times": returns, "steps_per_epoch": epoch},
    )


def _is_cyclic(scheduler: Any) -> bool:
    parts = [scheduler, *getattr(scheduler, "_schedulers", ())]
    parts += [each for part in parts for each in getattr(part, "lr_lambdas", None) or ()]
    return any(
        isinstance(
            part, lr_scheduler.CosineAnnealingWarmRestarts | lr_scheduler.CyclicLR | lr_scheduler.ReduceLROnPlateau
        )
        or any(word in f"{type(part).__name__} {part!r}".lower() for word in ("restart", "cycl"))
        for part in parts
    )


def _never(record: Record) -> Iterator[Finding]:
    epoch = _steps_of_an_epoch(record)
    through = [each for each in record.train_passes() if each.exhausted]
    is_late = len(through) >= 2 or (epoch is not None and len(record.steps) > 1.5 * epoch)
    is_seen = record.scheduler is not None and not any(type(record.scheduler).__name__ in w for w in record.unwatched)
    rates = {step.lrs for step in record.steps}
    if not is_seen or record.scheduler_steps or not is_late or len(rates) > 1:
        return
    yield NEVER.found(
        Text(
            f"In {len(record.steps)} optimizer steps ({len(through)} whole epochs) scheduler.step() was not called; the learning rate stays at "
            f"{max(record.steps[-1].lrs):.2g}.",
            f"{len(record.steps)}ステップ（{len(through)}エポック）の間、scheduler.step()が一度も呼ばれていません。学習率は"
            f"{max(record.steps[-1].lrs):.2g}のままです。",
        ),
        {"steps": len(record.steps), "epochs": len(through), "lr": max(record.steps[-1].lrs)},
    )


def _zero(record: Record, rates: list[float]) -> Iterator[Finding]:
    zero = next((number for number, rate in enumerate(rates) if rate > 0), len(rates))
    if zero < 5 and zero < (_steps_of_an_epoch(record) or 5):
        return
    yield ZERO.found(
        Text(
            f"The first {zero} of {len(rates)} optimizer steps are at a learning rate of 0.",
            f"{len(rates)}ステップ中、最初の{zero}ステップは学習率が0です。",
        ),
        {"steps_at_zero": zero, "steps": len(rates)},
        severity="warning" if zero == len(rates) and zero > 2 * (record.epoch or zero) else "note",
    )


def _steps_of_an_epoch(record: Record) -> int | None:
    return None if record.epoch is None else -(-record.epoch // max(record.period, 1))
