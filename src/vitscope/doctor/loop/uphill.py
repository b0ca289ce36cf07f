"""Whether the loop makes its cross-entropy larger instead of smaller. In goes the record of a loop, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

UPHILL = Fault(
    "loss-made-larger",
    "L1",
    "loop-loss",
    "error",
    Text(
        "Each step makes the right class less likely: the accuracy falls below chance, and the cross-entropy grows without end.",
        "更新のたびに正解クラスの確率が下がります。正解率は偶然より低くなり、クロスエントロピーは際限なく大きくなります。",
    ),
    Text(
        "minimise the cross-entropy itself: no minus in front of it, and no maximize=True",
        "クロスエントロピーそのものを最小化してください（先頭にマイナスを付けない、maximize=Trueを使わない）",
    ),
    "loss = F.cross_entropy(model(images), labels)\nloss.backward()",
    explains=("learning-rate-too-high",),
)
KNOWN = 1.0
"""A cross-entropy below this at the start is that of a model that has learned."""


def uphill(record: Record) -> Iterator[Finding]:
    """A minus in front of the cross-entropy, or an optimizer that maximises it; both together are right. A warning where the model knew the labels at
    the start: what was learned may be meant to be forgotten."""
    negated, plain = (
        [fit.entropy for fit in record.fits if fit.is_negated],
        [fit.entropy for fit in record.fits if fit.is_cross_entropy],
    )
    climbs = {bool(group.get("maximize")) for group in record.optimizer.param_groups}
    entropies = plain if climbs == {True} else negated
    if len(climbs) > 1 or len(entropies) < 3 or len(entropies) < 0.8 * len(record.fits):
        return
    how = (
        Text("the optimizer has maximize=True", "オプティマイザにmaximize=Trueが設定されています")
        if climbs == {True}
        else Text("its gradient comes back to the scores with a minus", "勾配が逆の符号でスコアに届いています")
    )
    yield UPHILL.found(
        Text(
            f"The cross-entropy is made larger, not smaller: {how.en}. It is {entropies[0]:.3g} at the start and {entropies[-1]:.3g} in the end.",
            f"クロスエントロピーが小さくなるのではなく、大きくなる方向に学習しています。{how.ja}（開始時{entropies[0]:.3g}、終了時{entropies[-1]:.3g}）。",
        ),
        {"first": entropies[0], "last": entropies[-1], "backwards": len(entropies)},
        severity="error" if entropies[0] > KNOWN else "warning",
    )
