"""Where the loss goes over the steps. In goes the record of a loop, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean, median

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

NOT_FINITE = Fault(
    "loss-not-finite",
    "L1",
    "loop-loss",
    "error",
    Text(
        "One step with a loss of NaN makes every weight NaN: nothing after it counts.",
        "NaNの損失で一度でもステップすると、すべての重みがNaNになり、それ以降の学習は無意味になります。",
    ),
    Text(
        "lower the learning rate, warm it up, clip gradients to 1.0; look for log(0), a division by zero, and fp16 without a GradScaler",
        "学習率を下げ、ウォームアップを入れ、勾配を1.0でクリップしてください。log(0)やゼロ除算、GradScalerなしのfp16も確認してください",
    ),
)
TOO_HIGH = Fault(
    "learning-rate-too-high",
    "L1",
    "loop-loss",
    "warning",
    Text(
        "A loss that climbs from the start means steps that overshoot; ViTs often never come back from it and stay at ln(classes).",
        "最初から損失が上がるのは、更新が行き過ぎている証拠です。ViTはそこから戻れず、ln(クラス数)にとどまることがよくあります。",
    ),
    Text(
        "AdamW with 3e-4 to 1e-3, a warm-up of some epochs, then a cosine; clip gradients to 1.0",
        "AdamWの学習率を3e-4〜1e-3とし、数エポックのウォームアップの後はコサインで減衰させ、勾配を1.0でクリップしてください",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)",
)


def course(record: Record) -> Iterator[Finding]:
    """Where the loss goes over the steps."""
    losses: Sequence[float] = record.losses
    if record.uses_closure or len(losses) < 8:
        return
    bad = [number for number, value in enumerate(losses) if not math.isfinite(value)]
    if bad:
        persistent = len(bad) == len(losses) - bad[0] and (len(bad) > 2 or not record.saw_scaler)
        yield NOT_FINITE.found(
            Text(
                f"The loss is not finite in {len(bad)} of {len(losses)} backward passes, from number {bad[0] + 1} on.",
                f"{len(losses)}回のbackward中{len(bad)}回で損失が有限ではありません（最初は{bad[0] + 1}回目）。",
            ),
            {"first": bad[0] + 1, "count": len(bad), "backwards": len(losses)},
            severity="error" if persistent else "warning",
        )
        return
    losses = record.losses_of_steps
    if len(losses) < 8:
        return
    quarter = max(3, len(losses) // 4)
    first, last, peak = mean(losses[:3]), median(losses[-quarter:]), max(losses)
    climbs = last > 1.2 * first and last - first > 0.2
    stuck = peak > 2 * first and last > 0.95 * first
    start = _worst_start(record, losses[0])
    bursts = start is not None and peak > 3 * start and last > 1.1 * start
    if first > 0 and (climbs or stuck or bursts):
        first = losses[0] if bursts else first
        rates = record.rates or [float("nan")]
        yield TOO_HIGH.found(
            Text(
                f"The loss climbs: {first:.3g} at the start, {peak:.3g} at its peak, {last:.3g} in the end (learning rate: up to {max(rates):.2g}).",
                f"損失が上昇しています。開始時{first:.3g}、最大{peak:.3g}、終了時{last:.3g}（学習率は最大{max(rates):.2g}）。",
            ),
            {"first": first, "peak": peak, "last": last, "largest_lr": max(rates), "steps": len(losses)},
        )


def _worst_start(record: Record, first: float) -> float | None:
    """What a model that knows nothing has as its loss, where that is a cross-entropy. At a rate that is far too high the loss bursts at once, so that
    a mean over the first steps tells nothing, and one batch alone may be an easy one."""
    fits = [fit.is_cross_entropy for fit in record.fits]
    if not record.classes or record.classes < 2 or sum(fits) < 3 or sum(fits) < 0.5 * len(fits):
        return None
    return max(first, math.log(record.classes))
