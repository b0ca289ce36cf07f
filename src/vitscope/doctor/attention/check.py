"""Whether attention is computed as it should be: softmax along the keys, scaled before it, by the width of a head. In goes a patient, out come
findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.attention.averaged import averaged
from vitscope.doctor.attention.axes import wrong_axes, wrong_axes_by_hand, wrong_axis
from vitscope.doctor.attention.measuring import Measured, measure, where
from vitscope.doctor.attention.scales import scaled_behind, wrong_scales
from vitscope.doctor.attention.scaling import ALIKE
from vitscope.doctor.attention.shares import entropies, uniform_heads
from vitscope.doctor.attention.weighing import WITHOUT_INFLUENCE, cosines_in_code, weighing, weighing_by_hand
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import in_each_block
from vitscope.doctor.patient import Patient, not_followed
from vitscope.doctor.reading.placed import made_of
from vitscope.lens.flow import projections

NARROW, VERY_NARROW = 16, 8
"""Heads of fewer numbers than these: narrower than in published models, and too narrow to compare tokens by."""
WIDE = 32
"""A width that heads have in published models."""
COLLAPSED = 0.05
"""A head whose rows have less of the largest entropy than this looks at one token only."""
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
    "heads = max(1, dim // 32)",
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
        "トークンが重みのすべてを1つのトークンに与える状態では、softmaxの勾配がほとんど残らず、クエリとキーの学習が止まり、損失が振動します。",
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
        "クエリやキーがゼロだと、どのトークンの重みも同じになります。アテンションは全トークンの平均にすぎず、両方がゼロなら、学習してもずっとそのままです。",
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
    Puts zeros and large numbers in the place of the scores and looks what becomes of the weights.
    Finds: softmax along queries, heads, images or all at once, also by hand, log_softmax, none (M7), a scale behind the softmax, or one over
    the number of tokens (M10), none (M8), a reciprocal (M11), another number's, twice, zero, softmax of a softmax (M9), heads too narrow (M26),
    collapsed (I5) or exactly uniform (I2).
    Must not accuse: norms of queries and keys, cosine and learned temperatures, 1/width (muP: a note at most), scales folded into queries and
    keys, sinks, talking heads, attention across channels, one-hot heads among others, queries that start at zero, attention without a softmax whose
    queries and keys are normed or of one sign, or that is divided by the number of tokens (Wang et al. 2018, non-local).
    Source: Vaswani et al. 2017, 3.2.1; Yang et al. 2022 (muP); Zhai et al. 2023 on entropy collapse.
    """
    try:
        measured = [measure(patient.tape, each) for each in patient.attentions]
    except LensError as error:
        raise Skipped(not_followed(error)) from None
    except Skipped:
        found = list(_by_hand(patient))
        yield from found
        if found:
            return
        raise
    wrong = wrong_axes(patient, measured)
    if wrong:
        yield wrong_axis(wrong)
    weighed = list(weighing(patient, [each.attention for each in measured if not each.axis]))
    yield from weighed
    yield from averaged(patient.tape, measured)
    yield from scaled_behind(measured)
    yield from wrong_scales(measured)
    yield from _widths(measured)
    yield from _collapsed(patient, measured)
    if not any(finding.fault is WITHOUT_INFLUENCE for finding in weighed):
        yield from _uniform(patient, measured)


def _by_hand(patient: Patient) -> Iterator[Finding]:
    """What is wrong with weights that are no softmax of torch's."""
    wrong = wrong_axes_by_hand(patient)
    if wrong:
        yield wrong_axis(wrong)
    yield from weighing_by_hand(patient, {each.path for each in wrong})


