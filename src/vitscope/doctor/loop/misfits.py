"""Losses that are given what they do not take: a cross-entropy or one with logits of squashed scores, a negative log-likelihood of probabilities. In
go scores, their gradient and labels, out comes which of them left that gradient; in goes the record of a loop, out comes at most one finding.

Shapes: scores and gradient B Y, target B Y of zeros and ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

CLOSE, UNCLEAR = 0.02, "unclear"
"""How much of the gradient may be left over; what is said where an honest loss leaves nearly the same."""
_Shape = Callable[[Tensor, Tensor], Tensor]
"""The direction of a loss's gradient, from scores and target."""


def _through_softmax(p: Tensor, u: Tensor) -> Tensor:
    return p * (u - (p * u).sum(-1, keepdim=True))


def _softmax(outer: Callable[[Tensor], Tensor]) -> _Shape:
    """Of a loss whose gradient is `outer(given) - target`, given the softmax of the scores."""
    return lambda z, t: _through_softmax(z.softmax(-1), outer(z.softmax(-1)) - t)


def _sigmoid(outer: Callable[[Tensor], Tensor]) -> _Shape:
    return lambda z, t: (outer(z.sigmoid()) - t) * z.sigmoid() * (1 - z.sigmoid())


def _tanh(outer: Callable[[Tensor], Tensor]) -> _Shape:
    return lambda z, t: (outer(z.tanh()) - t) * (1 - z.tanh().square())


def _same(z: Tensor) -> Tensor:
    return z


def _ce(z: Tensor) -> Tensor:
    return z.softmax(-1)


MISFITS: dict[str, _Shape] = {
    "cross_entropy(sigmoid)": _sigmoid(_ce),
    "cross_entropy(tanh)": _tanh(_ce),
    "binary_cross_entropy_with_logits(sigmoid)": _sigmoid(torch.sigmoid),
    "binary_cross_entropy_with_logits(softmax)": _softmax(torch.sigmoid),
    "nll_loss(softmax)": lambda z, t: _through_softmax(z.softmax(-1), -t),
}
_HONEST: tuple[_Shape, ...] = (
    _softmax(_same),
    _softmax(_ce),  # told of elsewhere
    _sigmoid(_same),
    _tanh(_same),
    lambda z, t: (z.tanh() - 2 * t + 1) * (1 - z.tanh().square()),
    *((lambda z, t, k=k: (k * z).softmax(-1) - t) for k in (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 20.0)),
)


def _left(g: Tensor, *shapes: Tensor) -> float:
    basis = torch.stack([shape.flatten() for shape in shapes], dim=1)
    solution = torch.linalg.lstsq(basis, g.flatten()[:, None]).solution[:, 0]
    if len(shapes) == 1 and float(solution[0]) <= 0:
        return math.inf
    return float((basis @ solution - g.flatten()).norm() / g.norm())


def left_by_kin(z: Tensor, g: Tensor, target: Tensor) -> float:
    """How much of the gradient the other losses of a softmax leave over, the less of both: a squared error and a binary cross-entropy with logits."""
    return min(_left(g, _softmax(outer)(z, target)) for outer in (_same, torch.sigmoid))


def misfit_of(z: Tensor, g: Tensor, target: Tensor) -> str:
    """Which misfit left a gradient; nothing where none did, `unclear` where an honest loss may have."""
    is_label_alone = float((g * (1 - target)).norm()) <= 1e-6 * float(g.norm())
    if is_label_alone and bool((z >= 0).all()) and float((z.sum(-1) - 1).abs().max()) < 1e-3:
        return "nll_loss(softmax)" if _left(g, -target) < CLOSE else ""
    if z.shape[1] < 3:
        return UNCLEAR  # gradients of two scores differ in size only
    left = {name: _left(g, shape(z, target)) for name, shape in MISFITS.items()}
    best = min(left, key=lambda name: left[name])
    if left[best] >= CLOSE:
        return ""
    s, even = z.sigmoid(), torch.ones_like(z)
    others = [_left(g, s, s * target, target, even), _left(g, z, target, even)]
    others += [_left(g, shape(z, target)) for shape in _HONEST]
    return best if 2 * left[best] < min(others) else UNCLEAR


