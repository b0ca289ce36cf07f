"""The words that the page of an examination prints around what was found."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.report.words import WORDS

SEVERITY: dict[str, Text] = {
    "error": Text("error", "エラー"),
    "warning": Text("warning", "警告"),
    "note": Text("note", "参考"),
}
DOCTOR_WORDS: dict[str, Text] = {
    **WORDS,
    "doctor_title": Text("Examination of {target}", "{target}の検査結果"),
    "healthy": Text("Healthy: nothing is an error.", "健全です。エラーはありません。"),
    "not_healthy": Text("Not healthy.", "異常があります。"),
    "nothing": Text("Nothing wrong was found.", "問題は見つかりませんでした。"),
    "how": Text(
        "The model was examined by how it behaves: a copy was run, changed and trained for a few steps; its source was not read.",
        "モデルの振る舞いを検査しました。コピーを実行し、値を変え、数ステップだけ学習させています。ソースコードは読んでいません。",
    ),
    "why": Text("What it does to learning", "学習への影響"),
    "fix": Text("The fix", "対処"),
    "evidence": Text("The numbers", "根拠となる数値"),
    "explains": Text("This also explains", "これによって説明されるもの"),
    "proof": Text("What shows that it is mended: the check", "修正を確認するチェック："),
    "unread": Text("Bright: never read", "明るい部分：読まれていない画素"),
    "fine": Text("Nothing found by", "問題なしのチェック"),
    "skipped": Text("Not examined", "検査しなかったもの"),
    "check": Text("check", "チェック"),
    "reason": Text("why not", "理由"),
    "facts": Text("The model", "モデル"),
    "took": Text("{seconds} s of experiments", "実験時間{seconds}秒"),
}
