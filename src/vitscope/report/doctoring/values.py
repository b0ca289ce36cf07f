"""Words among the evidence of a finding. In goes one that the JSON has, out comes what the page says for it."""

from __future__ import annotations

from vitscope._core.text import Lang

_JA = {
    "the model": "モデル本体",
    "training": "学習",
    "validation": "検証",
    "nearest neighbours": "最近傍法",
    "kernel ridge": "カーネルリッジ回帰",
    "random filters": "ランダムな畳み込みフィルタ",
    "queries": "クエリ",
    "keys": "キー",
    "values": "バリュー",
    "output": "出力",
    "heads": "ヘッド",
    "queries and keys": "クエリとキー",
    "length one": "長さ1の軸",
    "rows of others": "ほかの行",
    "not at all": "出会わない",
    "linearly": "線形にだけ",
    "pooled": "集約された後で",
    "in order": "順序を保ったまま",
    "unknown": "不明",
    "labels": "画像のラベル",
    "the mean over all labels": "全ラベルの平均",
    "in the constructor": "コンストラクタ",
    "in the forward": "順伝播",
}


def worded(value: str, lang: Lang) -> str:
    """A word in the language of a page; names of modules and parameters, and what is not known here, as they are."""
    return _JA.get(value, value) if lang == "ja" else value
