"""An examination of a loop that can be read: as text where it is printed, as a table where a notebook shows it."""

from __future__ import annotations

from html import escape

from vitscope._core.text import Lang, Text, language_of_locale
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Finding

_SEVERITY = {"error": Text("error", "エラー"), "warning": Text("warning", "警告"), "note": Text("note", "注記")}
_NOTHING = Text("nothing to find fault with", "問題は見つかりませんでした")
_SKIPPED = Text("not told", "判断できなかった項目")


class LoopExamination(Examination):
    """What was found in a training loop."""

    def __str__(self) -> str:
        return as_text(self, language_of_locale())

    def _repr_html_(self) -> str:
        """What a notebook shows, in the language of the locale."""
        return as_html(self, language_of_locale())


def as_text(found: Examination, lang: Lang) -> str:
    """Some lines for each cause, one for what follows from it."""
    lines = [_title(found, lang)]
    for finding in found.findings:
        if finding.folded_under is None:
            lines += ["", f"{_SEVERITY[finding.severity][lang].upper()} ({finding.fault.mode}) {finding.summary[lang]}"]
            lines += [f"    {finding.fault.why[lang]}", f"    -> {finding.fault.advice[lang]}"]
            lines += [f"       {line}" for line in finding.fault.code.splitlines()]
        else:
            lines.append(f"    + {finding.summary[lang]}")
    if found.skipped:
        lines += ["", f"{_SKIPPED[lang]}:", *(f"    {skip.check}: {skip.why[lang]}" for skip in found.skipped)]
    lines += ["", *(note[lang] for note in found.notes)] if found.notes else []
    return "\n".join(lines)


def as_html(found: Examination, lang: Lang) -> str:
    """The same as a table."""
    rows = "".join(_row(finding, lang) for finding in found.findings)
    skipped = "".join(f"<li>{escape(skip.check)}: {escape(skip.why[lang])}</li>" for skip in found.skipped)
    rest = f"<p>{escape(_SKIPPED[lang])}</p><ul>{skipped}</ul>" if skipped else ""
    notes = "".join(f"<p>{escape(note[lang])}</p>" for note in found.notes)
    return f"<div><p><b>{escape(_title(found, lang))}</b></p><table>{rows}</table>{rest}{notes}</div>"


def _row(finding: Finding, lang: Lang) -> str:
    indent = "" if finding.folded_under is None else "&#8627; "
    code = f"<pre>{escape(finding.fault.code)}</pre>" if finding.fault.code and not indent else ""
    advice = f"<br><i>{escape(finding.fault.advice[lang])}</i>{code}" if not indent else ""
    return (
        f'<tr><td style="vertical-align:top">{indent}{escape(_SEVERITY[finding.severity][lang])} {escape(finding.fault.mode)}</td>'
        f'<td style="text-align:left">{escape(finding.summary[lang])}{advice}</td></tr>'
    )


def _title(found: Examination, lang: Lang) -> str:
    counts = [(s, sum(each.severity == s for each in found.causes)) for s in ("error", "warning", "note")]
    said = ", ".join(f"{count} × {_SEVERITY[severity][lang]}" for severity, count in counts if count) or _NOTHING[lang]
    steps = found.facts.get("steps", 0)
    seen = Text(f"{steps} steps", f"{steps}ステップ")[lang]
    return f"{found.target}, {seen}: {said}"
