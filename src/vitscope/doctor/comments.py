"""What the comments in the code of a fix say in Japanese. In goes code as it stands beside a fault, out comes the same code for a reader of either
language.

Comments that say no more than `not …`, `no …` or `or …` follow a pattern; all others stand in one table.
"""

from __future__ import annotations

import re

from vitscope._core.text import Lang

_WHOLE = {
    "after 5 epochs of warm-up": "5エポックのウォームアップの後",
    "afterwards": "この後で",
    "and in a block: x = x + self.mlp(self.norm2(x))": "ブロックの中では x = x + self.mlp(self.norm2(x))",
    "and leave self.proj as it was drawn": "self.projは乱数の初期値のままにする",
    "and scheduler.step() after each optimizer.step()": "optimizer.step()のたびにscheduler.step()も呼ぶ",
    "and total / count at the end": "最後に total / count",
    "batch, heads, tokens, width of a head": "バッチ、ヘッド、トークン、ヘッドの幅",
    "drops a tenth": "1割を落とす",
    "for people": "表示用",
    "no .transpose(0, 1) behind it": "後ろの .transpose(0, 1) は不要",
    "no / N behind it": "後ろの / N は不要",
    "no attn_mask, no is_causal": "attn_mask も is_causal も不要",
    "no mask, no is_causal": "mask も is_causal も不要",
    "no src_mask, no is_causal": "src_mask も is_causal も不要",
    "no mask, is_causal=False": "マスクなし、is_causal=False",
    "no normalisation": "正規化は不要",
    "no q * scale before it": "前の q * scale は不要",
    "no scale=, no factor on q or k": "scale= も、qやkに掛ける係数も不要",
    "not .reshape(B, N, heads * d) at once": "いきなり .reshape(B, N, heads * d) とはしない",
    "not self.pos_embed.data, not .detach()": "self.pos_embed.data や .detach() ではない",
    "not the other way round": "逆にしない",
    "learned": "学習させる場合",
    "instead, only where it is to stay as it is": "値を変えない場合だけ、代わりにこちら",
    "nothing behind it": "後ろには何も掛けない",
    "nothing else on x": "xにはほかに何もかけない",
    "of dropping a branch; none may reach 1": "残差ブランチを落とす確率。1にはしない",
    "once": "1回だけ",
    "once, for both": "1回だけ作り、両方で使う",
    "one object, in both Compose": "1つのオブジェクトを両方のComposeで使う",
    "in place of what multiplies them now": "今掛けているものの代わり",
    "q, k, v: batch, heads, tokens, width": "q, k, v：バッチ、ヘッド、トークン、幅",
    "q, k, v: batch, heads, tokens, width; no mask": "q, k, v：バッチ、ヘッド、トークン、幅。マスクなし",
    "step() after each batch": "バッチごとにstep()",
    "step() once an epoch": "エポックごとに1回step()",
    "the only one": "正規化はこれだけ",
    "where they begin at 1": "1から始まる場合",
    "which drops out itself": "ドロップアウトはmlpの中にある",
    "x: what the last block gives": "x：最後のブロックの出力",
    "x: batch, tokens, dim": "x：バッチ、トークン、次元",
}
_PATTERNS = (
    (re.compile(r"not under (.+)"), r"\1 の外で"),
    (re.compile(r"not (.+)"), r"\1 ではない"),
    (re.compile(r"no (.+)"), r"\1 は不要"),
    (re.compile(r"or:? (.+)"), r"または \1"),
    (re.compile(r"and: (.+)"), r"あわせて \1"),
    (re.compile(r"without (.+)"), r"\1 は付けない"),
    (re.compile(r"in place of the factor (.+)"), r"係数 \1 の代わり"),
    (re.compile(r"in place of the factors (.+) and (.+)"), r"係数 \1 と \2 の代わり"),
    (re.compile(r"of (\d+) pixels"), r"\1画素の画像の場合"),
    (re.compile(r"each (\d+) wide"), r"それぞれの幅は\1"),
    (re.compile(r"in(?: place|stead) of (.+)"), r"\1 の代わり"),
)
_COMMENT = re.compile(r"(?<=# )[^#\n]+?(?=\s+# |$)", re.MULTILINE)


def code_in(code: str, lang: Lang) -> str:
    """The same code, with its comments in a language."""
    return code if lang == "en" else _COMMENT.sub(lambda comment: _in_japanese(comment[0]), code)


def _in_japanese(comment: str) -> str:
    """A comment in Japanese; what is code stays as it is."""
    if comment in _WHOLE:
        return _WHOLE[comment]
    for pattern, words in _PATTERNS:
        if pattern.fullmatch(comment):
            return pattern.sub(words, comment)
    return comment
