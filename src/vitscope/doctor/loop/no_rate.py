"""A learning rate of 0: at the first steps, or at all of them. In go the record of a loop and its learning rates, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.words import counted

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
    "lr_lambda=lambda epoch: min(1.0, (epoch + 1) / warmup)",
)
NONE = Fault(
    "learning-rate-always-zero",
    "L5",
    "loop-schedule",
    "error",
    Text(
        "At a learning rate of 0 no step changes any weight: the model does not learn.",
        "学習率が0のステップではどの重みも変わらず、モデルは学習しません。",
    ),
    Text(
        "give the optimizer a learning rate: AdamW with 3e-4 to 1e-3 from scratch, or SGD with some 0.01 to 0.1",
        "オプティマイザに学習率を指定してください（スクラッチからの学習では、AdamWなら3e-4〜1e-3、SGDなら0.01〜0.1程度）",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)",
)
WITH_SGD = "torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)"
_SET_ELSEWHERE = Text(
    "look at what sets the learning rate: a warm-up that counts in whole numbers (epoch // warmup), one that is never stepped on, or a schedule that "
    "is over",
    "学習率を設定している処理を確認してください（整数の割り算epoch // warmupになっているウォームアップ、進められていないウォームアップ、終了済みの"
    "スケジュールなど）",
)


def no_rate(record: Record, rates: list[float]) -> Iterator[Finding]:
    """Steps at 0. Where all of them are, it may be the first epoch of a warm-up that was seen; but none of an optimizer that was made with 0 and has
    no schedule with another base."""
    zero, count = next((number for number, rate in enumerate(rates) if rate > 0), len(rates)), len(rates)
    epoch = record.steps_per_epoch
    if zero < 5 and zero < (epoch or 5):
        return
    said = Text(
        f"The learning rate is 0 at the first {zero} of {counted(count, 'optimizer step')}.",
        f"{count}ステップ中、最初の{zero}ステップは学習率が0です。",
    )
    evidence = {"steps_at_zero": zero, "steps": count}
    is_raised = any(_base_of(record))
    through = sum(each.exhausted for each in record.train_passes())
    if zero < count or (is_raised and zero <= 2 * (epoch or zero)):
        yield ZERO.found(said, evidence)
        return
    is_sure = through > 1 or is_raised or (epoch is not None and count > epoch)
    is_sgd = isinstance(record.optimizer, torch.optim.SGD)
    fault = replace(NONE, code=WITH_SGD) if is_sgd else NONE
    fault = replace(NONE, advice=_SET_ELSEWHERE, code="") if is_raised or record.scheduler is not None else fault
    yield fault.found(
        Text(
            f"The learning rate is 0 at every step that was seen ({count}).",
            f"観測した{count}ステップすべてで学習率が0です。",
        ),
        evidence,
        severity="error" if record.scheduler is None and is_sure else "warning",
    )


def _base_of(record: Record) -> Iterator[float]:
    """The rates that a schedule multiplies, or that the optimizer was made with."""
    for group in (getattr(record.optimizer, "defaults", {}), *record.optimizer.param_groups):
        for name in ("lr", "initial_lr", "max_lr"):
            yield float(group.get(name) or 0.0)
