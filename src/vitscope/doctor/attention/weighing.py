"""Attentions whose weights do not do what weights are for: they hang on no score, are nearly even whatever the scores, or are logarithms.

In go weights on a tape, out come findings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.attention.bare import softmax_missing
from vitscope.doctor.attention.weights import (
    Weights,
    are_logarithms,
    can_be_learned,
    have_no_influence,
    is_squeezed,
    largest_ratio,
    weights_by_hand,
    weights_of,
)
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed, part_of
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.lens.tape import Tape

WITHOUT_INFLUENCE = Fault(
    "scores-without-influence",
    "M9",
    "attention",
    "error",
    Text(
        "Queries and keys are computed, and nothing becomes of them: the weights are the same for every image, attention is a fixed mean for ever, "
        "and the parameters that make queries and keys get no gradient.",
        "クエリとキーは計算されていますが、結果に反映されません。どの画像でもアテンションの重みは同じで、出力は固定された重みによる平均のままになり、クエリとキーを作る"
        "パラメータには勾配が届きません。",
    ),
    Text(
        "look at what the scores are multiplied by: an integer division (1 // head_dim) is zero",
        "スコアに掛けている係数を確認してください。整数の除算（1 // head_dim）はゼロになります",
    ),
    "scale = head_dim**-0.5   # not 1 // head_dim",
    explains=("zero-gradient", "overfit"),
)
_ONCE = Text(
    "take one softmax, of the scores themselves, with nothing before it that squeezes them",
    "softmaxは1回だけ、スコアそのものに対して計算し、その前でスコアを狭い範囲に押し込めないでください",
)
_TEMPERATURE = Text(
    "multiply the cosines of normed queries and keys by a learned temperature (10 to start with), and do not divide them by the root of the width",
    "正規化したクエリとキーのコサイン類似度には、幅の平方根で割る代わりに、学習可能な温度（初期値は10程度）を掛けてください",
)
NEARLY_EVEN = Fault(
    "weights-always-nearly-even",
    "M9",
    "attention",
    "warning",
    Text(
        "A softmax of numbers that lie within one of each other, as another softmax, a sigmoid, or cosines divided by the root of the width give "
        "them, can prefer no key clearly: among 65 tokens the largest share is 4 % instead of 100 %. Attention is nearly a mean over all tokens, for "
        "ever.",
        "幅1の範囲に収まる値（別のsoftmaxやsigmoidの出力、ヘッドの幅の平方根で割ったコサイン類似度）のsoftmaxでは、特定のキーを明確に"
        "選べません。65トークンなら最大の重みは100 %ではなく4 %です。アテンションは、学習してもほぼ全トークンの平均のままです。",
    ),
    Text(
        f"{_ONCE.en}; {_TEMPERATURE.en}",
        f"{_ONCE.ja}。{_TEMPERATURE.ja}",
    ),
    "attn = scores.softmax(dim=-1)   # once",
    explains=("overfit",),
)
LOGARITHMS = Fault(
    "weights-are-logarithms",
    "M7",
    "attention",
    "error",
    Text(
        "The logarithm of a share is never above zero, and largest in size where the share is smallest: a token takes the values of others with a "
        "minus, most of all of those that are least like what it asks for.",
        "重みの対数は常に0以下で、重みが小さいほど絶対値が大きくなります。トークンはほかのトークンの値を負の符号で受け取り、問い合わせに最も合わない"
        "トークンの影響が最も大きくなります。",
    ),
    Text(
        "take softmax, not log_softmax, which belongs to losses",
        "log_softmaxではなくsoftmaxを使ってください（log_softmaxは損失の計算に使うものです）",
    ),
    "attn = scores.softmax(dim=-1)   # not log_softmax",
    explains=("overfit",),
)


def weighing(patient: Patient, attentions: Iterable[Attention]) -> Iterator[Finding]:
    """What is wrong with the weights of some attentions that the lens has proved."""
    found = [weights for each in attentions for weights in weights_of(each)]
    yield from _without_influence(patient, found, _proved)
    yield from _nearly_even(patient.tape, found)


def weighing_by_hand(patient: Patient, but: Collection[str] = ()) -> Iterator[Finding]:
    """The same, of a model in which the lens does not follow every attention; and weights that no softmax of torch's gives. Modules that are
    excepted have a fault already."""
    found = [each for each in _by_hand(patient) if each.path not in but]
    yield from _logarithms(patient.tape, found)
    yield from _without_influence(patient, found, _by_hand)
    yield from _nearly_even(patient.tape, found)
    yield from softmax_missing(patient.tape, found)


def _proved(patient: Patient) -> list[Weights]:
    return [weights for each in patient.attentions for weights in weights_of(each)]


def _by_hand(patient: Patient) -> list[Weights]:
    return list(weights_by_hand(patient.tape))


def _without_influence(
    patient: Patient, found: list[Weights], find: Callable[[Patient], list[Weights]]
) -> Iterator[Finding]:
    """Scores that are multiplied by zero; a note where some steps of training make that number another."""
    dead = [each for each in found if have_no_influence(patient.tape, each)]
    if not dead:
        return
    still = len(dead)
    if not patient.is_trained and any(can_be_learned(patient.tape, each) for each in dead):
        still = sum(have_no_influence(patient.trained.tape, each) for each in find(patient.trained))
    after = (
        Text("training does not change it", "学習しても変わりません")
        if still
        else Text("after some steps of training they no longer do", "数ステップ学習すると変わります")
    )
    yield WITHOUT_INFLUENCE.found(
        Text(
            "With other numbers in the place of queries and keys the weights stay exactly what they are, in "
            f"{part_of(len(dead), len(found), 'attention')} ({listed(each.path for each in dead)}); {after.en}.",
            f"{len(found)}個中{len(dead)}個のアテンションで、クエリとキーを別の値に置き換えても、アテンションの重みがまったく変わりません"
            f"（{listed(each.path for each in dead)}）。{after.ja}。",
        ),
        {
            "attentions_without_influence": len(dead),
            "attentions_without_influence_after_some_steps": still,
            "attentions": len(found),
            "modules": [each.path for each in dead],
        },
        severity="error" if still else "note",
    )


def _nearly_even(tape: Tape, found: list[Weights]) -> Iterator[Finding]:
    """A softmax of what is bounded."""
    bounded = [(each, ratio) for each in found for ratio in [largest_ratio(tape, each)] if ratio is not None]
    if bounded:
        ratio, modules = max(ratio for _, ratio in bounded), [each.path for each, _ in bounded]
        yield _of_what(tape, bounded[0][0]).found(
            Text(
                f"However large scores, queries or keys are made, a token gives to one other at most {ratio:.4g} times what it gives to any "
                f"({listed(modules)}).",
                f"スコア、クエリ、キーをどれだけ大きくしても、1つのトークンが配る重みの最大と最小の比は{ratio:.4g}倍を超えません（{listed(modules)}）。",
            ),
            {"largest_ratio": ratio, "modules": modules},
        )


def _of_what(tape: Tape, weights: Weights) -> Fault:
    """The fault with the fix for one of its two reasons: scores that are squeezed, or cosines that nothing learned scales."""
    if is_squeezed(tape, weights):
        return replace(NEARLY_EVEN, advice=_ONCE)
    return replace(NEARLY_EVEN, advice=_TEMPERATURE, code=cosines_in_code(is_fused=weights.source is None))


def cosines_in_code(*, is_fused: bool) -> str:
    """Scores of normed queries and keys with a temperature that can be learned."""
    q, k = "F.normalize(q, dim=-1)", "F.normalize(k, dim=-1)"
    lines = [f"scores = {q} @ {k}.transpose(-2, -1) * self.temperature   # no head_dim**-0.5"]
    if is_fused:
        lines = [f"q, k = {q} * self.temperature, {k}", "out = F.scaled_dot_product_attention(q, k, v, scale=1.0)"]
    return "\n".join(["self.temperature = nn.Parameter(torch.tensor(10.0))", *lines])


def _logarithms(tape: Tape, found: list[Weights]) -> Iterator[Finding]:
    """Weights that are logarithms."""
    wrong = [
        (each, of)
        for each, of in ((each, each.of(tape.value(each.source))) for each in found if each.source)
        if are_logarithms(of)
    ]
    if wrong:
        modules = [each.path for each, _ in wrong]
        least, most = min(float(of.min()) for _, of in wrong), max(float(of.max()) for _, of in wrong)
        yield LOGARITHMS.found(
            Text(
                f"The values of other tokens are multiplied by numbers between {least:.3g} and {most:.3g}, never above zero, whose exponentials sum "
                f"to 1: by logarithms of shares ({listed(modules)}).",
                f"ほかのトークンの値に{least:.3g}から{most:.3g}の、0以下の数が掛けられています。その指数（exp）の合計が1になるため、これは重みの対数です"
                f"（{listed(modules)}）。",
            ),
            {"lowest_weight": least, "highest_weight": most, "modules": modules},
        )
