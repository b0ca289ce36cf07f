"""Whether a softmax or a sigmoid stands before a cross-entropy, in the model or in the loop. In goes the record of a loop, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

TWICE = Fault(
    "probabilities-into-cross-entropy",
    "M12",
    "loop-loss",
    "error",
    Text(
        "Cross-entropy applies a softmax itself. Given probabilities, it makes them nearly uniform: the loss has a floor far above zero, and the "
        "gradients are small.",
        "クロスエントロピーは内部でsoftmaxを計算します。0から1の値にもう一度softmaxを掛けるとほぼ一様になり、損失はゼロより"
        "ずっと高い下限で止まり、勾配も小さくなります。",
    ),
    Text(
        "let the model return its last Linear's output, without softmax or sigmoid",
        "モデルは最後のLinearの出力を、softmaxやsigmoidを通さずに返すようにしてください",
    ),
    "return self.head(x)",
)


def twice(record: Record) -> Iterator[Finding]:
    """As the first that tells it does."""
    for told in (_in_the_model, _by_the_calls, _by_the_gradients):
        findings = list(told(record))
        if findings:
            yield from findings
            return


def _in_the_model(record: Record) -> Iterator[Finding]:
    forms = [each.form for each in record.forwards if each.form is not None and each.grad]
    seen = record.loss_saw_scores and type(record.loss_fn) is torch.nn.CrossEntropyLoss
    fits = [fit for fit in record.fits if fit.is_cross_entropy]
    known = seen or (len(fits) >= 3 and len(fits) > 0.8 * len(record.fits)) or _agree(record, "scores") > 0
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


def _by_the_gradients(record: Record) -> Iterator[Finding]:
    """The model gives scores, the loop makes probabilities of them, and the gradients are those of a cross-entropy of these with the labels."""
    count = sum(fit.is_of_softmax for fit in record.fits)
    others = sum(not fit.is_of_softmax and not fit.is_cross_entropy for fit in record.fits)
    if count < 5 or count < 4 * others or 2 * count < len(record.fits) or not record.classes:
        return
    floor = math.log(math.e + record.classes - 1) - 1
    yield _in_the_loop("softmax", "loss = F.cross_entropy(model(images), labels)").found(
        Text(
            f"The loss is a cross-entropy of the softmax of the model's scores ({count} of {len(record.fits)} gradients that were looked at "
            f"agree with that): the loop takes a softmax before it. With {record.classes} classes it cannot fall below {floor:.4f}.",
            f"損失は、モデルのスコアにsoftmaxを掛けた値のクロスエントロピーです（調べた勾配{len(record.fits)}個中{count}個が一致）。ループの中で"
            f"先にsoftmaxが計算されています。{record.classes}クラスでは損失が{floor:.4f}より下がりません。",
        ),
        {"floor": floor, "classes": record.classes, "output": "softmax"},
    )


def _by_the_calls(record: Record) -> Iterator[Finding]:
    """The model gives scores, and the loss module is given probabilities."""
    forms = record.loss_forms
    if type(record.loss_fn) is not torch.nn.CrossEntropyLoss or len(forms) < 3 or set(forms) != {"probabilities"}:
        return
    yield _in_the_loop("softmax", "loss = criterion(model(images), labels)").found(
        Text(
            f"The loss is a cross-entropy and is given probabilities: in all {len(forms)} calls that were looked at, the rows of its input sum to 1. "
            "The loop takes a softmax before it.",
            f"損失はクロスエントロピーですが、確率が渡されています。調べた{len(forms)}回の呼び出しすべてで、入力の各行の和が1でした。ループの中で"
            "先にsoftmaxが計算されています。",
        ),
        {"calls": len(forms), "output": "softmax"},
    )


def by_the_graph(record: Record) -> Iterator[Finding]:
    """The loss takes a log-softmax of what the loop has squashed before, whatever the targets: also mixed, soft or a teacher's."""
    for squashed in ("softmax", "sigmoid"):
        count = _agree(record, squashed)
        if not count:
            continue
        yield _in_the_loop(squashed, "loss = criterion(model(images), targets)").found(
            Text(
                f"The loss takes a log-softmax, as a cross-entropy does, of the {squashed} of the model's scores (in {count} of "
                f"{len(record.makings)} losses that were looked at).",
                f"損失は、モデルのスコアに{squashed}を掛けた値に、さらにlog_softmaxを掛けています（クロスエントロピーなど。調べた損失"
                f"{len(record.makings)}個中{count}個）。",
            ),
            {"calls": count, "output": squashed},
        )


def _in_the_loop(squashed: str, code: str) -> Fault:
    """With the loop's part of it to be mended."""
    advice = Text(
        f"give the loss the scores of the model, without a {squashed} before it",
        f"{squashed}を通さず、モデルのスコアをそのまま損失に渡してください",
    )
    return replace(TWICE, advice=advice, code=code)


def _agree(record: Record, taken: str) -> int:
    """In how many losses a log-softmax takes this and nothing else; 0 where it is not nearly all."""
    count = sum(each.log_softmax_of == {taken} for each in record.makings)
    return count if count >= 5 and count >= 0.8 * len(record.makings) else 0
