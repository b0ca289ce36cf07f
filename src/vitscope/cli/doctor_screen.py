"""An examination on the screen: what is wrong, what it does to learning and the fix; then what was fine and what was not done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vitscope._core.text import Lang
from vitscope.cli.screen import out

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.doctor.telling import Line

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
STYLES = {"headline": "bold", "dim": "dim", "summary": "bold", "code": "cyan", "fine": "green"}
WIDEST = 110


def show(found: Examination, lang: Lang) -> None:
    """Prints an examination."""
    from vitscope.doctor.telling import lines_of

    show_lines(lines_of(found, lang, confirm="--checks {check}"))


def show_lines(lines: Iterable[Line]) -> None:
    """Prints paragraphs under themselves, each in its colour."""
    from vitscope.doctor.telling import laid_out

    console = out()
    width = min(console.width, WIDEST)
    for line in lines:
        console.print(laid_out(line, width), style=_style(line), soft_wrap=True)


def _style(line: Line) -> str:
    if line.severity is None:
        return STYLES.get(line.role, "")
    colour = COLOURS[line.severity]
    return f"bold {colour}" if line.role == "head" else colour
