"""Losses that do not move: of one score, where they cannot, and at a rate at which nothing happens. In goes the record of a loop, out comes at most
one finding of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, median, stdev

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.told import ONE_SCORE
from vitscope.doctor.loop.accumulated import losses_of_steps
from vitscope.doctor.loop.no_rate import WITH_SGD
from vitscope.doctor.loop.record import Record

_EXPLAINS = ("no-gradient-at-the-step", "parameters-do-not-move", "gradients-clipped-to-nothing")
STANDS = Fault(
    "loss-does-not-move",
    "L1",
    "loop-loss",
    "note",
    Text(
        "At this pace nothing is learned in the time that a training has. Where a trained model is to be changed but little, that is meant.",
        "このペースでは、通常の学習時間では何も学習されません。学習済みモデルをわずかに変えるだけの意図なら問題ありません。",
    ),
    Text(
        "raise the learning rate: AdamW with 3e-4 to 1e-3 from scratch, or SGD with some 0.01 to 0.1",
        "学習率を上げてください（スクラッチからの学習では、AdamWなら3e-4〜1e-3、SGDなら0.01〜0.1程度）",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)",
)
_RATES_OF_ADAM, _RATES_OF_SGD = 5e-4, 0.05
_NOT_THE_RATE = Text(
    "the rate itself is a usual one: look for what makes the steps small, such as a loss that is multiplied by a small number or gradients that are "
    "clipped or scaled down",
    "学習率自体は一般的な値です。損失に小さな数が掛けられていないか、勾配がクリップやスケーリングで小さくなっていないかなど、更新が小さくなる原因を"
    "確認してください",
)
LONG, LITTLE, LEAST = 50, 0.01, 1e-3
"""How many steps it takes to tell, the share of itself by which a loss that stands moves, and that of their size by which weights move that stand."""


def one_score(record: Record) -> Iterator[Finding]:
    """A cross-entropy of a single score is 0, whatever it is."""
    losses = record.losses
    if record.classes != 1 or len(losses) < 3 or any(losses):
        return
    yield replace(ONE_SCORE, check="loop-loss", explains=_EXPLAINS).found(
        Text(
            f"The model gives one score for each image, and the loss is exactly 0 in all of {len(losses)} backward passes, as a cross-entropy of one "
            "class is.",
            f"モデルは画像ごとにスコアを1つだけ出力し、{len(losses)}回のbackwardすべてで損失がちょうど0です。クラスが1つのクロスエントロピーは必ず0になります。",
        ),
        {"classes": 1, "backwards": len(losses)},
    )


def stands(record: Record) -> Iterator[Finding]:
    """The loss of many steps is the same in the end as in the beginning, and the weights are next to the same too. At a rate that is rising a warm-up
    has hardly begun."""
    losses, rates = losses_of_steps(record), record.rates
    changes = [step.change for step in record.steps if step.change is not None]
    sizes = {name: p.numel() for name, p in record.model.named_parameters()}
    is_most = sum(sizes[name] for name in record.held) > 0.5 * sum(sizes.values())
    if len(losses) < LONG or not changes or not rates or not is_most or not all(map(math.isfinite, losses)):
        return
    part = len(losses) // 3
    first, last, noise = mean(losses[:part]), mean(losses[-part:]), stdev(losses) * math.sqrt(2 / part)
    total, count = median(changes) * len(record.steps), len(record.steps)
    is_rising = rates[-1] > 1.01 * rates[0]
    if (
        is_rising
        or max(rates) == 0
        or first == 0
        or total > LEAST
        or abs(first - last) > max(LITTLE * abs(first), 2 * noise)
    ):
        return
    yield _raised(record, max(rates)).found(
        Text(
            f"The loss did not move: {first:.3g} in the first third of {count} steps, {last:.3g} in the last. The weights change by "
            f"{100 * total:.1g} % of their size in these steps (learning rate: up to {max(rates):.2g}).",
            f"損失が動いていません（{count}ステップの最初の3分の1の平均が{first:.3g}、最後の3分の1が{last:.3g}）。この間の重みの変化は"
            f"{100 * total:.1g} %です（学習率は最大{max(rates):.2g}）。",
        ),
        {"first": first, "last": last, "steps": count, "change_of_weights": total, "largest_lr": max(rates)},
    )


def _raised(record: Record, rate: float) -> Fault:
    """With a rate in its code that is larger than the one in use; where that is a usual one, the rate is not what has to change."""
    is_sgd = isinstance(record.optimizer, torch.optim.SGD)
    if rate >= (_RATES_OF_SGD if is_sgd else _RATES_OF_ADAM):
        return replace(STANDS, advice=_NOT_THE_RATE, code="")
    return replace(STANDS, code=WITH_SGD) if is_sgd else STANDS
