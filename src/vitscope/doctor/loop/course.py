"""Where the loss goes over the steps. In goes the record of a loop, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
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

_PERHAPS = Text(
    "Where the loss itself changes on the way (a term that is ramped up, other labels or images, a second network that learns too), that may be "
    "meant; otherwise the steps overshoot, and ViTs often never come back from that.",
    "途中で損失自体が変わる場合（徐々に強める項、ラベルや画像の変更、同時に学習する別のネットワークなど）は意図どおりかもしれません。そうでなければ"
    "更新が行き過ぎており、ViTはそこから戻れないことがよくあります。",
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
    yield from _climbs(record, record.losses_of_steps)


def _climbs(record: Record, losses: list[float]) -> Iterator[Finding]:
    climb, is_one = _climb(losses, _worst_start(record, losses)), _is_one_cross_entropy(record)
    if climb is None or is_one is False:
        return
    is_known = is_one is True and not _came_late(record, losses)
    first, peak, last = climb
    rates = record.rates or [float("nan")]
    yield (TOO_HIGH if is_known else replace(TOO_HIGH, why=_PERHAPS)).found(
        Text(
            f"The loss climbs: {first:.3g} at the start, {peak:.3g} at its peak, {last:.3g} in the end (learning rate: up to {max(rates):.2g}).",
            f"損失が上昇しています。開始時{first:.3g}、最大{peak:.3g}、終了時{last:.3g}（学習率は最大{max(rates):.2g}）。",
        ),
        {"first": first, "peak": peak, "last": last, "largest_lr": max(rates), "steps": len(losses)},
        severity="warning" if is_known else "note",
    )


def _climb(losses: Sequence[float], start: float | None) -> tuple[float, float, float] | None:
    """The first, the highest and the last of losses that climb; None where they do not."""
    if len(losses) < 8:
        return None
    quarter = max(3, len(losses) // 4)
    first, last, peak = mean(losses[:3]), median(losses[-quarter:]), max(losses)
    climbs = last > 1.2 * first and last - first > 0.2
    stuck = peak > 2 * first and last > 0.95 * first
    bursts = start is not None and peak > 3 * start and last > 1.1 * start
    if first <= 0 or not (climbs or stuck or bursts):
        return None
    return (losses[0] if bursts else first), peak, last


def _is_one_cross_entropy(record: Record) -> bool | None:
    """Whether the loss is a cross-entropy with the loader's labels in the beginning and in the end, and is not learned; None where it is another in
    both, or nobody knows. Where it is one in a part of the block only, another loss is higher or lower; and where the labels are learned all the
    same, another term is what climbs."""
    count = len(record.steps)
    early = [fit for fit in record.fits if fit.step < max(3, count // 4)]
    late = [fit for fit in record.fits if fit.step >= count - max(3, count // 4)]
    if not early or not late:
        return None
    is_first, is_last = (mean(fit.is_cross_entropy for fit in part) >= 0.5 for part in (early, late))
    if not is_first or not is_last:
        return False if is_first or is_last else None
    return median(fit.entropy for fit in late) >= 0.9 * min(fit.entropy for fit in early[:3])


def _came_late(record: Record, losses: list[float]) -> bool:
    """Whether the loss had long fallen when it rose, at a rate that had been there all the time: then the images, the labels or the loss changed."""
    rates, width = record.rates, 5
    means = [mean(losses[number : number + width]) for number in range(len(losses) - width + 1)]
    low = means.index(min(means))
    if low < 10 or means[low] > 0.7 * min(losses[:3]) or len(rates) <= low:
        return False
    return max(rates[low:]) <= 1.01 * max(rates[: low - width + 1])


def _worst_start(record: Record, losses: Sequence[float]) -> float | None:
    """What a model that knows nothing has as its loss, where that is a cross-entropy. At a rate that is far too high the loss bursts at once, so that
    a mean over the first steps tells nothing, and one batch alone may be an easy one."""
    fits = [fit.is_cross_entropy for fit in record.fits]
    if not losses or not record.classes or record.classes < 2 or sum(fits) < 3 or sum(fits) < 0.5 * len(fits):
        return None
    return max(losses[0], math.log(record.classes))
