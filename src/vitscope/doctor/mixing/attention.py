"""Whether attention is computed as it should be: softmax along the keys, scaled before it, by the width of a head. In goes a patient, out come
findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Severity, Skipped
from vitscope.doctor.mixing.experiments import heads_of, width_of
from vitscope.doctor.mixing.scaling import Scaling, are_alike, scaling_of
from vitscope.doctor.mixing.shares import Axis, constant_row_sum, entropies, uniform_heads, wrong_axis
from vitscope.doctor.patient import Patient, not_followed
from vitscope.lens.attention import Attention
from vitscope.lens.tape import Tape

NARROW, VERY_NARROW = 16, 8
"""Heads of fewer numbers than these: narrower than in published models, and too narrow to compare tokens by."""
COLLAPSED = 0.05
"""A head whose rows have less of the largest entropy than this looks at one token only."""
FAR_OFF = 4.0
"""A scale so many times off is no longer a matter of taste."""

WRONG_AXIS = Fault(
    "softmax-over-the-wrong-axis",
    "M7",
    "attention",
    "error",
    Text(
        "The shares that a token gives to the others must sum to one. Along another axis they compete with the shares of other tokens or heads, and "
        "how much a token gets hangs on all of them: learning is slow and stops early.",
        "1つのトークンがほかのトークンに配る重みは、合計が1でなければなりません。別の軸で正規化すると、ほかのトークンやヘッドの重みと競合し、"
        "受け取る量がそれら全体に左右されるため、学習が遅く、早い段階で頭打ちになります。",
    ),
    Text(
        "take the softmax along the last axis of queries × keys, and name the axis: without dim, PyTorch takes the second of four",
        "クエリ×キーの最後の軸でソフトマックスを取り、軸を明示してください（dimを省略すると、4次元では2番目の軸になります）",
    ),
    "attn = scores.softmax(dim=-1)",
    explains=("overfit",),
)
SCALED_BEHIND = Fault(
    "scaled-behind-the-softmax",
    "M10",
    "attention",
    "error",
    Text(
        "The scores go into the softmax unscaled, and what attention gives back is made smaller by that factor: its branch is too weak beside the "
        "stream, and the model behaves as if each patch stood alone.",
        "スコアはスケーリングなしでソフトマックスに入り、アテンションの出力のほうがその係数だけ小さくなります。枝がストリームに対して弱すぎるため、"
        "各パッチが単独で処理されているかのように振る舞います。",
    ),
    Text("scale the scores, not the shares", "重みではなく、スコアをスケーリングしてください"),
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
        "ヘッドの幅が大きいほど内積も大きくなり、ソフトマックスがすぐに1つのトークンへ集中します。そこでは勾配がほとんどなく、学習の立ち上がりが"
        "遅く、または不安定になります。",
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
        "小さくすべきスコアを逆に大きくしているため、ソフトマックスが最初から1つのトークンに集中し、勾配が消えてしまいます。",
    ),
    Text(
        "multiply by head_dim ** -0.5, or divide by its square root; not both turned round (scaled_dot_product_attention multiplies by `scale`)",
        "head_dim ** -0.5を掛けるか、head_dimの平方根で割ってください。逆にしないこと（scaled_dot_product_attentionは`scale`を掛けます）",
    ),
    "scores = scores * head_dim**-0.5   # or: scores / head_dim**0.5",
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
    "scale = head_dim**-0.5   # head_dim = dim // heads",
)
NARROW_HEADS = Fault(
    "heads-too-narrow",
    "M26",
    "attention",
    "warning",
    Text(
        "A head compares tokens by as many numbers as it is wide: with a handful of them it can hardly tell tokens apart.",
        "ヘッドは、その幅と同じ個数の数値でトークンを比較します。数個しかなければ、トークンをほとんど区別できません。",
    ),
    Text(
        "use fewer heads: width // 32 or width // 64",
        "ヘッドの数を減らしてください（幅÷32、または幅÷64）",
    ),
    "heads = dim // 32",
)
ODD_HEADS = Fault(
    "odd-head-width",
    "M26",
    "attention",
    "note",
    Text(
        "Fast attention kernels want widths that are multiples of 8, and rotary positions an even one.",
        "高速なアテンションのカーネルは8の倍数の幅を、回転位置埋め込み（RoPE）は偶数の幅を前提とします。",
    ),
    Text(
        "choose width and heads so that the one divides the other into 32 or 64",
        "幅とヘッド数を、1ヘッドの幅が32か64になるように選んでください",
    ),
)
COLLAPSED_HEADS = Fault(
    "heads-collapsed",
    "I5",
    "attention",
    "warning",
    Text(
        "Where a token gives everything to one other, softmax has hardly any gradient left: queries and keys stop learning and the loss oscillates.",
        "トークンが重みのすべてを1つのトークンに与える状態では、ソフトマックスの勾配がほとんど残らず、クエリとキーの学習が止まり、損失が振動します。",
    ),
    Text(
        "make the weights of queries and keys smaller (std 0.02), or norm both (QK-norm); lower the learning rate, with warm-up",
        "クエリとキーの重みを小さくするか（標準偏差0.02）、両者を正規化してください（QK-norm）。学習率を下げ、ウォームアップを入れてください",
    ),
    "nn.init.trunc_normal_(self.qkv.weight, std=0.02)",
)
UNIFORM_HEADS = Fault(
    "heads-exactly-uniform",
    "I2",
    "attention",
    "warning",
    Text(
        "Queries or keys of zero give every token the same share: attention is a mean over all tokens, and where both are zero nothing ever moves "
        "them.",
        "クエリやキーがゼロだと、どのトークンの重みも同じになります。アテンションは全トークンの平均にすぎず、両方がゼロなら学習でも動きません。",
    ),
    Text(
        "let at most one of queries and keys start at zero",
        "ゼロで初期化するのは、クエリとキーの一方だけにしてください",
    ),
)


def attention(patient: Patient) -> Iterator[Finding]:
    """Whether each attention is softmax(q · k / √width of a head) · v.

    Does: sums the proved maps along their axes; multiplies the constants that stand on the tape between the projections, the product and the softmax;
    measures how wide heads are and how spread their maps.
    Finds: softmax along queries, heads or an axis of length one (M7), a scale behind the softmax (M10), none (M8), a reciprocal (M11) or another
    number's (M9), heads too narrow (M26), collapsed (I5) or exactly uniform (I2).
    Must not accuse: norms of queries and keys, cosine and learned temperatures, 1/width (muP), scales folded into queries and keys, sinks, talking
    heads, attention across channels, one-hot heads among others, queries that start at zero.
    Source: Vaswani et al. 2017, 3.2.1; Yang et al. 2022 (muP); Zhai et al. 2023 on entropy collapse.
    """
    try:
        measured = [_measured(patient.tape, each) for each in patient.attentions]
    except LensError as error:
        raise Skipped(not_followed(error)) from None
    yield from _wrong_axes(measured)
    yield from _scaled_behind(measured)
    yield from _scales(measured)
    yield from _widths(measured)
    yield from _collapsed(measured)
    yield from _uniform(patient, measured)


@dataclass(frozen=True, eq=False)
class _Measured:
    """One attention, and what it is held against."""

    attention: Attention
    heads: int
    width: int
    axis: Axis | None
    scaling: Scaling

    @property
    def path(self) -> str:
        return self.attention.path or "the model"

    @property
    def head_width(self) -> int:
        return int(self.attention.q.shape[-1])

    @property
    def is_across_channels(self) -> bool:
        """Whether channels attend to channels: then what is summed over is tokens."""
        keys, own = int(self.attention.map.shape[-1]), self.width // self.heads
        return keys == own and self.head_width != own

    @property
    def widths(self) -> dict[str, int]:
        """What a scale may have been taken of, by name."""
        found = {"head": self.head_width, "width": self.width, "heads": self.heads}
        return {name: number for name, number in found.items() if number > 1}

    @property
    def behind(self) -> float | None:
        """The factor behind the softmax, as the tape has it and the rows show it; None where there is none."""
        behind, rows = self.scaling.behind, constant_row_sum(self.attention.map)
        if self.attention.over_keys or self.axis or behind is None or rows is None:
            return None
        return rows if are_alike(rows, behind) and not are_alike(rows, 1) else None

    @property
    def behind_values(self) -> float | None:
        """A power of a width by which the module multiplies map · v, where the scores have no scale."""
        before, factor = self.scaling.before, self.scaling.output
        is_instead = before is not None and are_alike(before, 1) and self.head_width > 1
        return factor if is_instead and _of_which_width(factor, self) else None


def _measured(tape: Tape, attention: Attention) -> _Measured:
    part = attention.parts[0] if attention.parts else attention
    heads = heads_of(tape, part) * max(len(attention.parts), 1)
    axis = wrong_axis(attention.map, heads) if not attention.over_keys else None
    return _Measured(attention, heads, width_of(tape, part), axis, scaling_of(tape, attention))


def _of_which_width(factor: float, of: _Measured) -> str | None:
    """Of which number a factor is a root, its reciprocal, or that of the number itself."""
    for name, number in of.widths.items():
        if any(are_alike(factor, float(number) ** power) for power in (-0.5, 0.5, -1.0, 1.0)):
            return name
    return None


def _where(measured: list[_Measured]) -> str:
    names = list(dict.fromkeys(each.path for each in measured))
    return ", ".join(names[:3]) + (f" … ({len(names)})" if len(names) > 3 else "")


_AXES: dict[Axis, Text] = {
    "queries": Text("over the queries", "クエリの軸"),
    "heads": Text("over the heads", "ヘッドの軸"),
    "length one": Text("over an axis of length 1 (the batch, as a rule)", "長さ1の軸（通常はバッチ）"),
}


def _wrong_axes(measured: list[_Measured]) -> Iterator[Finding]:
    found = [each for each in measured if each.axis]
    if not found:
        return
    ((axis, _),) = Counter(each.axis for each in found).most_common(1)
    assert axis is not None
    sums = [each.attention.map.double().sum(dim=-1) for each in found]
    least, most = min(float(each.min()) for each in sums), max(float(each.max()) for each in sums)
    yield WRONG_AXIS.found(
        Text(
            f"What a token gives to all others sums to between {least:.3g} and {most:.3g} instead of 1: the softmax runs {_AXES[axis].en}, not over "
            f"the keys ({_where(found)}).",
            f"1つのトークンがほかのすべてに配る重みの合計が、1ではなく{least:.3g}から{most:.3g}になっています。ソフトマックスがキーの軸ではなく"
            f"{_AXES[axis].ja}で計算されています（{_where(found)}）。",
        ),
        {"axis": axis, "least_row_sum": least, "largest_row_sum": most, "modules": [each.path for each in found]},
    )


def _scaled_behind(measured: list[_Measured]) -> Iterator[Finding]:
    maps = [(each, each.behind) for each in measured if each.behind is not None]
    found = maps or [(each, each.behind_values) for each in measured if each.behind_values is not None]
    if not found:
        return
    first, factor = found[0]
    assert factor is not None
    name = _of_which_width(factor, first)
    number = first.widths[name] if name else None
    what = _OF[name].format(number=number) if name else Text("", "")
    yield SCALED_BEHIND.found(
        Text(
            f"What a token gives to all others sums to {factor:.4g} instead of 1{what.en}: the scale stands behind the softmax, not before it "
            f"({_where([each for each, _ in found])}).",
            f"1つのトークンがほかのすべてに配る重みの合計が、1ではなく{factor:.4g}です{what.ja}。スケーリングがソフトマックスの前ではなく後ろにあります"
            f"（{_where([each for each, _ in found])}）。",
        ),
        {"row_sum": factor, "of": name, "number": number, "modules": [each.path for each, _ in found]},
        severity="error" if name else "warning",
    )


_OF: dict[str, Text] = {
    "head": Text(" (a power of {number}, the width of a head)", "（1ヘッドの幅{number}のべき）"),
    "width": Text(" (a power of {number}, the width of the tokens)", "（トークンの幅{number}のべき）"),
    "heads": Text(" (a power of {number}, the number of heads)", "（ヘッド数{number}のべき）"),
}


def _scales(measured: list[_Measured]) -> Iterator[Finding]:
    """Missing, reciprocal and foreign scales; nothing where the scale stands behind the softmax or cannot be told."""
    by_kind: dict[str, list[_Measured]] = {}
    for each in measured:
        kind = _kind(each)
        if kind is not None and each.behind is None and each.behind_values is None:
            by_kind.setdefault(kind, []).append(each)
    if found := by_kind.get("missing"):
        yield UNSCALED.found(*_scale_said(found, Text("they are not scaled at all", "スケーリングされていません")))
    if found := by_kind.get("reciprocal"):
        said = Text("they are scaled the wrong way round", "スケーリングの向きが逆です")
        yield RECIPROCAL.found(*_scale_said(found, said))
    for kind, said in (
        ("width", Text("the width of all heads together was taken", "全ヘッドを合わせた幅が使われています")),
        ("heads", Text("the number of heads was taken", "ヘッドの数が使われています")),
    ):
        if found := by_kind.get(kind):
            yield OTHER_WIDTH.found(*_scale_said(found, said), severity=_how_bad(found))
            return


def _kind(of: _Measured) -> str | None:
    """What is wrong with the factor before the softmax: `missing`, `reciprocal`, `width`, `heads`; None where nothing is, or it cannot be told."""
    scale, head = of.scaling.before, float(of.head_width)
    if scale is None or head < 2 or of.is_across_channels or are_alike(scale, head**-0.5):
        return None
    if are_alike(scale, 1):
        return "missing" if head >= 4 else None
    if any(are_alike(scale, float(number) ** 0.5) for number in of.widths.values()) or are_alike(scale, head):
        return "reciprocal"
    for name in ("width", "heads"):
        if name in of.widths and are_alike(scale, float(of.widths[name]) ** -0.5):
            return name
    return None


def _scale_said(found: list[_Measured], said: Text) -> tuple[Text, dict[str, object]]:
    first = found[0]
    scale, due = first.scaling.before or 0.0, float(first.head_width) ** -0.5
    return Text(
        f"The scores are multiplied by {scale:.4g}; heads of {first.head_width} want 1/√{first.head_width} = {due:.4g}: {said.en} ({_where(found)}).",
        f"スコアには{scale:.4g}が掛けられています。幅{first.head_width}のヘッドなら1/√{first.head_width} = {due:.4g}です。"
        f"{said.ja}（{_where(found)}）。",
    ), {
        "scale": scale,
        "expected_scale": due,
        "ratio": scale / due,
        "head_width": first.head_width,
        "modules": [each.path for each in found],
    }


def _how_bad(found: list[_Measured]) -> Severity:
    ratios = [(each.scaling.before or 1.0) * sqrt(each.head_width) for each in found]
    return "warning" if any(ratio > FAR_OFF or ratio < 1 / FAR_OFF for ratio in ratios) else "note"


def _widths(measured: list[_Measured]) -> Iterator[Finding]:
    own = [each for each in measured if not each.is_across_channels and each.heads > 1]
    narrow = [each for each in own if each.head_width < NARROW]
    if narrow:
        least = min(narrow, key=lambda each: each.head_width)
        yield NARROW_HEADS.found(
            Text(
                f"{least.heads} heads share a width of {least.width}: each has {least.head_width} numbers to compare tokens by ({_where(narrow)}).",
                f"{least.heads}個のヘッドが幅{least.width}を分け合い、1ヘッドがトークンの比較に使える数値は{least.head_width}個です（{_where(narrow)}）。",
            ),
            {
                "head_width": least.head_width,
                "heads": least.heads,
                "width": least.width,
                "modules": [each.path for each in narrow],
            },
            severity="warning" if least.head_width < VERY_NARROW else "note",
        )
    odd = [each for each in own if each.head_width >= NARROW and each.head_width % 2]
    if odd:
        yield ODD_HEADS.found(
            Text(
                f"The heads are {odd[0].head_width} wide, an odd number ({_where(odd)}).",
                f"ヘッドの幅が{odd[0].head_width}で、奇数です（{_where(odd)}）。",
            ),
            {"head_width": odd[0].head_width, "modules": [each.path for each in odd]},
        )


def _collapsed(measured: list[_Measured]) -> Iterator[Finding]:
    """Most heads of all blocks look at one token each."""
    proper = [each for each in measured if each.attention.over_keys and each.attention.map.shape[-1] >= 4]
    spread = [float(entropy) for each in proper for entropy in entropies(each.attention.map)]
    low = [entropy for entropy in spread if entropy < COLLAPSED]
    if len(low) * 2 <= len(spread) or not low:
        return
    percent = 100 * sum(low) / len(low)
    yield COLLAPSED_HEADS.found(
        Text(
            f"{len(low)} of {len(spread)} heads look at one token only: on average their maps have {percent:.2g} % of the entropy of a map that looks "
            "everywhere alike.",
            f"{len(spread)}個中{len(low)}個のヘッドが、ほぼ1つのトークンしか見ていません。マップのエントロピーは、全体を均等に見る場合の平均"
            f"{percent:.2g} %です。",
        ),
        {"collapsed_heads": len(low), "heads": len(spread), "mean_entropy": sum(low) / len(low)},
    )


def _uniform(patient: Patient, measured: list[_Measured]) -> Iterator[Finding]:
    """Heads whose queries or keys are zero; a note where some steps move them."""
    count = sum(len(uniform_heads(each.attention)) for each in measured)
    if not count:
        return
    later = count if patient.is_trained else sum(len(uniform_heads(each)) for each in patient.trained.attentions)
    zero = [each for each in measured if uniform_heads(each.attention)]
    after = (
        Text("after some steps of training they still do", "数ステップ学習した後も変わりません")
        if later
        else Text("after some steps of training they no longer do", "数ステップ学習すると変わります")
    )
    yield UNIFORM_HEADS.found(
        Text(
            f"{count} heads give every token exactly the same share, since their queries or keys are zero ({_where(zero)}); {after.en}.",
            f"{count}個のヘッドで、クエリかキーがゼロのため、どのトークンの重みもまったく同じです（{_where(zero)}）。{after.ja}。",
        ),
        {"uniform_heads": count, "uniform_heads_after_some_steps": later, "modules": [each.path for each in zero]},
        severity="warning" if later else "note",
    )