class _Case(NamedTuple):
    """What is said of a misfit, beside its floor."""

    squashed: str
    floor: Callable[[int], float]
    is_error: bool


_OF_LOGITS = (math.log1p(math.exp(-1)), math.log(2))
_CASES = {
    "cross_entropy(sigmoid)": _Case("sigmoid", lambda y: math.log(math.e + y - 1) - 1, True),
    "cross_entropy(tanh)": _Case("tanh", lambda y: math.log1p((y - 1) * math.exp(-2)), False),
    "binary_cross_entropy_with_logits(sigmoid)": _Case(
        "sigmoid", lambda y: (_OF_LOGITS[0] + (y - 1) * _OF_LOGITS[1]) / y, True
    ),
    "binary_cross_entropy_with_logits(softmax)": _Case(
        "softmax", lambda y: (_OF_LOGITS[0] + (y - 1) * _OF_LOGITS[1]) / y, True
    ),
}
_SQUASHED = Text(
    "The loss takes scores of any size and squashes them itself. Of numbers that lie close together already it makes nearly even probabilities: it "
    "has a floor far above zero, and the gradients are small.",
    "この損失は任意の大きさのスコアを受け取り、内部で確率に変換します。すでに狭い範囲に収められた値を渡すと確率がほぼ一様になり、損失はゼロよりずっと高い"
    "下限で止まり、勾配も小さくなります。",
)
_PROBABILITIES = Text(
    "nll_loss takes logarithms of probabilities. Of probabilities themselves it leaves next to no gradient where the model is surely wrong: such "
    "images are not learned. Where the mean probability of the labels is meant to be made larger, that is right.",
    "nll_lossには対数確率を渡す必要があります。確率をそのまま渡すと、モデルが強く間違えている画像では勾配がほとんど生じず、学習されません。"
    "正解クラスの確率の平均を最大化する意図なら問題ありません。",
)


def misfit(record: Record, twice: Fault, raw: Fault) -> Iterator[Finding]:
    """The one that most of the gradients are of, of which that can be told."""
    clear = [fit.misfit for fit in record.fits if not fit.is_cross_entropy and fit.misfit != UNCLEAR]
    name = max(set(clear), key=clear.count, default="")
    count, losses = clear.count(name), record.losses
    if not name or count < max(5, 0.8 * len(clear), 0.25 * len(record.fits)) or not record.classes or not losses:
        return
    if name == "nll_loss(softmax)":
        if max(losses) > 0 or min(losses) < -1.001:
            return  # one less the probability of the label: a loss of its own
        yield replace(raw, why=_PROBABILITIES).found(
            Text(
                f"The loss is the mean of the labels' probabilities with a minus, as nll_loss gives it for a softmax without a logarithm: "
                f"{losses[0]:.3g} at the start, {losses[-1]:.3g} in the end.",
                "損失は、正解クラスの確率の平均に負号を付けた値です。対数を取らないsoftmaxをnll_lossに渡すと、このようになります"
                f"（開始時{losses[0]:.3g}、終了時{losses[-1]:.3g}）。",
            ),
            {"first": losses[0], "last": losses[-1], "backwards": len(losses)},
            severity="warning",
        )
        return
    case, loss = _CASES[name], name.partition("(")[0]
    floor, before = case.floor(record.classes), case.squashed
    advice = Text(
        f"give the loss the scores of the model, without a {before} before it",
        f"{before}を通さず、モデルのスコアをそのまま損失に渡してください",
    )
    yield replace(twice, why=_SQUASHED, advice=advice, code=f"loss = F.{loss}(model(images), labels)").found(
        Text(
            f"The loss is a {loss} of the {before} of the model's scores ({count} of {len(record.fits)} gradients that were looked at agree with "
            f"that). With {record.classes} classes it cannot fall below {floor:.4f}.",
            f"損失は、モデルのスコアに{before}を掛けた値の{loss}です（調べた勾配{len(record.fits)}個中{count}個が一致）。{record.classes}クラスでは損失が"
            f"{floor:.4f}より下がりません。",
        ),
        {"floor": floor, "classes": record.classes, "output": before},
        severity="error" if case.is_error else "warning",
    )
