"""An examination as lines that a person reads: what is wrong, what it does to learning and the fix; then what was fine and what was not done.

The terminal gives the lines colours; `print` and notebooks show them as they are. In goes an `Examination`, out come lines, text or HTML.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from vitscope._core.text import Lang, Text
from vitscope._core.wrapping import wrapped
from vitscope.doctor.finding import SEVERITIES, Finding, Severity, Skip

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination

WIDEST = 110
"""Columns beyond which a line is hard to read."""
MARKS: dict[Severity, str] = {"error": "✗", "warning": "!", "note": "i"}
WORDS: dict[Severity, Text] = {
    "error": Text("error", "エラー"),
    "warning": Text("warning", "警告"),
    "note": Text("note", "参考"),
}
Role = Literal["headline", "dim", "head", "summary", "words", "code", "below", "fine"]


@dataclass(frozen=True)
class Line:
    """One paragraph, and what it is."""

    words: str
    role: Role
    indent: int = 0
    severity: Severity | None = None
    """Of heads, and of what a cause explains."""


def verdict(found: Examination) -> Text:
    """Whether something is wrong, and how much could not be examined, in a few words: `NOT healthy; 2 errors, 1 warning`."""
    counts, rest = counted(found), _not_made(found)
    if not found.checks_run and not found.findings:
        return Text("nothing could be examined", "検査できた項目がありません")
    if not found.healthy:
        said = Text(f"NOT healthy; {counts.en}", f"異常あり。{counts.ja}")
    elif any(finding.severity == "warning" for finding in found.findings):
        said = Text(f"no error; {counts.en}", f"エラーなし。{counts.ja}")
    else:
        said = Text("healthy as far as examined", "検査できた範囲では健全") if rest.en else Text("healthy", "健全")
        if counts.en:
            said = Text(f"{said.en}; {counts.en}", f"{said.ja}。{counts.ja}")
        elif not rest.en:
            said = Text(f"{said.en}; nothing wrong was found", f"{said.ja}。問題は見つかりませんでした")
    return Text(f"{said.en}; {rest.en}", f"{said.ja}。{rest.ja}") if rest.en else said


def _not_made(found: Examination) -> Text:
    """How many checks could not be made; nothing where all could."""
    count = len({skip.check for skip in found.not_made} - set(found.checks_run))
    total = len(found.checks_run) + count
    if not count:
        return Text("", "")
    return Text(
        f"{count} of {total} checks could not be made",
        f"{total}項目中{count}項目は検査できませんでした",
    )


NOT_MADE = Text("could not be made, so nothing is known there", "検査できなかったもの（問題の有無は不明）")
LEFT_OUT = Text("left out, as not asked for or not for this case", "行わなかったもの（指定がないか、当てはまらない）")


def skips_of(found: Examination) -> list[tuple[Text, tuple[Skip, ...]]]:
    """What was not done: what could not be, and what was not meant to be, each under its heading."""
    return [(head, skips) for head, skips in ((NOT_MADE, found.not_made), (LEFT_OUT, found.left_out)) if skips]


def counted(found: Examination) -> Text:
    """How many there are of each severity: as many as are listed below, what asks for nothing among them."""
    en, ja = [], []
    for severity in SEVERITIES:
        count = sum(finding.severity == severity for finding in found.findings)
        if count:
            en.append(f"{count} {WORDS[severity].en}{'s' if count > 1 else ''}")
            ja.append(f"{WORDS[severity].ja}{count}件")
    return Text(", ".join(en), "、".join(ja))


def listed(names: list[str]) -> Text:
    """Names one after the other."""
    return Text(", ".join(names), "、".join(names))


def nothing_found_by(found: Examination) -> list[str]:
    """The checks that were done and found nothing."""
    named = {finding.check for finding in found.findings}
    return [check for check in found.checks_run if check not in named]


def lines_of(found: Examination, lang: Lang, *, confirm: str = "") -> Iterator[Line]:
    """An examination, paragraph by paragraph; an empty one stands for an empty line.

    Args:
        found: what was found.
        lang: the language.
        confirm: how it is seen that a finding is gone, with its `{check}` and `{id}` in it; left out, nothing is said of it.
    """
    seconds = sum(found.seconds.values())
    took = Text(f" ({seconds:.1f} s)", f"（{seconds:.1f}秒）") if seconds >= 0.05 else Text("", "")
    yield Line(f"{found.title[lang]}{Text(': ', '：')[lang]}{verdict(found)[lang]}{took[lang]}", "headline")
    for note in found.notes:
        yield Line(note[lang], "dim")
    for cause in found.causes:
        yield Line("", "words")
        yield from _of_cause(cause, found, lang, confirm)
    fine = nothing_found_by(found)
    if fine:
        yield Line("", "words")
        yield Line(f"✓ {Text('nothing found by: ', '問題なし：')[lang]}{listed(fine)[lang]}", "fine")
    for head, skips in skips_of(found):
        yield Line("", "words")
        yield Line(f"{head[lang]}{Text(':', '：')[lang]}", "words")
        for skip in skips:
            yield Line(f"– {skip.check}{Text(': ', '：')[lang]}{skip.why[lang]}", "words", 2)


def _of_cause(cause: Finding, found: Examination, lang: Lang, confirm: str) -> Iterator[Line]:
    severity, fault = cause.severity, cause.fault
    yield Line(f"{MARKS[severity]} {WORDS[severity][lang]} · {cause.check} · {cause.id}", "head", 0, severity)
    yield Line(cause.summary[lang], "summary", 2)
    yield Line(f"{Text('why: ', '影響：')[lang]}{fault.why[lang]}", "words", 2)
    if fault.is_to_mend:
        yield Line(f"{Text('fix: ', '対処：')[lang]}{fault.advice[lang]}", "words", 2)
        for line in fault.in_code[lang].splitlines():
            yield Line(line, "code", 6)
        if confirm:
            yield Line(_confirmed(cause, lang, confirm), "dim", 2)
    below = found.under(cause)
    if below:
        yield Line(Text("this also explains:", "この問題から派生したもの：")[lang], "dim", 2)
    for each in below:
        words = f"{MARKS[each.severity]} {each.check}{Text(': ', '：')[lang]}{each.summary[lang]}"
        yield Line(words, "below", 4, each.severity)


def _confirmed(cause: Finding, lang: Lang, confirm: str) -> str:
    return f"{Text('to confirm the fix: ', '修正の確認：')[lang]}{confirm.format(check=cause.proof, id=cause.id)}"


def as_text(found: Examination, lang: Lang, *, confirm: str = "") -> str:
    """What `print` shows."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    return "\n".join(laid_out(line, width) for line in lines_of(found, lang, confirm=confirm))


