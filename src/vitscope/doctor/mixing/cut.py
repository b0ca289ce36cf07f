"""Heads that are cut out across tokens: the finding, and where linear attention does it. In go attentions, out come findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.experiments import Tokens, changed, played, projected, with_noise
from vitscope.doctor.mixing.heads import Across
from vitscope.doctor.mixing.torn import MERGED
from vitscope.doctor.naming import listed
from vitscope.doctor.unproved import is_summed_over_tokens
from vitscope.lens.attention import Attention
from vitscope.lens.operations import CONVOLUTIONS, factors
from vitscope.lens.tape import Source, Tape

FEWEST = 4
"""Of fewer tokens than this nothing is said."""
CUT = Fault(
    "heads-split-across-tokens",
    "M6",
    "token-mixing",
    "error",
    Text(
        "Each head should hold a part of every token's width. Here it holds runs of neighbouring tokens instead, so tokens of different heads never "
        "meet, and what a query compares with is not a token. The model learns, clearly worse.",
        "各ヘッドは、全トークンの幅の一部を受け持つべきです。ここでは隣り合うトークンの並びを受け持っているため、別のヘッドに入ったトークンどうしは"
        "情報をやり取りできず、比較される対象もトークンになっていません。学習は進みますが、正解率は明らかに低くなります。",
    ),
    Text(
        "split the width first, of queries, keys and values alike, then bring the heads in front of the tokens with a transpose",
        "クエリ・キー・バリューのどれも、先に幅を分割し、次にtransposeでヘッドの軸をトークンの軸の前に移してください",
    ),
    "q, k, v = (t.view(B, N, heads, d).transpose(1, 2) for t in (q, k, v))   # not .view(B, heads, N, d)",
    explains=(
        "heads-merged-across-tokens",
        "patches-never-meet",
        "part-of-the-image-never-read",
        "overfit",
        "position",
    ),
)
_BOTH_WAYS = Text(
    f"{CUT.advice.en}; and {MERGED.advice.en}",
    f"{CUT.advice.ja}。また、{MERGED.advice.ja}",
)


def cut_told(cut: Sequence[Across], *, is_merged_wrong: bool = False) -> Finding:
    """The finding; its fix holds both lines where heads are put back together across tokens as well."""
    heads = sum(bool(each) for each in cut[0].places)
    fault = replace(CUT, advice=_BOTH_WAYS, code=f"{CUT.code}\n{MERGED.code}") if is_merged_wrong else CUT
    return fault.found(
        Text(
            f"Changing one token changes the queries, keys or values of {heads} of {cut[0].heads} heads instead of all of them alike: heads are "
            f"cut out across tokens in {names_of(cut)}.",
            f"1つのトークンを変えても、クエリ・キー・バリューが変わるヘッドは{cut[0].heads}個中{heads}個だけで、全ヘッドで同じようには変わりません。"
            f"{names_of(cut)}でヘッドがトークンをまたいで切り出されています。",
        ),
        evidence_of(cut),
    )


def evidence_of(found: Sequence[Across]) -> dict[str, object]:
    """What of the first changed, and where all are."""
    first = found[0]
    return {
        "modules": [each.path or "the model" for each in found],
        "heads": first.heads,
        "changed_token": first.token,
        "places_changed_by_head": [list(each[:8]) for each in first.places],
    }


def names_of(found: Sequence[Across]) -> str:
    """The modules, in a sentence."""
    return listed([each.path or "the model" for each in found])


def cut_in_linear(tape: Tape, attention: Attention) -> Across | None:
    """Linear attention, keys with values first, some operand of which holds the first and the last token of its projection in so many rows of the
    first and of the last head as there are heads: a view that cuts each token in pieces and lays them one below the other.

    Heads of several scales, of windows or behind convolutions hold a token otherwise: in a row of each head at least, or in one alone.
    """
    if not is_summed_over_tokens(tape, attention.begins):
        return None
    for source, is_turned in _operands(attention):
        made = projected(tape, source)
        if made is None or not tape.is_of_image(source):
            continue
        table = Tokens(made, made.name in CONVOLUTIONS)
        value = tape.value(source)
        was = (value.mT if is_turned else value).flatten(0, -3)
        heads, count = was.shape[:2] if was.ndim == 3 else (1, 0)
        if heads < 2 or count < max(FEWEST, heads + 1) or len(table.of(tape.value(made))) != count:
            continue
        rows = []
        for token in (0, count - 1):
            now = played(tape, with_noise(tape, table, [token], 0), source)
            rows.append(changed(was, (now.mT if is_turned else now).flatten(0, -3)))
        first, last = (set(each.flatten().nonzero().flatten().tolist()) for each in rows)
        if first == set(range(heads)) and last == set(range(heads * count - heads, heads * count)):
            places = tuple(tuple(row.nonzero().flatten().tolist()) for row in rows[0])
            return Across(attention.path, heads, 0, places)
    return None


def _operands(attention: Attention) -> Iterator[tuple[Source, bool]]:
    """Where queries, keys and values come from, and whether they lie on their side there: of the first product, the first factor always does."""
    first, second = factors(attention.begins)
    yield from ((first, True), (second, False))
    left, right = factors(attention.ends)
    yield (right, True) if attention.is_turned else (left, False)
