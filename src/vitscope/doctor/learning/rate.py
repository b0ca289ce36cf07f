"""Whether the learning rate that a model is to be trained with lies where it learns. In goes a patient, out comes one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite, sqrt
from typing import NamedTuple

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.learning.training import guessing, loss_of, set_mode, small_set, train, trainable
from vitscope.doctor.patient import Patient

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 40
RANGE_IMAGES, IMAGES, IMAGES_OF_LARGE = 10, 30, 8
SMOOTHING = 0.7
LAST = 8
"""Steps at the end of a trial over which the loss is averaged."""
LEARNS = 0.5
"""The share of the loss of guessing that a rate must take away to count as one that learns; or of what the best rate does."""
_NONE_LEARNS = Text(
    "at none of the rates that the range test points to does the loss fall under that of guessing in 40 steps, so there is no range to compare with",
    "範囲テストが示すどの学習率でも、40ステップで損失がチャンスレベルを下回らず、比較する範囲がありません",
)
_LATE = Text("the time ran out during the range test", "範囲テストの途中で時間切れになりました")

TOO_HIGH = Fault(
    "learning-rate-too-high",
    "L1",
    "learning-rate",
    "warning",
    Text(
        "At too high a rate the first steps throw the weights far away: the loss jumps, then sticks near that of guessing.",
        "学習率が高すぎると最初の数ステップで重みが大きく飛ばされ、損失は跳ね上がった後、チャンスレベルの近くから動かなくなります。",
    ),
    Text(
        "take a tenth of the highest stable rate, and let it rise over the first epochs (warm-up)",
        "安定する最大の学習率の10分の1程度にし、最初の数エポックはウォームアップで徐々に上げてください",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)   # after 5 epochs of warm-up",
)
TOO_LOW = Fault(
    "learning-rate-too-low",
    "L1",
    "learning-rate",
    "warning",
    Text(
        "At too low a rate weights hardly move: training from scratch takes far longer than it has to, and may look stuck.",
        "学習率が低すぎると重みがほとんど動かず、スクラッチからの学習に必要以上の時間がかかり、止まっているように見えます。",
    ),
    Text(
        "from scratch, take a tenth of the highest stable rate; so low a rate is for fine-tuning",
        "スクラッチからの学習では、安定する最大の学習率の10分の1程度にしてください。これほど低い学習率はファインチューニング用です",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)",
)
IN_RANGE = Fault(
    "learning-rate-in-range",
    "L1",
    "learning-rate",
    "note",
    Text(
        "The rate lies where the model learns and does not diverge on a few images.",
        "数枚の画像で試したかぎり、モデルが発散せずに学習できる範囲の学習率です。",
    ),
    Text("nothing to do", "対処は不要です"),
)


def learning_rate(patient: Patient) -> Iterator[Finding]:
    """Whether the user's learning rate lies in the range that is stable.

    Does: a range test on a copy (Adam, evaluation mode, the rate rising from 1e-6 to 1 over 40 steps), and parts of its upper end by themselves
    until one learns, which is the range's; a rate beside the range is tried by itself too: only one at which the loss falls far less is accused.
    Finds: rates at which the loss rises or does not move (L1, M19).
    Must not accuse: low rates of trained weights; the range is Adam's, and says nothing of plain SGD, whose rates are some hundred times larger.
    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017 (arXiv:1506.01186).
    """
    if patient.lr is None:
        raise Skipped(Text("no learning rate was given; --lr", "学習率が指定されていません（--lr）"), is_left_out=True)
    if patient.is_large and not patient.deep:
        raise Skipped(
            Text(
                "a large model takes minutes for 40 steps; --deep does them",
                "大きなモデルでは40ステップに数分かかります。--deepを付けると実行します",
            ),
            is_left_out=True,
        )
    refuse_not_finite(patient)
    rates, losses = _range_test(patient)
    low, high = _stable(rates, losses)
    if low is None or high is None:
        raise Skipped(
            Text(
                "the loss falls at no rate between 1e-6 and 1 in 40 steps, so there is no range to compare with",
                "1e-6から1までのどの学習率でも40ステップで損失が下がらず、比較する範囲がありません",
            )
        )
    given = patient.lr
    high, best = _confirmed(patient, low, high)
    is_high = is_low = False
    if not low <= given <= high:
        learns, fall = _tried(patient, given)
        is_high = given > high and 2 * learns <= best.learns and learns < LEARNS
        is_low = given < low and fall < 0.1 * best.fall and not patient.is_trained
    evidence = {
        "learning_rate": given,
        "lowest_that_learns": low,
        "highest_that_is_stable": high,
        "optimizer": "Adam",
        "losses": [round(loss, 4) for loss in losses],
        "rates": rates,
    }
    fault = TOO_HIGH if is_high else TOO_LOW if is_low else IN_RANGE
    inside = f"lr={_inside(low, high):.2g}"
    yield replace(fault, code=fault.code.replace("lr=5e-4", inside)).found(_told(fault, given, low, high), evidence)


def _inside(low: float, high: float) -> float:
    """A round rate within a range: a tenth of its upper end, or its middle where that lies below the lower one."""
    rate = high / 10 if high / 10 > low else sqrt(low * high)
    near = float(f"{rate:.0e}")
    return near if low <= near <= high else rate


def _told(fault: Fault, given: float, low: float, high: float) -> Text:
    """The sentence on a rate that is too high, too low, or neither."""
    span_en, span_ja = f"from {low:.1e} to {high:.1e}", f"{low:.1e}から{high:.1e}"
    if fault is TOO_HIGH:
        return Text(
            f"At the learning rate {given:g} the loss falls far less in {STEPS} steps than at {high:.1e}: the model learns {span_en} "
            "(Adam, range test).",
            f"学習率{given:g}では、{STEPS}ステップでの損失の下がり方が{high:.1e}のときよりずっと小さくなります。学習できる範囲は{span_ja}です"
            "（Adamによる範囲テスト）。",
        )
    if fault is TOO_LOW:
        return Text(
            f"At the learning rate {given:g} the loss hardly moves in {STEPS} steps: the model learns {span_en} (Adam, range test).",
            f"学習率{given:g}では、{STEPS}ステップで損失がほとんど動きません。学習できる範囲は{span_ja}です（Adamによる範囲テスト）。",
        )
    if not low <= given <= high:
        return Text(
            f"The learning rate {given:g} is one at which the model learns, as it does {span_en} (Adam, range test on a few images).",
            f"学習率{given:g}は、範囲テストで確かめた範囲（{span_ja}、数枚の画像でのAdam）の外ですが、単独で試すと学習できました。",
        )
    return Text(
        f"The learning rate {given:g} is one at which the model learns: {span_en} (Adam, range test on a few images).",
        f"学習率{given:g}は、モデルが学習できる範囲（{span_ja}、数枚の画像でのAdamによる範囲テスト）に収まっています。",
    )


def _range_test(patient: Patient) -> tuple[list[float], list[float]]:
    """The rates, and the loss before the step at each."""
    images, labels = small_set(patient, IMAGES_OF_LARGE if patient.is_large else RANGE_IMAGES)
    model = trainable(patient)
    set_mode(model, dropout=False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    images = images.to(parameters[0].dtype) if parameters else images
    images, labels = images[: patient.batch or len(images)], labels[: patient.batch or len(labels)]
    optimizer = torch.optim.Adam(parameters, lr=LOWEST)
    rates = [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]
    losses: list[float] = []
    for rate in rates:
        if patient.time_left() <= 0:
            raise Skipped(_LATE)
        optimizer.param_groups[0]["lr"] = rate
        with torch.enable_grad():
            loss = loss_of(patient.scores(images, model), labels, patient.loss)
            losses.append(float(loss.detach()))
            if not isfinite(losses[-1]) or losses[-1] > 10 * max(losses[0], 1) or not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return rates[: len(losses)], losses


def _stable(rates: list[float], losses: list[float]) -> tuple[float | None, float | None]:
    """The rate at which the loss has begun to fall, and the last one before it rises for good."""
    smooth, mean = [], losses[0]
    for loss in losses:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss if isfinite(loss) else float("inf")
        smooth.append(mean)
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    begun = next((i for i, loss in enumerate(smooth[: lowest + 1]) if loss < 0.99 * smooth[0]), None)
    return (None, None) if begun is None else (rates[begun], rates[lowest])


class _Trial(NamedTuple):
    """What a constant rate does in a few steps from the start; zeros where the loss ends as no number."""

    learns: float
    """The share of the loss of guessing that it takes away."""
    fall: float
    """How far the loss falls at all."""


def _confirmed(patient: Patient, low: float, high: float) -> tuple[float, _Trial]:
    """The part of a range test's upper end that learns when it is tried by itself, and what the best of those that were tried does: which rate the
    user gave is not asked, so that one model has one range. A tenth does in most models, and soon; a third swings in many.

    Raises:
        Skipped: none learns.
    """
    tried: dict[float, _Trial] = {}
    for rate in (*(high / part for part in (10, 30, 3) if high / part > low), low):
        tried[rate] = _tried(patient, rate)
        if tried[rate].learns >= LEARNS:
            break
    best = max(tried.values(), key=lambda trial: trial.learns)
    if not best.learns:
        raise Skipped(_NONE_LEARNS)
    return max(rate for rate in tried if tried[rate].learns >= LEARNS * best.learns), best


def _tried(patient: Patient, rate: float) -> _Trial:
    """Where the loss stands at the end; near the upper end it swings, so that the last steps are taken together."""
    images, labels = small_set(patient, IMAGES_OF_LARGE if patient.is_large else IMAGES)
    course = train(patient, images, labels, rate, steps=STEPS, target=0.05, patience=STEPS)
    if course.out_of_time:
        raise Skipped(_LATE)
    last = course.losses[-1:] if course.reached else course.losses[-LAST:]
    end = sum(last) / len(last)
    if not isfinite(end):
        return _Trial(0.0, 0.0)
    return _Trial(max(1 - end / guessing(labels, patient.loss), 0.0), max(course.losses[0] - end, 0.0))
