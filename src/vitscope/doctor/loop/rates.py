"""What the learning rates at the steps say by themselves, whatever made them. In goes the record of a loop, out comes a finding or nothing."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi
from typing import Any

from torch.optim import lr_scheduler

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.words import counted

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
    explains=("loss-does-not-move",),
)
GONE = 1e-3
"""The share of its peak below which a learning rate is as good as none."""
LITTLE = 0.02
"""The share to which no rate is meant to fall in the first of several epochs."""
LONGEST_WARMUP = 200
"""No warm-up is meant to take more epochs."""
_ASKS = Text(
    " With scheduler= it could be told whether that is meant.", "scheduler=を渡せば、意図したものかどうか判断できます。"
)

_PER_BATCH = Text(" The scheduler steps once for each batch.", "スケジューラはバッチごとに進められています。")
_END = Text(
    "; whether that is meant, this scheduler does not tell.",
    "意図したものかどうかは、このスケジューラからは分かりません。",
)


def climbs_again(record: Record, rates: list[float]) -> Finding | None:
    """After its peak the rate falls by a third and more, and then climbs again bit by bit. A jump is a restart, and meant; so, where nobody gave a
    scheduler with a length of its own, is a rate that falls again afterwards: cycles, or one schedule after another."""
    if _is_cyclic(record.scheduler):
        return None
    is_given = _has_a_length(record.scheduler)
    top = max(rates)
    low, low_at, fell, steepest = top, 0, False, 0.0
    for number in range(rates.index(top) + 1, len(rates)):
        rate = rates[number]
        steepest = max(steepest, rate - rates[number - 1])  # since the lowest
        if rate < low:
            low, low_at, steepest = rate, number, 0.0
        fell = fell or low < 0.67 * top
        if fell and rate > low + 0.1 * top and number - low_at >= 3 and steepest < 0.5 * top:
            recurs = any(b < a for a, b in pairwise(rates[number:]))
            if recurs and not is_given and not _is_cosine_in_epochs(record, rates, low_at):
                return None
            has_scheduler = record.scheduler is not None
            return _climbed(rates, low_at, number, is_given=is_given, has_scheduler=has_scheduler)
    return None


def _has_a_length(scheduler: Any) -> bool:
    """Whether it is known to be over at some step and to climb behind it: of a function of the user's nobody knows."""
    parts = getattr(scheduler, "_schedulers", None) or [scheduler]
    return isinstance(parts[-1], lr_scheduler.CosineAnnealingLR)


def _is_cosine_in_epochs(record: Record, rates: list[float], low_at: int) -> bool:
    """Whether a function of the user's is one half of a cosine that went on: it is down in less than an epoch, stepped per batch, and climbs as it
    fell. Cycles that are meant may do that too; most have other shapes, or jump, or there is a whole number of them in an epoch."""
    top, low = max(rates), rates[low_at]
    begins = rates.index(top)
    fall, epoch = low_at - begins, record.steps_per_epoch
    if record.scheduler is None or epoch is None or not 4 <= fall < epoch or epoch % fall == 0 or top <= low:
        return False
    shape = [0.5 * (1 + cos(pi * number / fall)) for number in range(min(2 * fall + 1, len(rates) - begins))]
    return all(abs((rate - low) / (top - low) - x) < 0.02 for rate, x in zip(rates[begins:], shape, strict=False))


def _climbed(rates: list[float], low_at: int, number: int, *, is_given: bool, has_scheduler: bool) -> Finding:
    top, low = max(rates), rates[low_at]
    said = Text(
        f"The learning rate falls from {top:.2g} to {low:.2g} (step {low_at + 1}) and climbs again to {rates[number]:.2g} (step {number + 1})",
        f"学習率が{top:.2g}から{low:.2g}まで下がった後（{low_at + 1}ステップ目）、{rates[number]:.2g}まで再び上がっています"
        f"（{number + 1}ステップ目）。",
    )
    over = Text(": the schedule was over, and went on.", "スケジュールが終わった後も進められています。")
    end = over if is_given else _END if has_scheduler else Text(f".{_ASKS.en}", _ASKS.ja)
    return WRONG_RATE.found(
        Text(f"{said.en}{end.en}", f"{said.ja}{end.ja}"),
        {"highest": top, "lowest": low, "lowest_at": low_at + 1, "again": rates[number], "again_at": number + 1},
        severity="warning" if is_given else "note",
    )


def swings(record: Record, rates: list[float]) -> Finding | None:
    """Nobody gave the scheduler, and the rate falls and rises again many times within one epoch: few mean that, but some cycles are that short."""
    epoch, top = record.steps_per_epoch, max(rates)
    if record.scheduler is not None or epoch is None or top <= 0:
        return None
    returns, is_low = 0, False
    warm = next(number for number, rate in enumerate(rates) if rate > 0.67 * top)  # what rises before is a warm-up
    for rate in rates[warm:]:
        returns += is_low and rate > 0.67 * top
        is_low = rate < 0.33 * top or (is_low and rate <= 0.67 * top)
    if returns < 2 or returns < 4 * len(rates) / epoch:
        return None
    return WRONG_RATE.found(
        Text(
            f"Within {len(rates)} steps the learning rate falls to {min(rates):.2g} and climbs back towards {top:.2g} {returns} times; an epoch has "
            f"{epoch} steps.{_ASKS.en}",
            f"{len(rates)}ステップの間に、学習率が{min(rates):.2g}まで下がって{top:.2g}近くまで戻ることを{returns}回繰り返しています"
            f"（1エポックは{epoch}ステップ）。{_ASKS.ja}",
        ),
        {"highest": top, "lowest": min(rates), "times": returns, "steps_per_epoch": epoch},
        severity="note",
    )


