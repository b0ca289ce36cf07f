"""Parameters that the optimizer holds, that the scores are made of, and to which no gradient ever comes. In goes the record of a loop, out comes at
most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record
from vitscope.doctor.naming import listed

CUT_OFF = Fault(
    "parameters-without-gradient",
    "L8",
    "loop-parameters",
    "error",
    Text(
        "A step passes over parameters without a gradient: they stay at their start values, and only the rest of the model learns.",
        "勾配のないパラメータはステップで飛ばされます。初期値のまま変わらず、学習するのは残りの部分だけです。",
    ),
    Text(
        "look in the model's forward for .detach(), .data, .item() and torch.no_grad() behind these parameters (vitscope.diagnose(model) names the "
        "place); where they are meant to stay, set requires_grad=False on them",
        "モデルのforwardで、これらのパラメータより後ろにある.detach()、.data、.item()、torch.no_grad()を探してください（vitscope.diagnose(model)で場所を調べられます）。"
        "意図的に固定するのであれば、requires_grad=Falseを設定してください",
    ),
    "return self.head(x[:, 0])   # not x[:, 0].detach()",
    explains=("loss-does-not-move",),
)
_UNKNOWN = Text(
    "A step passes over parameters without a gradient: they stay at their start values. Where this part of the model is not trained in this block, "
    "that is meant.",
    "勾配のないパラメータはステップで飛ばされ、初期値のまま変わりません。このブロックでは学習しない部分であれば、意図どおりです。",
)
MOST, MOST_NAMES = 0.5, 20
FEWEST, FEWEST_OF_FEW = 3, 10
"""How many steps it takes to tell: where most of the model has no gradient, and where a part has none (a layer may be dropped by chance)."""


def cut_off(record: Record) -> Iterator[Finding]:
    """What has no gradient at any step although the scores, to which gradients come, are made of it. What they are not made of, another head or a
    mask token, has no gradient on purpose. Where that could not be tried, a part of the model may be trained at another time: a note."""
    sizes = {name: p.numel() for name, p in record.model.named_parameters() if p.requires_grad}
    whole = sum(sizes[name] for name in record.held & set(sizes))
    missing = {
        name: steps
        for name, steps in record.without_gradient.items()
        if name in sizes and steps >= FEWEST and not record.moved.get(name, False)
    }
    if not missing or len(missing) == len(record.held & set(sizes)):
        return  # no gradient at all has other causes
    behind = [probe.behind for probe in record.probes if probe.behind is not None]
    is_known = bool(behind) and any(each.reaches for each in record.forwards)
    names = [name for name in missing if not is_known or any(name in each for each in behind)]
    share = sum(sizes[name] for name in names) / max(whole, 1)
    steps = min((missing[name] for name in names), default=0)
    if not names or (share <= MOST and (not is_known or steps < FEWEST_OF_FEW)):
        return
    have = "has" if len(names) == 1 else "have"
    made = f", although the model's scores are computed from {'it' if len(names) == 1 else 'them'}"
    yield (CUT_OFF if is_known else replace(CUT_OFF, why=_UNKNOWN)).found(
        Text(
            f"{listed(names)} ({100 * share:.3g} % of what the optimizer holds) {have} no gradient at any of {steps} steps"
            f"{made if is_known else ''}.",
            f"{listed(names)}（オプティマイザが持つ値の{100 * share:.3g} %）には、{steps}ステップの間、勾配が一度も届いていません。"
            f"{'モデルのスコアの計算には使われています。' if is_known else ''}",
        ),
        {"without_gradient": names[:MOST_NAMES], "count": len(names), "share": share, "steps": steps},
        severity="note" if not is_known else "error" if share > MOST else "warning",
    )