def _widths(measured: list[Measured]) -> Iterator[Finding]:
    own = [each for each in measured if not each.is_across_channels and each.heads > 1]
    narrow = [each for each in own if each.head_width < NARROW]
    if narrow:
        least = min(narrow, key=lambda each: each.head_width)
        inner = least.heads * least.head_width
        fewer = next(n for n in range(max(1, inner // WIDE), 0, -1) if inner % n == 0)
        yield replace(NARROW_HEADS, code=f"heads = {fewer}   # each {inner // fewer} wide").found(
            Text(
                f"The tokens are {least.width} wide, and each head compares them by {_numbers(least.head_width)} only ({where(narrow)}).",
                f"トークンの幅は{least.width}ですが、1つのヘッドがその比較に使う数値は{least.head_width}個だけです（{where(narrow)}）。",
            ),
            {"head_width": least.head_width, "width": least.width, "modules": [each.path for each in narrow]},
            severity="warning" if least.head_width < VERY_NARROW else "note",
        )
    odd = [each for each in own if each.head_width >= NARROW and each.head_width % 2]
    if odd:
        yield ODD_HEADS.found(
            Text(
                f"The heads are {odd[0].head_width} wide, an odd number ({where(odd)}).",
                f"ヘッドの幅が{odd[0].head_width}で、奇数です（{where(odd)}）。",
            ),
            {"head_width": odd[0].head_width, "modules": [each.path for each in odd]},
        )


def _numbers(count: int) -> str:
    return "one number" if count == 1 else f"{count} numbers"


def _collapsed(patient: Patient, measured: list[Measured]) -> Iterator[Finding]:
    """Most heads of all blocks look at one token each."""
    proper = [each for each in measured if each.attention.over_keys and each.attention.map.shape[-1] >= 4]
    spread = [float(entropy) for each in proper for entropy in entropies(each.attention.map)]
    low = [entropy for entropy in spread if entropy < COLLAPSED]
    if len(low) * 2 <= len(spread) or not low:
        return
    percent = 100 * sum(low) / len(low)
    yield _wide_awake(patient, proper[0]).found(
        Text(
            f"{len(low)} of {len(spread)} heads {'look' if len(spread) > 1 else 'looks'} at one token only: on average their maps have {percent:.2g} "
            "% of the entropy of a map that looks everywhere alike.",
            f"{len(spread)}個中{len(low)}個のヘッドが、ほぼ1つのトークンしか見ていません。マップのエントロピーは平均で、全体を均等に見る場合の"
            f"{percent:.2g} %です。",
        ),
        {"collapsed_heads": len(low), "heads": len(spread), "mean_entropy": sum(low) / len(low)},
    )


def _wide_awake(patient: Patient, of: Measured) -> Fault:
    """The fault with the names of the weights that make queries and keys; of cosines, whose size no weight changes, with their temperature."""
    q, k = (each.norm(dim=-1) for each in (of.attention.q, of.attention.k))
    if all(float(each.std()) < ALIKE * float(each.mean()) for each in (q, k)):
        return replace(COLLAPSED_HEADS, advice=_COLDER, code=cosines_in_code(is_fused=of.attention.is_fused))
    tape, names = patient.tape, {id(each): name for name, each in patient.model.named_parameters() if each.ndim > 1}
    calls = (tape.calls[number] for number in sorted(projections(tape, of.attention.begins)))
    held = [s for call in calls for s in call.sources if not tape.is_of_image(s)]
    found = dict.fromkeys(names[each] for source in held for each in made_of(source) if each in names)
    code = in_each_block(found, "nn.init.trunc_normal_({}, std=0.02)")
    return replace(COLLAPSED_HEADS, code=code) if found else COLLAPSED_HEADS


_COLDER = Text(
    "start with a smaller temperature: queries and keys are normed, so their scores are as large as the number that multiplies their cosines (10 is "
    "usual)",
    "温度の初期値を小さくしてください。クエリとキーは正規化されているため、スコアの大きさはコサイン類似度に掛ける数で決まります（10程度が一般的です）",
)


def _uniform(patient: Patient, measured: list[Measured]) -> Iterator[Finding]:
    """Heads whose queries or keys are zero; a note where some steps move them."""
    count = sum(len(uniform_heads(each.attention)) for each in measured)
    if not count:
        return
    later = count if patient.is_trained else sum(len(uniform_heads(each)) for each in patient.trained.attentions)
    zero = [each for each in measured if uniform_heads(each.attention)]
    who, whose, still, no_longer = (
        ("One head gives", "its", "it still does", "it no longer does")
        if count == 1
        else (f"{count} heads give", "their", "they still do", "they no longer do")
    )
    after = (
        Text(f"after some steps of training {still}", "数ステップ学習した後も変わりません")
        if later
        else Text(f"after some steps of training {no_longer}", "数ステップ学習すると変わります")
    )
    yield UNIFORM_HEADS.found(
        Text(
            f"{who} every token exactly the same share, since {whose} queries or keys are zero ({where(zero)}); {after.en}.",
            f"{count}個のヘッドで、クエリかキーがゼロのため、どのトークンの重みもまったく同じです（{where(zero)}）。{after.ja}。",
        ),
        {"uniform_heads": count, "uniform_heads_after_some_steps": later, "modules": [each.path for each in zero]},
        severity="warning" if later else "note",
    )
