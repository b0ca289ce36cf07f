"""What is wrong with the dropouts of training mode by themselves: too strong, or twice in a row. In goes a `Quiet`, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.silence import Quiet
from vitscope.doctor.naming import listed

MUCH = 0.5
"""Dropout over this is hardly ever meant: more is lost than comes through."""

NOTHING_PASSES = Fault(
    "dropout-of-everything",
    "L11",
    "determinism",
    "error",
    Text(
        "With a probability of 1 everything is zero in training: what comes before gets no gradient, and evaluation lets through what was never "
        "trained.",
        "確率1のドロップアウトでは学習時の値がすべてゼロになります。それより前の部分には勾配が届かず、評価時には一度も学習されていない値が通ります。",
    ),
    Text(
        "p is the share that is dropped, not the share that is kept: take 0 to 0.1",
        "pは残す割合ではなく落とす割合です。0から0.1にしてください",
    ),
    "nn.Dropout(0.1)   # drops a tenth",
    explains=("overfit", "learning-rate", "dropout-too-strong"),
)
MUCH_DROPPED = Fault(
    "more-dropped-than-kept",
    "L11",
    "determinism",
    "warning",
    Text(
        "Over half of the numbers are set to zero in each step of training: little of what could be learned gets through.",
        "学習の各ステップで半分を超える値がゼロにされ、学習できるはずの情報がほとんど伝わりません。",
    ),
    Text(
        "p is the share that is dropped, not the share that is kept: take 0 to 0.1; against overfitting use augmentation, weight decay and "
        "stochastic depth",
        "pは残す割合ではなく落とす割合です。0から0.1にしてください。過学習にはデータ拡張、重み減衰、stochastic depthで対処します",
    ),
    "nn.Dropout(0.1)   # drops a tenth",
    explains=("dropout-too-strong",),
)
DROPPED_TWICE = Fault(
    "dropout-twice",
    "L11",
    "determinism",
    "note",
    Text(
        "Two dropouts with nothing between them are one, stronger than either: 1 − (1 − p)(1 − q) of the numbers are lost. Often the second was "
        "meant for another branch.",
        "間に何も挟まない2つのドロップアウトは、1つのより強いドロップアウトと同じで、1 − (1 − p)(1 − q)の割合の値が失われます。"
        "2つ目は別の残差ブランチに掛けるつもりだった、という場合がよくあります。",
    ),
    Text("if it is not meant, leave one of them out", "意図したものでなければ、どちらか一方を外してください"),
    "x = x + self.drop(self.attn(self.norm1(x)))\nx = x + self.mlp(self.norm2(x))   # which drops out itself",
)


def dropped(model: Quiet) -> Iterator[Finding]:
    """What is found in the dropouts that one forward in training mode has called."""
    yield from _strong(model)
    yield from _twice(model)


def _strong(model: Quiet) -> Iterator[Finding]:
    drops = list(model.drops.values())
    for fault, found in (
        (NOTHING_PASSES, [drop for drop in drops if drop.p >= 1]),
        (MUCH_DROPPED, [drop for drop in drops if MUCH < drop.p < 1 and drop.of_numbers]),
    ):
        if not found:
            continue
        paths = list(dict.fromkeys(drop.path for drop in found))
        named, p = listed(paths), max(d.p for d in found)
        of_attention = all(drop.is_attention for drop in found)
        what, what_ja = ("attention's numbers", "アテンションの値") if of_attention else ("numbers", "値")
        yield fault.found(
            Text(
                f"In training mode {100 * p:.0f} % of the {what} are dropped in {named}.",
                f"学習モードでは、{named}で{what_ja}の{100 * p:.0f} %がドロップアウトでゼロにされます。",
            ),
            {"p": p, "modules": paths, "of_attention": of_attention},
        )


def _twice(model: Quiet) -> Iterator[Finding]:
    if not model.twice:
        return
    pairs = list(model.twice.values())
    worst, count = max(pairs, key=lambda pair: pair.together), len(pairs)
    yield DROPPED_TWICE.found(
        Text(
            f"In training mode {100 * worst.together:.0f} % of the numbers are dropped where one dropout says {100 * worst.p:.0f} %: what "
            f"{worst.first} has dropped out, {worst.second} drops out again"
            + (f" ({count} places in all)." if count > 1 else "."),
            f"学習モードでは、{worst.first}のドロップアウトの直後に{worst.second}がもう一度ドロップアウトを掛けています。"
            f"1つでは{100 * worst.p:.0f} %のところ、合わせて{100 * worst.together:.0f} %の値がゼロになります"
            + (f"（同様の箇所は全部で{count}か所）。" if count > 1 else "。"),
        ),
        {"together": worst.together, "p": worst.p, "places": [[pair.first, pair.second] for pair in pairs]},
    )
