"""Where the loss goes over the steps. In goes the record of a loop, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import NamedTuple

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.accumulated import is_added_up, losses_of_steps, undivided
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.search import broke_at, is_search

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


_CAME_BACK = Text(
    "The first steps overshoot: for a while the model is worse than one that knows nothing. It came back from that; others do not, and what it has "
    "lost on the way a warm-up would have spared.",
    "最初の更新が行き過ぎ、しばらくは何も学習していないモデルより悪くなっています。今回は回復しましたが、回復しないこともあります。ウォームアップを入れれば"
    "この遠回りは避けられます。",
)
WIDTH = 5
"""Steps in a row that one batch alone does not make."""
ABOVE, FAR = 1.5, 1.75
"""How far above the loss of a model that knows nothing steps overshoot, where the loss stays there, and where it comes back."""


NOTHING_LEARNED, LONG_ENOUGH = 0.95, 20
"""The share of ln(classes) that the loss does not fall below, and in how many cross-entropies, where nothing is learned."""
WHOLE, RATE_OF_ADAM = 0.6, 0.03
"""The share of their size by which no step may change the weights, and the rate of Adam and its kin that is far beyond any that trains a ViT."""
_ADAMS = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
)
_STAYS = Text(
    "Steps as large as the weights wipe out what the steps before have learned: the scores soon hardly depend on the image, and the loss stays at "
    "that of guessing. ViTs often never come back from it.",
    "重みと同程度の大きさの更新は、それまでに学習した内容を消してしまいます。スコアはすぐに画像にほとんど依存しなくなり、損失はチャンスレベルにとどまります。"
    "ViTはそこから戻れないことがよくあります。",
)


_NOTHING, _WHICH = (
    Text("", ""),
    Text(", as the mean of the {count} batches of a step,", "（1ステップ{count}バッチの平均）"),
)
_ADDED = Text(
    " {count} backward passes make a step, and the loss is not divided by {count}: each step is {count} times as large as with the mean of these "
    "batches.",
    "1ステップにbackwardが{count}回ありますが、損失が{count}で割られていないため、更新は平均を使う場合の{count}倍になっています。",
)
_DIVIDE = Text(
    "divide the loss by the number of batches that make a step; where it climbs still, lower the learning rate and warm it up",
    "損失を1ステップのバッチ数で割ってください。それでも上昇する場合は、学習率を下げ、ウォームアップを入れてください",
)
_DIVIDE_CODE = "loss = criterion(model(images), labels) / accumulate\nloss.backward()"


_SEARCHED = Text(
    "A rate that is raised by the same factor at each step is looked for: that the loss breaks in the end is meant.",
    "毎ステップ同じ倍率で学習率を上げているので、学習率の探索と考えられます。最後に損失が発散するのは想定どおりです。",
)
_BELOW = Text(
    "train at some tenth of the rate from which the loss was above its start; with the weights from before the search",
    "損失が開始時を上回った学習率の10分の1程度で学習してください。重みは探索前のものに戻してください",
)


class _Climb(NamedTuple):
    """The first, the highest and the last of losses that climb."""

    first: float
    peak: float
    last: float


def course(record: Record) -> Iterator[Finding]:
    """Where the loss goes over the steps."""
    losses: Sequence[float] = record.losses
    if record.uses_closure or len(losses) < 8:
        return
    bad = [number for number, value in enumerate(losses) if not math.isfinite(value)]
    if bad:
        persistent = len(bad) == len(losses) - bad[0] and (len(bad) > 2 or not record.saw_scaler)
        said = Text(
            f"The loss is not finite in {len(bad)} of {len(losses)} backward passes, from number {bad[0] + 1} on.",
            f"{len(losses)}回のbackward中{len(bad)}回で損失が有限ではありません（最初は{bad[0] + 1}回目）。",
        )
        fault, said = _added(record, NOT_FINITE, said)
        yield fault.found(
            said,
            {"first": bad[0] + 1, "count": len(bad), "backwards": len(losses)},
            severity="error" if persistent else "warning",
        )
        return
    yield from _climbs(record, losses_of_steps(record))


def _climbs(record: Record, losses: list[float]) -> Iterator[Finding]:
    climb, is_one = _climb(losses, _worst_start(record, losses)), _is_one_cross_entropy(record)
    if climb is not None and is_one is not False:
        is_known = is_one is True and not _came_late(record, losses)
        yield _too_high(record, climb, TOO_HIGH if is_known else replace(TOO_HIGH, why=_PERHAPS), is_sure=is_known)
        return
    shot = _overshoot(record)
    if shot is not None:
        climb, is_back = shot
        yield _too_high(record, climb, replace(TOO_HIGH, why=_CAME_BACK) if is_back else TOO_HIGH, is_sure=not is_back)
        return
    yield from _stays(record)


def _stays(record: Record) -> Iterator[Finding]:
    """The loss never leaves that of guessing, and steps were of a size at which nothing is learned. That it has not left it yet, where the steps are
    small, tells nothing: many an honest training begins so. Only where most of the model is trained, for a few numbers may need large steps."""
    losses, classes = _cross_entropies(record), record.classes or 0
    sizes = {name: p.numel() for name, p in record.model.named_parameters()}
    if len(losses) < LONG_ENOUGH or len(record.steps) < LONG_ENOUGH or classes < 2 or not record.rates:
        return
    guess = math.log(classes)
    means = [mean(losses[number : number + WIDTH]) for number in range(len(losses) - WIDTH + 1)]
    is_most = sum(sizes[name] for name in record.held) > 0.5 * sum(sizes.values())
    if not is_most or min(means) < NOTHING_LEARNED * guess:
        return
    share = max((step.change for step in record.steps if step.change is not None), default=0.0)
    is_adam = isinstance(record.optimizer, _ADAMS)
    rate, least = max(record.rates), max(min(step.lrs) for step in record.steps)
    if share < WHOLE and not (is_adam and least >= RATE_OF_ADAM):
        return
    name = type(record.optimizer).__name__
    yield replace(TOO_HIGH, why=_STAYS).found(
        Text(
            f"In {len(record.steps)} steps the loss never leaves that of guessing (ln {classes} = {guess:.3g}; in the end {means[-1]:.3g}), and a "
            f"step changes the weights by up to {100 * share:.2g} % of their size ({name}, learning rate: up to {rate:.2g}).",
            f"{len(record.steps)}ステップの間、損失がチャンスレベル（ln {classes} = {guess:.3g}、最後は{means[-1]:.3g}）から動いていません。"
            f"1ステップで重みが最大でその大きさの{100 * share:.2g} %変わっています（{name}、学習率は最大{rate:.2g}）。",
        ),
        {"ln_classes": guess, "last": means[-1], "largest_step_beside_the_weights": share, "largest_lr": rate},
    )


def _too_high(record: Record, climb: _Climb, fault: Fault, *, is_sure: bool) -> Finding:
    first, peak, last = climb
    rates = record.rates or [float("nan")]
    rate, count = f"{max(rates):.2g}", undivided(record)
    en, ja = (each.format(count=count) if count > 1 else "" for each in (_WHICH.en, _WHICH.ja))
    said = Text(
        f"The loss{en} jumps: {first:.3g} at the start, up to {peak:.3g} on the way, {last:.3g} in the end (learning rate: up to {rate}).",
        f"損失{ja}が途中で跳ね上がっています。開始時{first:.3g}、途中の最大{peak:.3g}、終了時{last:.3g}（学習率は最大{rate}）。",
    )
    if last > 1.1 * first:
        said = Text(
            f"The loss{en} climbs: {first:.3g} at the start, {peak:.3g} at its peak, {last:.3g} in the end (learning rate: up to {rate}).",
            f"損失{ja}が上昇しています。開始時{first:.3g}、最大{peak:.3g}、終了時{last:.3g}（学習率は最大{rate}）。",
        )
    fault, said = _added(record, fault, said)
    broke, is_meant = broke_at(record, losses_of_steps(record)), is_search(record)
    said = said if broke is None else Text(said.en + broke.en, said.ja + broke.ja)
    fault = replace(fault, why=_SEARCHED, advice=_BELOW, code="") if broke is not None and is_meant else fault
    is_sure = is_sure and not is_meant
    return fault.found(
        said,
        {"first": first, "peak": peak, "last": last, "largest_lr": max(rates), "steps": len(losses_of_steps(record))},
        severity="warning" if is_sure else "note",
    )


def _added(record: Record, fault: Fault, said: Text) -> tuple[Fault, Text]:
    """The fault and its sentence, with the cause where the whole losses of several batches make a step."""
    if not is_added_up(record):
        return fault, said
    en, ja = (each.format(count=undivided(record)) for each in (_ADDED.en, _ADDED.ja))
    return replace(fault, advice=_DIVIDE, code=_DIVIDE_CODE), Text(said.en + en, said.ja + ja)


def _climb(losses: Sequence[float], start: float | None) -> _Climb | None:
    """Losses that climb, and are high in the end; None where they do not."""
    if len(losses) < 8:
        return None
    first, last, peak = mean(losses[:3]), _end_of(losses), max(losses)
    climbs = last > 1.2 * first and last - first > 0.2
    stuck = peak > 2 * first and last > 0.95 * first
    bursts = start is not None and peak > 3 * start and last > 1.1 * start
    if first <= 0 or not (climbs or stuck or bursts):
        return None
    return _Climb(losses[0] if bursts else first, peak, last)


def _overshoot(record: Record) -> tuple[_Climb, bool] | None:
    """Cross-entropies that were, for some steps in a row and before anything was learned, far above what knowing nothing costs, and whether they came
    back. Nothing that is well goes there and stays; where it comes back, the first steps were too large, and no more is known."""
    losses = _cross_entropies(record)
    if len(losses) < 12 or (record.classes or 0) < 2:
        return None
    start = max(losses[0], math.log(record.classes or 0))
    means = [mean(losses[number : number + WIDTH]) for number in range(len(losses) - WIDTH + 1)]
    learned = next((number for number, value in enumerate(means) if value < 0.6 * start), len(means))
    height, last = max(means[: max(learned, 1)]), _end_of(losses)
    is_back = last < 0.9 * start
    if height < (FAR if is_back else ABOVE) * start:
        return None
    return _Climb(losses[0], max(losses), last), is_back


def _cross_entropies(record: Record) -> list[float]:
    """Of the scores with their labels; none where the loss is another."""
    losses = [fit.entropy for fit in record.fits if fit.is_cross_entropy]
    return losses if len(losses) >= 0.8 * len(record.fits) else []


def _end_of(losses: Sequence[float]) -> float:
    return median(losses[-max(3, len(losses) // 4) :])


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
