"""Whether what a token gets is divided by the number of tokens once more, behind a softmax whose shares sum to one already.

In go measured attentions on a tape, out comes a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.attention.measuring import Measured, where
from vitscope.doctor.attention.scaling import OVER, TIMES, Way, are_alike, own_factor
from vitscope.doctor.finding import Fault, Finding
from vitscope.lens.attention import Attention
from vitscope.lens.flow import has_constant
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, RESIDUALS, SUMS, VIEWS, factors
from vitscope.lens.tape import Call, Tape

FEW = 8
"""Of fewer tokens the number may be any constant."""
AVERAGED = Fault(
    "averaged-behind-the-softmax",
    "M10",
    "attention",
    "error",
    Text(
        "The shares of a softmax sum to one: what a token gets is a mean already. Divided by the number of tokens once more it is as many times too "
        "weak beside the stream, and the model behaves as if each patch stood alone; with a class token, it hardly sees the image.",
        "softmaxの重みは合計が1なので、トークンが受け取る値はすでに平均です。"
        "もう一度トークン数で割ると、残差ブランチの出力が本流に対してその分だけ"
        "弱くなり、各パッチが単独で処理されているかのように振る舞います。クラストークンには画像がほとんど伝わりません。",
    ),
    Text(
        "take the division away: softmax(scores) @ v is all",
        "この除算を取り除いてください。softmax(scores) @ v だけで十分です",
    ),
    "out = scores.softmax(dim=-1) @ v   # no / N behind it",
    explains=("overfit", "scaled-behind-the-softmax"),
)


def averaged(tape: Tape, measured: list[Measured]) -> Iterator[Finding]:
    """The finding, where constants from the projection of the values to the stream are one over the number of keys, all together."""
    others = {len(measured), 2 * len(measured)}
    found = [
        each
        for each in measured
        if each.tokens >= FEW
        and each.tokens not in others | {each.heads}
        and are_alike(_to_the_stream(tape, each) or 0.0, 1 / each.tokens)
    ]
    if found:
        tokens = found[0].tokens
        yield AVERAGED.found(
            Text(
                f"What a token gets from all others is multiplied by {1 / tokens:.4g} = 1/{tokens}, one over the number of tokens, though its shares "
                f"sum to 1 before that ({where(found)}).",
                f"重みの合計はすでに1なのに、トークンが受け取る値にさらに{1 / tokens:.4g} = 1/{tokens}（トークン数の逆数）が掛けられています"
                f"（{where(found)}）。",
            ),
            {"factor": 1 / tokens, "tokens": tokens, "modules": [each.path for each in found]},
        )


def _to_the_stream(tape: Tape, of: Measured) -> float | None:
    """By what constants values are multiplied from their projection, through the map, until they come to the tokens; None where it cannot be told,
    or something on the way is learned or a norm, which makes up for any of them."""
    if of.axis or of.scaling.behind is None or of.is_across_channels:
        return None
    part = of.attention.parts[0] if of.attention.parts else of.attention
    values = part.begins.sources[2] if part.is_fused else factors(part.ends)[0 if part.is_turned else 1]
    try:
        before, behind = Way(tape, PRODUCTS | CONVOLUTIONS).factor(values), _behind(tape, part)
    except LensError:  # a number that was written over
        return None
    return None if before is None or behind is None else before * of.scaling.behind * behind


def _behind(tape: Tape, attention: Attention) -> float | None:
    here, found = attention.ends, 1.0
    while True:
        users = tape.users(here)
        if len(users) != 1:
            return None
        here = users[0]
        if here.name in RESIDUALS and sum(tape.is_of_image(source) for source in here.sources) > 1:
            return found if here.name in SUMS else None
        own = own_factor(tape, here) if here.name in TIMES | OVER else 1.0
        if own is None or not (
            here.name in TIMES | OVER | VIEWS | {"cat"} or _is_projection(tape, here) or _adds(tape, here)
        ):
            return None
        found *= own


def _is_projection(tape: Tape, call: Call) -> bool:
    return call.name in PRODUCTS | CONVOLUTIONS and has_constant(tape, call)


def _adds(tape: Tape, call: Call) -> bool:
    """Whether it adds a bias."""
    return call.name in SUMS and has_constant(tape, call)
