"""What is wrong with the scale of attentions: behind the softmax, missing, the wrong way round, of another number. In go measured attentions,
out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log2, sqrt

from vitscope._core.text import Text
from vitscope.doctor.attention.measuring import Measured, is_telling, of_which_width, where
from vitscope.doctor.attention.scaling import are_alike
from vitscope.doctor.finding import Fault, Finding, Severity

FAR_OFF = 4.0
"""A scale so many times off is no longer a matter of taste."""
EVEN, SHARP = 0.1, 0.5
"""The spread of scores under which a small scale, and over which a large one, is not made up for by the weights."""
FEW = 8
"""Powers of smaller numbers than this are found near any factor."""
WIDE = 16
"""From heads of this width on, one over the width is far from one over its root."""
ONE, NEAR = 1.5, 0.25
"""The spread of scores that a scale would leave, with some room; and how far from the root of a head's width the sizes of queries and keys may be
apart."""

SCALED_BEHIND = Fault(
    "scaled-behind-the-softmax",
    "M10",
    "attention",
    "error",
    Text(
        "The scores go into the softmax unscaled, and what attention gives back is made smaller by that factor: its branch is too weak beside the "
        "stream, and the model behaves as if each patch stood alone.",
        "スコアはスケーリングなしでsoftmaxに入り、アテンションの出力のほうがその係数だけ小さくなります。残差ブランチが本流に対して弱すぎるため、"
        "各パッチが単独で処理されているかのように振る舞います。",
    ),
    Text(
        "scale the scores, not the shares",
        "softmaxの出力（アテンションの重み）ではなく、スコアをスケーリングしてください",
    ),
    "attn = (q @ k.transpose(-2, -1) * head_dim**-0.5).softmax(dim=-1)   # nothing behind it",
    explains=("overfit",),
)
UNSCALED = Fault(
    "attention-not-scaled",
    "M8",
    "attention",
    "warning",
    Text(
        "Products of wider heads are larger, so that softmax soon gives all to one token, where it has hardly any gradient: the start is slow or "
        "unstable.",
        "ヘッドの幅が大きいほど内積も大きくなり、softmaxがすぐに1つのトークンへ集中します。そこでは勾配がほとんどなく、学習の立ち上がりが"
        "遅くなるか、不安定になります。",
    ),
    Text(
        "multiply the scores by head_dim ** -0.5; a scale that is defined is not yet used",
        "スコアにhead_dim ** -0.5を掛けてください。scaleを定義しただけでは使われません",
    ),
    "scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5",
)
RECIPROCAL = Fault(
    "scaled-by-the-reciprocal",
    "M11",
    "attention",
    "error",
    Text(
        "The scores are made larger where they should be made smaller, so softmax gives all to one token from the start on, and its gradient "
        "vanishes.",
        "小さくすべきスコアを逆に大きくしているため、softmaxが最初から1つのトークンに集中し、勾配が消えてしまいます。",
    ),
    Text(
        "multiply by head_dim ** -0.5, or divide by its square root; not both turned round (scaled_dot_product_attention multiplies by `scale`)",
        "head_dim ** -0.5を掛けるか、head_dimの平方根で割ってください（scaled_dot_product_attentionは`scale`を掛けます）",
    ),
    "scores = q @ k.transpose(-2, -1) * head_dim**-0.5   # in place of what multiplies them now",
    explains=("heads-collapsed", "overfit"),
)
OTHER_WIDTH = Fault(
    "scaled-by-another-number",
    "M9",
    "attention",
    "note",
    Text(
        "The root of the head's width brings scores to about one, whatever that width is. Another number makes attention too even or too sharp at "
        "the start; training makes up for it as far as the factor is small.",
        "ヘッドの幅の平方根で割ると、幅によらずスコアが1程度の大きさになります。別の数を使うと、初期のアテンションが平坦すぎたり鋭すぎたりします。"
        "係数のずれが小さければ、学習で補われます。",
    ),
    Text("scale by the width of one head", "1つのヘッドの幅でスケーリングしてください"),
    "scores = q @ k.transpose(-2, -1) * head_dim**-0.5   # head_dim = dim // heads",
    explains=("heads-collapsed",),
)
TWICE = Fault(
    "scaled-twice",
    "M9",
    "attention",
    "warning",
    Text(
        "One over the root of the head's width brings scores to about one; taken twice, it brings them near zero. Attention is almost a mean over "
        "all tokens at the start, and its queries and keys learn slowly.",
        "1/√（ヘッドの幅）を1回掛けると、スコアは1程度の大きさになります。2回掛けるとゼロに近くなるため、初期のアテンションはほぼ全トークンの平均になり、"
        "クエリとキーの学習も遅くなります。",
    ),
    Text(
        "scale once: scaled_dot_product_attention does it itself, so give it queries that are not scaled, or scale=1.0; where 1/width is meant "
        "(muP), write it in one place",
        "スケーリングは1回だけにしてください。scaled_dot_product_attentionは内部でスケーリングするので、スケーリング前のクエリを渡すか、scale=1.0を"
        "指定します。意図的に1/幅（muP）とする場合は、1か所にまとめて書いてください",
    ),
    "out = F.scaled_dot_product_attention(q, k, v)   # no q * scale before it",
)


def scaled_behind(measured: list[Measured]) -> Iterator[Finding]:
    """A factor behind the softmax; one over the number of tokens is another fault."""
    measured = [each for each in measured if not are_alike(each.behind or 0.0, 1 / each.tokens)]
    maps = [(each, each.behind) for each in measured if each.behind is not None]
    found = maps or [(each, each.behind_values) for each in measured if each.behind_values is not None]
    if not found:
        return
    first, factor = found[0]
    assert factor is not None
    name = of_which_width(factor, first)
    number = first.widths[name] if name else None
    what = _OF[name].format(number=number) if name else Text("", "")
    yield SCALED_BEHIND.found(
        Text(
            f"What a token gives to all others sums to {factor:.4g} instead of 1{what.en}: the scale stands behind the softmax, not before it "
            f"({where([each for each, _ in found])}).",
            f"1つのトークンがほかのすべてに配る重みの合計が、1ではなく{factor:.4g}です{what.ja}。スケーリングがsoftmaxの前ではなく後ろにあります"
            f"（{where([each for each, _ in found])}）。",
        ),
        {"row_sum": factor, "of": name, "number": number, "modules": [each.path for each, _ in found]},
        severity="error" if name else "warning",
    )


_OF: dict[str, Text] = {
    "head": Text(" (a power of {number}, the width of a head)", "（1ヘッドの幅{number}のべき）"),
    "width": Text(" (a power of {number}, the width of the tokens)", "（トークンの幅{number}のべき）"),
    "heads": Text(" (a power of {number}, the number of heads)", "（ヘッド数{number}のべき）"),
}


def wrong_scales(measured: list[Measured]) -> Iterator[Finding]:
    """Missing, reciprocal and foreign scales; nothing where the scale stands behind the softmax or cannot be told."""
    by_kind: dict[str, list[Measured]] = {}
    for number, each in enumerate(measured):
        kind = _kind(each, number)
        if kind is not None and each.behind is None and each.behind_values is None:
            by_kind.setdefault(kind, []).append(each)
    if found := by_kind.get("missing"):
        said, is_even = (
            Text("they are not scaled at all", "スケーリングされていません"),
            all(map(_is_made_up_for, found)),
        )
        if is_even:
            said = Text(
                "they are not scaled at all, and the weights that make queries and keys start so small that it comes out even",
                "スケーリングされていませんが、クエリとキーを作る重みが小さく初期化されているため、初期のスコアは大きくなりません",
            )
        yield _fitting(UNSCALED, found[0]).found(*_scale_said(found, said), severity="note" if is_even else "warning")
    if found := by_kind.get("reciprocal"):
        said = Text("they are scaled the wrong way round", "スケーリングの向きが逆です")
        yield _fitting(RECIPROCAL, found[0]).found(*_scale_said(found, said))
    yield from _over_the_width(by_kind)
    for kind in ("width", "heads"):
        if found := by_kind.get(kind):
            number, what = found[0].widths[kind], _POWERS[kind]
            said = Text(
                f"that is 1/√{number}, and {number} is {what.en}", f"これは1/√{number}で、{number}は{what.ja}です"
            )
            yield _fitting(OTHER_WIDTH, found[0]).found(*_scale_said(found, said), severity=_how_bad(found))
            return
    if found := by_kind.get("unknown"):
        yield _fitting(OTHER_WIDTH, found[0]).found(*_scale_said(found, _told(found[0])), severity="warning")


def _fitting(fault: Fault, of: Measured) -> Fault:
    """The fault with the line for an attention in one operation or in several, and the factor that the line replaces."""
    if of.attention.is_fused:
        return replace(fault, code="out = F.scaled_dot_product_attention(q, k, v)   # no scale=, no factor on q or k")
    steps = of.scaling.steps if len(of.scaling.steps) > 1 else (of.scaling.before or 1.0,)
    written = " and ".join(f"{step:.4g}" for step in steps)
    comment = "" if fault is UNSCALED else f"   # in place of the factor{'s' if len(steps) > 1 else ''} {written}"
    return replace(fault, code=f"{UNSCALED.code}{comment}")


def _over_the_width(by_kind: dict[str, list[Measured]]) -> Iterator[Finding]:
    """One over the width of a head instead of its root: made of two scales, or written as one, which may be meant."""
    if found := by_kind.get("twice"):
        said = Text(
            f"that is 1/{found[0].head_width}, the scale applied twice",
            f"これは1/{found[0].head_width}で、スケーリングが2回行われています",
        )
        yield _fitting(TWICE, found[0]).found(*_scale_said(found, said), severity=_how_bad(found))
    if found := by_kind.get("squared"):
        number = found[0].head_width
        said = Text(
            f"that is 1/{number}, one over the width, not over its root, which is right only where it is meant (muP, with a learned temperature or "
            "larger weights of queries and keys)",
            f"これは平方根ではなく幅そのものの逆数（1/{number}）です。意図的なもの（muP。学習される温度や、クエリとキーの重みの大きな初期値を伴う）で"
            "なければ誤りです",
        )
        yield _fitting(OTHER_WIDTH, found[0]).found(*_scale_said(found, said), severity="note")


def _of_the_width_itself(of: Measured) -> str | None:
    """`twice`, where two scales make one over the width of a head; `squared`, where it is written as one; None where weights make up for it, or
    queries start at zero, as muP has it."""
    halves = sum(are_alike(step, of.head_width**-0.5) for step in of.scaling.steps)
    if of.head_width < WIDE or of.spread > SHARP:
        return None
    if halves == 2:
        return "twice"
    return "squared" if of.spread > 0 and len(of.scaling.steps) == 1 else None


def _kind(of: Measured, layer: int) -> str | None:
    """What is wrong with the factor before the softmax: `missing`, `reciprocal`, `twice`, `squared`, `width`, `heads`, `unknown`; None where
    nothing is, or it cannot be told."""
    scale, head = of.scaling.before, float(of.head_width)
    if scale is None or head < 2 or of.is_across_channels or are_alike(scale, head**-0.5):
        return None
    if are_alike(scale, 1.0):
        return "missing" if head >= 4 else None
    roots = [float(number) ** 0.5 for name, number in of.widths.items() if name != "heads" or is_telling(scale)]
    if any(are_alike(scale, root) for root in (*roots, head)):
        return "reciprocal"
    is_by_layer = are_alike(scale * sqrt(head), 1 / (layer + 1))
    own = _of_the_width_itself(of) if are_alike(scale, 1 / head) and not is_by_layer else None
    if own == "twice":
        return own
    for name in ("width", "heads"):
        if name in of.widths and are_alike(scale, float(of.widths[name]) ** -0.5):
            return name
    return own or ("unknown" if _is_far_off(of, scale * sqrt(head), layer) else None)


def _is_made_up_for(of: Measured) -> bool:
    """Whether weights make up for a scale that is missing: one of queries and keys is smaller than the other by the root of a head's width (T5). A
    small start of all weights alike does not: the scores grow with them, and no scale holds them."""
    ratio, root = float(of.attention.q.std() / of.attention.k.std().clamp(min=1e-300)), sqrt(of.head_width)
    return of.spread <= ONE and any(abs(ratio / each - 1) < NEAR for each in (root, 1 / root))


def _is_far_off(of: Measured, ratio: float, layer: int) -> bool:
    """Whether a scale of no known number makes scores too even or too sharp. One over the width (muP) or over the layer's number does not, nor one
    by the logarithm of the number of tokens, nor one that the weights make up for."""
    if ratio < 1:
        is_meant = are_alike(ratio, of.head_width**-0.5) or are_alike(ratio, 1 / (layer + 1))
        return ratio < 1 / FAR_OFF and not is_meant and of.spread < EVEN
    return ratio > max(FAR_OFF, 1.05 * log2(max(of.tokens, 2))) and of.spread > SHARP


def _told(of: Measured) -> Text:
    """Of what number an unknown scale is a power, where it is of one; a small whole number is one of many."""
    scale, numbers = of.scaling.before or 0.0, of.widths | {"tokens": of.tokens}
    for name, number in numbers.items() if is_telling(scale) else ():
        if number < FEW:
            continue
        for power in (-0.5, -1.0, -1.5, -2.0, 0.5, 1.0, 1.5, 2.0):
            if are_alike(scale, float(number) ** power):
                what = _POWERS[name]
                return Text(
                    f"that is {number}**{power:g}, and {number} is {what.en}",
                    f"これは{number}の{power:g}乗に当たります（{number}は{what.ja}）",
                )
    return Text("it is no root of any width", "この値はどの幅の平方根にも対応しません")


_POWERS: dict[str, Text] = {
    "head": Text("the width of a head", "1ヘッドの幅"),
    "width": Text("the width of the tokens", "トークンの幅"),
    "heads": Text("the number of heads", "ヘッド数"),
    "tokens": Text("the number of tokens", "トークン数"),
}


def _scale_said(found: list[Measured], said: Text) -> tuple[Text, dict[str, object]]:
    first = found[0]
    scale, due = first.scaling.before or 0.0, float(first.head_width) ** -0.5
    return Text(
        f"The scores are multiplied by {scale:.4g}; heads of {first.head_width} want 1/√{first.head_width} = {due:.4g}: {said.en} ({where(found)}).",
        f"スコアには{scale:.4g}が掛けられています。幅{first.head_width}のヘッドなら1/√{first.head_width} = {due:.4g}です。"
        f"{said.ja}（{where(found)}）。",
    ), {
        "scale": scale,
        "expected_scale": due,
        "ratio": scale / due,
        "head_width": first.head_width,
        "modules": [each.path for each in found],
    }


def _how_bad(found: list[Measured]) -> Severity:
    ratios = [(each.scaling.before or 1.0) * sqrt(each.head_width) for each in found]
    return "warning" if any(ratio > FAR_OFF or ratio < 1 / FAR_OFF for ratio in ratios) else "note"
