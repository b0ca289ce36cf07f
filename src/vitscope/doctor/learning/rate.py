"""Whether the learning rate that a model is to be trained with lies where it learns. In goes a patient, out comes one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite, sqrt

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.learning.training import guessing, loss_of, set_mode, small_set, train, trainable
from vitscope.doctor.patient import Patient

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 40
RANGE_IMAGES, IMAGES, IMAGES_OF_LARGE = 10, 30, 8
SMOOTHING = 0.7
LEARNS = 0.5
"""The share of the loss of guessing that a rate must take away to count as one that learns; or of what the best rate does."""
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

    Does: a range test on a copy (Adam, evaluation mode, the rate rising from 1e-6 to 1 over 40 steps); the user's own is
    then tried by itself from the start, and where it fails, parts of the upper end: only a rate at which the loss falls far less is accused.
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
    learns, fall = _tried(patient, given)
    is_high = is_low = False
    if learns < LEARNS:
        tried = {rate: _tried(patient, rate) for rate in (high / 3, high / 10, high / 30) if rate > low}
        best = max(tried, key=lambda rate: tried[rate][0], default=given)
        works = [rate for rate in tried if tried[rate][0] >= max(LEARNS * tried[best][0], 2 * learns)]
        high = max(works, default=high)
        is_high = bool(works) and given > high
        is_low = bool(works) and given < low and fall < 0.1 * tried[best][1] and not patient.is_trained
    if not is_low and not is_high:
        low, high = min(low, given), max(high, given)
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
            f"The learning rate {given:g} is over the highest at which the model is stable: it learns {span_en} (Adam, range test).",
            f"学習率{given:g}は、モデルが安定する上限を超えています。学習できる範囲は{span_ja}です（Adamによる範囲テスト）。",
        )
    if fault is TOO_LOW:
        return Text(
            f"At the learning rate {given:g} the loss hardly moves in {STEPS} steps: the model learns {span_en} (Adam, range test).",
            f"学習率{given:g}では、{STEPS}ステップで損失がほとんど動きません。学習できる範囲は{span_ja}です（Adamによる範囲テスト）。",
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


def _tried(patient: Patient, rate: float) -> tuple[float, float]:
    """The share of the loss of guessing that a constant rate takes away, and how far the loss falls at all; 0 where it ends as no number."""
    images, labels = small_set(patient, IMAGES_OF_LARGE if patient.is_large else IMAGES)
    course = train(patient, images, labels, rate, steps=STEPS, target=0.05, patience=STEPS)
    if course.out_of_time:
        raise Skipped(_LATE)
    end = course.losses[-1]
    return (
        (max(1 - end / guessing(labels, patient.loss), 0.0), max(course.losses[0] - end, 0.0))
        if isfinite(end)
        else (0.0, 0.0)
    )
