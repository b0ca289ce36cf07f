"""A comparison as lines that a person reads: the verdict first, then the race, what differs, and what the doctor found in each.

The terminal gives the lines colours; `print` and notebooks show them as they are. In goes a `Comparison`, out come lines, text or HTML.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope._core.wrapping import cells
from vitscope.doctor.telling import MARKS, WIDEST, WORDS, Line, laid_out, listed, verdict
from vitscope.race.differences import stopped

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.race.comparison import Comparison

_DIVERGED = Text("–: diverged; it counts as chance in the mean.", "–：発散（平均ではチャンスレベルとして計算）")
_EMPTY = Line("", "words")


def lines_of(found: Comparison, lang: Lang) -> Iterator[Line]:
    """A comparison, paragraph by paragraph; an empty one stands for an empty line."""
    for sentence in found.sentences:
        yield Line(sentence[lang], "headline")
    if found.race is not None:
        yield _EMPTY
        yield from _of_race(found, lang)
    if found.rows:
        yield _EMPTY
        yield from _of_structure(found, lang)
    for examination in (found.one, found.other):
        yield _EMPTY
        yield from _of_findings(examination, lang)


def as_text(found: Comparison, lang: Lang) -> str:
    """What `print` shows: what a reader must know, too, which the terminal has said before."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    notes = (Line(note[lang], "dim") for note in found.notes)
    return "\n".join(laid_out(line, width) for line in (*notes, *lines_of(found, lang)))


def as_html(found: Comparison, lang: Lang) -> str:
    """What a notebook shows."""
    return f'<pre style="white-space: pre-wrap">{escape(as_text(found, lang))}</pre>'


def _of_race(found: Comparison, lang: Lang) -> Iterator[Line]:
    """A row for each arm: its accuracies by seed and their mean, under each other; like code, rows are not broken."""
    assert found.race is not None
    seeds = list(dict.fromkeys(heat.seed for heat in found.race.heats))
    numbered = [Text(f"seed {each}", f"シード{each}")[lang] for each in seeds]
    rows = [[Text("right after the race, %", "競争後の正解率（%）")[lang], *numbered, Text("mean", "平均")[lang]]]
    for arm, heats in found.arms:
        by_seed = {heat.seed: heat for heat in heats}
        said = ["–" if by_seed[each].diverged else f"{by_seed[each].accuracy:.1f}" for each in seeds]
        rows.append([arm[lang], *said, f"{sum(heat.accuracy for heat in heats) / len(heats):.1f}"])
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        padded = "".join(f"  {_space(value, width)}{value}" for value, width in zip(values, widths[1:], strict=True))
        yield Line(f"{name}{_space(name, widths[0])}{padded}", "code")
    if any(heat.diverged for _, heats in found.arms for heat in heats):
        yield Line(_DIVERGED[lang], "dim")
    why_stopped = stopped(found)
    if why_stopped is not None:
        yield Line(why_stopped[lang], "dim")


def _space(words: str, width: int) -> str:
    return " " * (width - cells(words))


def _of_structure(found: Comparison, lang: Lang) -> Iterator[Line]:
    differing = [row for row in found.rows if row.differs]
    same = [row.role[lang] for row in found.rows if not row.differs]
    if differing:
        yield Line(Text("what differs", "異なる部分")[lang], "headline")
    can, colon = Text("can it matter? ", "影響するか：")[lang], Text(": ", "：")[lang]
    for row in differing:
        yield Line(f"{row.role[lang]}{colon}{row.one[lang]} | {row.other[lang]}", "words", 2)
        yield Line(f"{can}{row.matters[lang]}", "dim", 4)
    if same:
        yield Line(f"{Text('the same', '同じ部分')[lang]}{colon}{listed(same)[lang]}", "fine")


def _of_findings(found: Examination, lang: Lang) -> Iterator[Line]:
    colon = Text(": ", "：")[lang]
    yield Line(f"{found.target}{colon}{verdict(found)[lang]}", "headline")
    for cause in found.causes:
        severity = cause.severity
        said = f"{MARKS[severity]} {WORDS[severity][lang]} · {cause.id}{colon}{cause.summary[lang]}"
        yield Line(said, "head", 2, severity)
        if severity != "note":
            yield Line(f"{Text('fix', '対処')[lang]}{colon}{cause.fault.advice[lang]}", "words", 4)
        below = found.under(cause)
        if below:
            what = Text("this also explains", "この問題から派生したもの")[lang]
            yield Line(f"{what}{colon}{listed([each.id for each in below])[lang]}", "dim", 4)
