"""The words that pages print around what was found, in both languages; `w.name` in the templates."""

from __future__ import annotations

from vitscope._core.text import Text

WORDS: dict[str, Text] = {
    "theme": Text("light / dark", "明るい／暗い"),
    "made_by": Text("made by", "作成："),
    "no_network": Text(
        "This file is complete: it opens from the disk and asks no network for anything.",
        "このファイルだけで完結しています。ディスクから直接開け、ネットワークには一切アクセスしません。",
    ),
    "no_script": Text(
        "Scripts are off, so maps do not follow the pointer; all other pictures and numbers are here.",
        "スクリプトが無効のため、マップはポインタに追従しません。ほかの図と数値はすべて表示されます。",
    ),
    "look_title": Text("One image through {model}", "{model}の中を通る1枚の画像"),
    "contents": Text("The eight stages", "8つの段階"),
    "answer": Text("What comes out", "出力"),
    "says": Text("The model says", "モデルの答え"),
    "right_label": Text("the right answer", "正解"),
    "is_right": Text("right", "正解"),
    "is_wrong": Text("wrong", "不正解"),
    "label_unknown": Text("the right answer is not known", "正解は不明"),
    "probability": Text("probability", "確率"),
    "score": Text("score", "スコア"),
    "class": Text("class", "クラス"),
    "alarm": Text("Something is wrong with this model", "このモデルには問題があります"),
    "must_know": Text("Before you read on", "はじめに"),
    "how_checked": Text("How this was checked", "検証方法"),
    "error": Text("error", "誤差"),
    "at_most": Text("allowed", "許容"),
    "fails": Text("DOES NOT HOLD", "成立していません"),
    "stop": Text(".", "。"),
    "gap": Text(" ", ""),
    "not_shown": Text("Not shown", "表示できないもの"),
    "intermediates": Text("All intermediates, by the names of the trace", "すべての中間値（トレースでの名前）"),
    "name": Text("name", "名前"),
    "shape": Text("shape", "形状"),
    "mean": Text("mean", "平均"),
    "deviation": Text("standard deviation", "標準偏差"),
    "explorer": Text("Where each token looks", "各トークンが見ている場所"),
    "point": Text(
        "Point at a patch of the image (or move with the arrow keys; click to hold it): the map beside shows where it looks. "
        "The small maps below show the same for every layer and head; click one to choose it.",
        "画像のパッチにポインタを合わせると（矢印キーでも移動でき、クリックで固定）、そのパッチが見ている場所が隣に表示されます。"
        "下の小さなマップはすべての層とヘッドの様子で、クリックすると選べます。",
    ),
    "layer": Text("layer", "層"),
    "head": Text("head", "ヘッド"),
    "mean_of_heads": Text("mean of heads", "ヘッドの平均"),
    "looking": Text("looking", "見ている側"),
    "looked_at": Text("looked at", "見られている側"),
    "class_token": Text("the class token", "クラストークン"),
    "extra_token": Text("extra token {number}", "追加トークン{number}"),
    "patch_at": Text("patch in row {row}, column {column}", "{row}行{column}列のパッチ"),
    "takes": Text(
        "{who}: {patches} % of its attention on patches, {extra} % on tokens that are no patch; most on {best} ({share} %)",
        "{who}：パッチに{patches} %、パッチ以外のトークンに{extra} %。最も多いのは{best}（{share} %）",
    ),
    "takes_patches": Text(
        "{who}: most of its attention on {best} ({share} %)", "{who}：最も多く見ているのは{best}（{share} %）"
    ),
    "scale": Text(
        "share of attention, one scale for all layers and heads; colours follow its square root",
        "アテンションの割合（全層・全ヘッド共通の目盛り。色は平方根に比例）",
    ),
    "rounding": Text(
        "For this map shares are kept in 8 bits; the largest rounding is {error}.",
        "このマップでは割合を8ビットで保持しています。丸め誤差は最大{error}です。",
    ),
    "heads_averaged": Text(
        "Heads are averaged here: all of their maps would make this page too large.",
        "ページが大きくなりすぎるため、ここではヘッドの平均のみを示しています。",
    ),
    "all_maps": Text(
        "every layer (down) and head (across, the mean last)", "すべての層（縦）とヘッド（横、右端は平均）"
    ),
    "likeness_of": Text("how alike the position embeddings are to that of the", "位置埋め込みの類似度："),
    "cosine": Text("cosine", "コサイン類似度"),
    "no_places": Text(
        "Tokens of this model do not stand for one patch each, so where they look cannot be laid over the image.",
        "このモデルのトークンは1つずつのパッチに対応していないため、見ている場所を画像に重ねられません。",
    ),
    "after_block": Text("read out behind block", "読み出したブロック"),
    "lens_map": Text("probability of {label}, read from each patch", "各パッチから読み出した「{label}」の確率"),
}