def gone_early(record: Record, rates: list[float]) -> Finding | None:
    """The rate falls to next to nothing in less than an epoch, and the training goes on without one: for a quarter of an epoch at least, for the
    last steps of an honest schedule of one epoch are next to nothing too; for several epochs, where a little is left."""
    epoch, top = record.steps_per_epoch, max(rates)
    if epoch is None or top <= 0:
        return None
    for share, least in ((GONE, epoch / 4), (LITTLE, 3 * epoch)):
        since = len(rates) - steps_below(rates, share * top)
        fall, stays = since - rates.index(top), len(rates) - since
        if fall < epoch and stays >= max(5, least):
            break
    else:
        return None
    return WRONG_RATE.found(
        Text(
            f"The learning rate falls from {top:.2g} to {rates[since]:.2g} within {counted(fall, 'step')} and stays there for the "
            f"{stays} that follow; an epoch has {epoch} steps.",
            f"学習率が{fall}ステップで{top:.2g}から{rates[since]:.2g}まで下がり、残りの{stays}ステップもそのままです（1エポックは{epoch}ステップ）。",
        ),
        {
            "highest": top,
            "lowest": rates[since],
            "steps_of_the_fall": fall,
            "steps_after": stays,
            "steps_per_epoch": epoch,
        },
    )


def steps_below(rates: list[float], rate: float) -> int:
    """How many steps at the end are at a rate or below it."""
    return next((number for number, each in enumerate(reversed(rates)) if each > rate), len(rates))


def mostly_gone(record: Record, rates: list[float]) -> Finding | None:
    """A schedule in epochs, stepped for each batch, that lasts a little longer than an epoch: most of the steps, an epoch of them and more, run
    at the end of the block without a learning rate."""
    epoch, top = record.steps_per_epoch, max(rates)
    if epoch is None or top <= 0:
        return None
    stays = steps_below(rates, GONE * top)
    if stays < max(5, epoch) or 2 * stays <= len(rates):
        return None
    is_per_batch = record.scheduler is not None and len(record.scheduler_steps) > 0.8 * len(rates)
    return gone_for(record, rates, stays, is_per_batch=is_per_batch)


def gone_for(record: Record, rates: list[float], stays: int, *, is_per_batch: bool) -> Finding:
    """So many steps at the end of the block are as good as none."""
    epoch, top = record.steps_per_epoch, max(rates)
    return WRONG_RATE.found(
        Text(
            f"In the last {stays} of {len(rates)} steps the learning rate is a thousandth of its peak of {top:.2g} or less ({rates[-1]:.2g} in the "
            f"end); an epoch has {epoch} steps.{_PER_BATCH.en if is_per_batch else ''}",
            f"{len(rates)}ステップ中、最後の{stays}ステップは学習率が最大値{top:.2g}の千分の一以下です（最後は{rates[-1]:.2g}）。1エポックは{epoch}ステップです。"
            f"{_PER_BATCH.ja if is_per_batch else ''}",
        ),
        {"highest": top, "lowest": rates[-1], "steps_after": stays, "steps_per_epoch": epoch},
        severity="warning" if is_per_batch else "note",
    )


def hardly_moves(record: Record, rates: list[float]) -> Finding | None:
    """A warm-up that counts in batches, stepped per epoch: it would take hundreds of epochs."""
    times = sum(number < len(rates) for number in record.scheduler_steps)
    base = max((float(group.get("initial_lr") or 0.0) for group in record.optimizer.param_groups), default=0.0)
    rises = rates[-1] > rates[0] and all(a <= b for a, b in pairwise(rates))
    if not record.is_stepped_per_epoch or times < 2 or base <= 0 or not rises or rates[-1] > 0.2 * base:
        return None
    needs = times * base / (rates[-1] - rates[0])
    if needs < LONGEST_WARMUP:
        return None
    share = 100 * rates[-1] / base
    return WRONG_RATE.found(
        Text(
            f"The scheduler steps once for each epoch, and after {times} of them the warm-up is at {rates[-1]:.2g}, {share:.2g} % of {base:.2g}: at "
            f"this pace it takes {needs:.0f} epochs.",
            f"スケジューラは1エポックに1回進められていますが、{times}エポック後もウォームアップ中の学習率は{rates[-1]:.2g}"
            f"（{base:.2g}の{share:.2g} %）です。このペースでは{needs:.0f}エポックかかります。",
        ),
        {"scheduler_steps": times, "lr": rates[-1], "base_lr": base, "epochs_needed": needs},
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
