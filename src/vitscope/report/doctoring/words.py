"""The words that the page of an examination prints around what was found."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.report.words import WORDS

DOCTOR_WORDS: dict[str, Text] = {
    **WORDS,
    "doctor_title": Text("Examination of {target}", "{target}の検査結果"),
    "how": Text(
        "The model was examined by how it behaves: a copy was run, changed and trained for a few steps; its source was not read.",
        "モデルの振る舞いを検査しました。コピーを実行し、値を変え、数ステップだけ学習させています。ソースコードは読んでいません。",
    ),
    "how_records": Text(
        "What was recorded was examined; the doctor ran no model.",
        "記録された内容を検査しました。モデルは実行していません。",
    ),
    "why": Text("What it does to learning", "学習への影響"),
    "fix": Text("The fix", "対処"),
    "evidence": Text("The numbers", "根拠となる数値"),
    "explains": Text("This also explains", "この問題から派生したもの"),
    "proof": Text("To confirm the fix", "修正の確認"),
    "colon": Text(": ", "："),
    "mode": Text(
        "Its number in the list of failure modes, docs/failure-modes.md", "問題の一覧（docs/failure-modes.md）での番号"
    ),
    "unread": Text("Bright: never read", "明るい部分：読まれていない画素"),
    "fine": Text("Nothing found by", "問題なしのチェック"),
    "check": Text("check", "チェック"),
    "reason": Text("why not", "理由"),
    "facts": Text("The model", "モデル"),
    "took": Text("{seconds} s of experiments", "実験時間{seconds}秒"),
}
