"""An examination on the screen: what is wrong, what it does to learning and the fix; then what was fine and what was not done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitscope._core.text import Lang
from vitscope._core.wrapping import wrapped as wrap
from vitscope.cli.screen import out

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.doctor.telling import Line

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
STYLES = {"headline": "bold", "dim": "dim", "summary": "bold", "code": "cyan", "fine": "green"}
WIDEST = 110


def show(found: Examination, lang: Lang) -> None:
    """Prints an examination."""
    from vitscope.doctor.telling import laid_out, lines_of

    console = out()
    width = min(console.width, WIDEST)
    for line in lines_of(found, lang, confirm="--checks {check}"):
        console.print(laid_out(line, width), style=_style(line), soft_wrap=True)


def _style(line: Line) -> str:
    if line.severity is None:
        return STYLES.get(line.role, "")
    colour = COLOURS[line.severity]
    return f"bold {colour}" if line.role == "head" else colour


def wrapped(words: str, indent: int, *, style: str = "") -> None:
    """A paragraph under itself."""
    console = out()
    width, margin = max(24, min(console.width, WIDEST)), " " * indent
    console.print("\n".join(wrap(words, width, first=margin, rest=f"{margin}  ")), style=style, soft_wrap=True)
