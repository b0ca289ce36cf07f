"""An examination on the screen: what is wrong, what it does to learning and the fix; then what was fine and what was not done."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope.cli.screen import out

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.doctor.finding import Finding

MARKS = {
    "error": ("✗", "bold red", Text("error", "エラー")),
    "warning": ("!", "bold yellow", Text("warning", "警告")),
    "note": ("i", "bold blue", Text("note", "参考")),
}


def show(found: Examination, lang: Lang) -> None:
    """Prints an examination."""
    console = out()
    console.print(_headline(found)[lang], style="bold", soft_wrap=True)
    for note in found.notes:
        console.print(note[lang], style="dim", soft_wrap=True)
    for cause in found.causes:
        _show_finding(cause, lang)
        below = found.under(cause)
        if below:
            console.print(f"  {Text('this also explains:', 'これによって説明されるもの:')[lang]}", style="dim")
        for finding in below:
            mark, style, _ = MARKS[finding.severity]
            wrapped(f"{mark} {finding.check}: {finding.summary[lang]}", 4, style=style.replace("bold ", ""))
    fine = [check for check in found.checks_run if check not in {finding.check for finding in found.findings}]
    if fine:
        console.print()
        wrapped(f"✓ {Text('nothing found by', '問題なし')[lang]}: {', '.join(fine)}", 0, style="green")
    if found.skipped:
        console.print(f"\n{Text('not examined:', '検査しなかったもの:')[lang]}")
        for skip in found.skipped:
            wrapped(f"– {skip.check}: {skip.why[lang]}", 2)


def _headline(found: Examination) -> Text:
    counts = {kind: sum(finding.severity == kind for finding in found.findings) for kind in MARKS}
    seconds = sum(found.seconds.values())
    if not found.findings:
        what = Text("nothing wrong was found", "問題は見つかりませんでした")
    else:
        en = ", ".join(f"{n} {MARKS[kind][2].en}{'s' if n > 1 else ''}" for kind, n in counts.items() if n)
        ja = "、".join(f"{MARKS[kind][2].ja}{n}件" for kind, n in counts.items() if n)
        what = Text(en, ja)
    verdict = Text("healthy", "健全") if found.healthy else Text("NOT healthy", "異常あり")
    took = Text(f" ({seconds:.1f} s)", f"（{seconds:.1f}秒）") if seconds else Text("", "")
    return Text(
        f"{found.target}: {verdict.en}; {what.en}{took.en}", f"{found.target}: {verdict.ja}。{what.ja}{took.ja}"
    )


def _show_finding(finding: Finding, lang: Lang) -> None:
    mark, style, word = MARKS[finding.severity]
    console = out()
    console.print()
    wrapped(f"{mark} {word[lang]} · {finding.check} · {finding.id}", 0, style=style)
    wrapped(finding.summary[lang], 2, style="bold")
    rows = (
        (Text("why", "影響"), finding.fault.why[lang]),
        (Text("fix", "対処"), finding.fault.advice[lang]),
    )
    for name, words in rows:
        wrapped(f"{name[lang]}: {words}", 2)
    for line in finding.fault.code.splitlines():
        console.print(f"      {line}", style="cyan", soft_wrap=True)
    proof = Text("to see it mended: the check {check}", "修正の確認: チェック {check}").format(check=finding.proof)
    wrapped(proof[lang], 2, style="dim")


def wrapped(words: str, indent: int, *, style: str = "") -> None:
    """A paragraph under itself. Japanese has no spaces to break at; the terminal breaks it."""
    console = out()
    if words.isascii() or " " in words[:40]:
        width = max(40, min(console.width, 110))
        words = textwrap.fill(
            words, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_long_words=False
        )
    else:
        words = " " * indent + words
    console.print(words, style=style, soft_wrap=True)