def laid_out(line: Line, width: int) -> str:
    """A paragraph in lines of that width; code is left as it is."""
    indent = " " * line.indent
    if line.role == "code" or not line.words:
        return f"{indent}{line.words}".rstrip()
    return "\n".join(wrapped(line.words, max(width, 24), first=indent, rest=f"{indent}  "))


def as_html(found: Examination, lang: Lang, *, confirm: str = "") -> str:
    """What a notebook shows."""
    rows = "".join(_row(finding, lang, confirm) for finding in found.findings)
    rest = "".join(f"<p>{head[lang]}</p><ul>{_skips(skips, lang)}</ul>" for head, skips in skips_of(found))
    notes = "".join(f"<p>{escape(note[lang])}</p>" for note in found.notes)
    title = f"{found.title[lang]}{Text(': ', '：')[lang]}{verdict(found)[lang]}"
    return f"<div><p><b>{escape(title)}</b></p><table>{rows}</table>{rest}{notes}</div>"


def _skips(skips: tuple[Skip, ...], lang: Lang) -> str:
    return "".join(f"<li>{escape(skip.check)}: {escape(skip.why[lang])}</li>" for skip in skips)


def _row(finding: Finding, lang: Lang, confirm: str) -> str:
    indent = "" if finding.folded_under is None else "&#8627; "
    told = "" if indent or not finding.fault.is_to_mend else f"<br><i>{escape(finding.fault.advice[lang])}</i>"
    if told and finding.fault.code:
        told += f"<pre>{escape(finding.fault.in_code[lang])}</pre>"
    if told and confirm:
        told += f"<br><small>{escape(_confirmed(finding, lang, confirm))}</small>"
    return (
        f'<tr><td style="vertical-align:top">{indent}{escape(WORDS[finding.severity][lang])}</td>'
        f'<td style="text-align:left"><b>{escape(finding.id)}</b><br>{escape(finding.summary[lang])}{told}</td></tr>'
    )
