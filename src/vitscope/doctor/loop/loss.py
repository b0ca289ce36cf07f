"""The loss: whether it depends on the model, what it is, how large it is, and where it goes. In goes the record of a loop, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import mean, median

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.record import Record

DETACHED = Fault(
    "loss-detached",
    "L8",
    "loop-loss",
    "error",
    Text(
        "No gradient comes from the loss to the model: nothing is learned from it.",
        "損失からモデルへ勾配が届かないため、何も学習されません。",
    ),
    Text(
        "between the model's output and backward(), take out .item(), .detach(), .data, torch.tensor(loss), argmax and torch.no_grad()",
        "モデルの出力からbackward()までの間にある.item()、.detach()、.data、torch.tensor(loss)、argmax、torch.no_grad()を取り除いてください",
    ),
    "loss = F.cross_entropy(model(images), labels)\nloss.backward()",
    explains=("parameters-do-not-move", "no-gradient-at-the-step", "no-step", "gradients-cleared-before-the-step"),
)
TWICE = Fault(
    "probabilities-into-cross-entropy",
    "M12",
    "loop-loss",
    "error",
    Text(
        "Cross-entropy applies a softmax itself. Given probabilities, it makes them nearly uniform: the loss has a floor far above zero, and the "
        "gradients are small.",
        "クロスエントロピーは内部でsoftmaxを計算します。0から1の値にもう一度softmaxをかけるとほぼ一様になり、損失はゼロより"
        "ずっと高い下限で止まり、勾配も小さくなります。",
    ),
    Text(
        "let the model return its last Linear's output, without softmax or sigmoid",
        "モデルは最後のLinearの出力を、softmaxやsigmoidを通さずに返すようにしてください",
    ),
    "return self.head(x)",
)
DIVIDED = Fault(
    "loss-divided-twice",
    "L6",
    "loop-loss",
    "warning",
    Text(
        "The learning rate is in effect divided by the batch size too. SGD then hardly moves; Adam hides it until its epsilon shows.",
        "実質的に学習率までバッチサイズで割ることになります。SGDではほとんど動かず、Adamではイプシロンが効くまで表に出ません。",
    ),
    Text(
        "the mean over the batch already divides: take the second division out",
        "バッチ平均がすでに割り算を含みます。二度目の割り算を取り除いてください",
    ),
    "loss = criterion(model(images), labels)   # no / len(images)",
)
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
        "最初から損失が上がるのは、更新が行き過ぎている証拠です。ViTはそこから戻れず、ln(クラス数)に留まることがよくあります。",
    ),
    Text(
        "AdamW with 3e-4 to 1e-3, a warm-up of some epochs, then a cosine; clip gradients to 1.0",
        "AdamWで3e-4から1e-3、数エポックのウォームアップの後コサイン減衰とし、勾配を1.0でクリップしてください",
    ),
    "torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)",
)
NO_SCALER = Fault(
    "fp16-without-a-scaler",
    "L9",
    "loop-loss",
    "warning",
    Text(
        "Half-precision numbers end near 6e-8: smaller gradients become exactly zero, and the weights behind them stop to learn.",
        "半精度（fp16）で表せるのは6e-8程度までです。それより小さい勾配はちょうどゼロになり、該当する重みは学習しなくなります。",
    ),
    Text(
        "use torch.amp.GradScaler, or bfloat16, which needs none",
        "torch.amp.GradScalerを使うか、スケーラー不要のbfloat16にしてください",
    ),
    "scaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()",
)


def loss(record: Record) -> Iterator[Finding]:
    """What the loss is and does.

    Does: holds the gradient that comes back to the scores against that of a cross-entropy, and follows the loss over the steps.
    Finds: a loss that does not depend on the model, softmax or sigmoid before cross-entropy, a loss divided twice, losses that are no numbers or
    climb, fp16 without a GradScaler.
    Must not accuse: softmax with nll_loss(log(p)) or MSE, label smoothing, mixup, accumulation (loss / k), loss scaling by hand, bfloat16.
    Source: https://arxiv.org/abs/1710.03740 (loss scaling)
    """
    if not record.backwards and not record.cut_losses:
        raise Skipped(Text("no backward was seen", "backwardが観測されませんでした"))
    yield from _detached(record)
    yield from _twice(record)
    yield from _divided(record)
    yield from _course(record)
    yield from _no_scaler(record)


def _detached(record: Record) -> Iterator[Finding]:
    learning = [each for each in record.forwards if each.grad]
    known = record.held and any(p.requires_grad for p in record.model.parameters())
    reaching = any(each.reaches for each in record.forwards) or any(each.arrived for each in record.backwards)
    cut = record.cut_losses + len(record.backwards)
    if not known or reaching or not record.forwards or record.uses_closure or cut < (1 if record.cut_losses else 3):
        return
    switched_off = "" if learning else " (the model ran with gradients switched off)"
    off = "" if learning else "（モデルは勾配計算を無効にして実行されています）"
    yield DETACHED.found(
        Text(
            f"In {cut} backward passes no gradient came from the loss to the model's scores{switched_off}: it is cut off from them.",
            f"{cut}回のbackwardで、損失からモデルのスコアへ勾配が一度も届きませんでした{off}。損失がモデルから切り離されています。",
        ),
        {"backwards": cut, "losses_without_history": record.cut_losses, "forwards": len(record.forwards)},
    )


def _twice(record: Record) -> Iterator[Finding]:
    forms = [each.form for each in record.forwards if each.form is not None and each.grad]
    seen = record.loss_saw_scores and type(record.loss_fn) is torch.nn.CrossEntropyLoss
    fits = [fit for fit in record.fits if fit.is_cross_entropy]
    known = seen or (len(fits) >= 3 and len(fits) > 0.8 * len(record.fits))
    if len(forms) < 3 or not known or record.classes is None or "scores" in forms:
        return
    floor = math.log(math.e + record.classes - 1) - 1
    is_softmax = set(forms) == {"probabilities"}
    what = Text("rows that sum to 1", "各行の和が1") if is_softmax else Text("all between 0 and 1", "すべて0から1の間")
    name = "softmax" if is_softmax else "sigmoid"
    yield TWICE.found(
        Text(
            f"The model gives probabilities ({what.en}: a {name}), and the loss is a cross-entropy: with {record.classes} classes "
            f"it cannot fall below {floor:.4f}.",
            f"モデルの出力は確率（{what.ja}、{name}）ですが、損失はクロスエントロピーです。{record.classes}クラスでは損失が{floor:.4f}より"
            "下がりません。",
        ),
        {"floor": floor, "classes": record.classes, "output": name},
    )


def _divided(record: Record) -> Iterator[Finding]:
    fits = [fit for fit in record.fits if fit.is_cross_entropy and fit.batch >= 4]
    if len(fits) < 3 or record.saw_scaler or abs(median(fit.batch for fit in fits) - record.period) < 0.5:
        return
    over = [fit for fit in fits if any(abs(fit.size * fit.batch * k - 1) < 0.05 for k in {1, record.period})]
    if len(over) < 0.9 * len(fits):
        return
    size, batch = median(fit.size for fit in over), round(median(fit.batch for fit in over))
    part = f"1/{round(1 / size)}" if abs(round(1 / size) * size - 1) < 0.01 else f"{size:.4g}"
    yield DIVIDED.found(
        Text(
            f"The loss that backward() runs on is {part} of the mean cross-entropy of its batch of {batch}: divided by the batch size twice.",
            f"backward()を呼び出している損失は、{batch}枚のバッチの平均クロスエントロピーの{part}{'' if '/' in part else '倍'}です。"
            "バッチサイズで二重に割られています。",
        ),
        {"size_beside_the_mean": size, "batch": batch},
    )


def _course(record: Record) -> Iterator[Finding]:
    losses = record.losses
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
    quarter = max(3, len(losses) // 4)
    first, last, peak = mean(losses[:3]), median(losses[-quarter:]), max(losses)
    climbs = last > 1.2 * first and last - first > 0.2
    stuck = peak > 2 * first and last > 0.95 * first
    if first > 0 and record.steps and (climbs or stuck):
        rates = record.rates or [float("nan")]
        yield TOO_HIGH.found(
            Text(
                f"The loss climbs: {first:.3g} at the start, {peak:.3g} at its peak, {last:.3g} in the end (learning rate: up to {max(rates):.2g}).",
                f"損失が上昇しています。開始時{first:.3g}、最大{peak:.3g}、終了時{last:.3g}（学習率は最大{max(rates):.2g}）。",
            ),
            {"first": first, "peak": peak, "last": last, "largest_lr": max(rates), "backwards": len(losses)},
        )


def _no_scaler(record: Record) -> Iterator[Finding]:
    """fp16, by autocast or by the parameters' own precision, and nobody scales the loss."""
    learning = [each for each in record.forwards if each.grad and each.reaches]
    half = [each for each in learning if each.precision == torch.float16]
    pure = sum(p.dtype == torch.float16 for p in record.model.parameters() if p.requires_grad)
    by_hand = any(fit.size > 4 for fit in record.fits if fit.is_cross_entropy)
    if record.saw_scaler or by_hand or not (pure or len(half) > 0.5 * len(learning)) or len(learning) < 3:
        return
    zeros = [step.zeros for step in record.steps if step.zeros is not None and not step.empty]
    share = median(zeros) if zeros else float("nan")
    yield NO_SCALER.found(
        Text(
            f"The forward runs in float16 and the loss is not scaled: {100 * share:.1f} % of the gradients' numbers are exactly zero at the steps.",
            f"順伝播がfloat16で行われているのに、損失がスケーリングされていません。ステップ時、勾配の値の{100 * share:.1f} %がちょうどゼロです。",
        ),
        {"share_of_exact_zeros": share, "forwards_in_float16": len(half), "parameters_in_float16": pure},
    )
