"""Findings for attention that tears tokens apart: rows of several tokens, tokens shared out, an output that does not come back. In go blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.scrambles import Scramble, scrambled
from vitscope.doctor.naming import listed
from vitscope.lens.blocks import Block
from vitscope.lens.tape import Tape

MERGED = Fault(
    "heads-merged-across-tokens",
    "M6",
    "token-mixing",
    "error",
    Text(
        "What the heads found for one token is handed to others: the answers of the heads do not come back to the token that asked.",
        "あるトークンについて各ヘッドが得た結果が、別のトークンに渡されています。ヘッドの答えが、問い合わせたトークンに戻りません。",
    ),
    Text(
        "bring the heads back behind the tokens with a transpose before they are flattened",
        "平坦化する前に、transposeでヘッドの軸をトークンの軸の後ろに戻してください",
    ),
    "out = out.transpose(1, 2).reshape(B, N, heads * d)   # not .reshape(B, N, heads * d) at once",
    explains=("overfit", "position"),
)
SCRAMBLED = Fault(
    "rows-of-several-tokens",
    "M6",
    "token-mixing",
    "error",
    Text(
        "Attention compares tokens, and hands their values on. A view or reshape where a transpose belongs keeps the shape and moves the numbers: a "
        "row then holds pieces of several tokens, and what meets in a product are different channels. The model learns, clearly worse.",
        "アテンションはトークンどうしを比較し、そのバリューを受け渡す処理です。転置すべきところでviewやreshapeを使うと、形状は合っていても数値の"
        "並びが変わります。1つの行に複数のトークンの断片が入り、内積では別々のチャネルどうしが掛け合わされます。学習は進みますが、正解率は明らかに"
        "低くなります。",
    ),
    Text(
        "turn axes with transpose or permute, never with view or reshape, which keep the order of the numbers",
        "軸の入れ替えにはtransposeかpermuteを使ってください。viewやreshapeは数値の並び順を変えないため、軸の入れ替えにはなりません",
    ),
    "scores = q @ k.transpose(-2, -1)   # not q @ k.view(B, heads, d, N)",
    explains=("overfit", "position"),
)
CHUNKED = Fault(
    "chunked-along-the-tokens",
    "M6",
    "token-mixing",
    "error",
    Text(
        "Queries, keys and values are three views of every token. Here the tokens are shared out instead: some only ask, some are only compared "
        "with, and the values come from the rest. What the projection learns as a query for one token is a key or a value for another.",
        "クエリ・キー・バリューは、すべてのトークンからそれぞれ作るものです。ここではトークンのほうが3つに分けられ、あるものはクエリだけ、あるものは"
        "キーだけ、残りはバリューだけになっています。射影の同じ出力が、あるトークンではクエリ、別のトークンではキーやバリューとして使われます。",
    ),
    Text(
        "cut the width in three, not the tokens; a reshape must name its axes in the order in which they lie: tokens, 3, heads, width of a head",
        "トークンの軸ではなく幅を3つに分けてください。reshapeでは、軸をメモリ上の並びと同じ順（トークン、3、ヘッド、ヘッドの幅）に書いてください",
    ),
    "q, k, v = qkv(x).chunk(3, dim=-1)   # not dim=1\n"
    "# or: qkv(x).reshape(B, N, 3, heads, d).permute(2, 0, 3, 1, 4)   # not .reshape(B, 3, heads, N, d)",
    explains=("overfit", "position", "pixel-coverage"),
)


def torn_tokens(tape: Tape, blocks: Sequence[Block]) -> Iterator[Finding]:
    """Numbers of several tokens in one row: in what goes into attention, in what comes back; and tokens that are shared out."""
    found = [each for block in blocks for each in [scrambled(tape, block)] if each]
    chunked = [each for each in found if each.is_chunked]
    inside = [each for each in found if "output" not in each.parts and not each.is_chunked]
    behind = [each for each in found if "output" in each.parts]
    if chunked:
        first, where = chunked[0], listed(each.path for each in chunked)
        yield CHUNKED.found(
            Text(
                f"The {first.rows} queries are made of {first.tokens_in_a_row} tokens only, keys and values of others: the projection is cut "
                f"along the tokens, not along the width ({where}).",
                f"{first.rows}個のクエリが{first.tokens_in_a_row}個のトークンだけから作られ、キーとバリューは別のトークンから作られています。射影の出力が、"
                f"幅ではなくトークンの軸で分割されています（{where}）。",
            ),
            _numbers_of(chunked),
        )
    if inside:
        first, where = inside[0], listed(each.path for each in inside)
        en, ja = " and ".join(first.parts), "と".join(_JAPANESE[part] for part in first.parts)
        yield SCRAMBLED.found(
            Text(
                f"The {en} are no tokens: one row is put together of numbers of {first.tokens_in_a_row} tokens, in other columns for each row "
                f"({where}).",
                f"{ja}の行がトークンに対応していません。1つの行が{first.tokens_in_a_row}個のトークンの数値の寄せ集めで、列の並びも行ごとに違います"
                f"（{where}）。",
            ),
            _numbers_of(inside),
        )
    if behind:
        first, where = behind[0], listed(each.path for each in behind)
        yield MERGED.found(
            Text(
                f"What attention found does not come back to the token that asked: one token is given numbers of {first.tokens_in_a_row} places of "
                f"its output ({where}).",
                f"アテンションの結果が、問い合わせたトークンに戻りません。1つのトークンが、出力の{first.tokens_in_a_row}個の位置の数値を受け取っています"
                f"（{where}）。",
            ),
            _numbers_of(behind),
        )


_JAPANESE = {"queries": "クエリ", "keys": "キー", "values": "バリュー", "output": "出力"}


def _numbers_of(found: list[Scramble]) -> dict[str, object]:
    first = found[0]
    return {
        "modules": [each.path or "the model" for each in found],
        "rows": first.rows,
        "tokens_in_a_row": first.tokens_in_a_row,
        "of": list(first.parts),
    }
