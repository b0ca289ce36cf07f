"""Where output goes: results to standard output, progress and messages to standard error, one JSON document where it is asked for."""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, JustifyMethod, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text as Letters

from vitscope._core.text import Lang, Text

PLAIN_WIDTH = 160  # columns where nobody says how wide the screen is: a pipe, a file


READING = Text("reading images", "画像を読み込み中")
MEASURING = Text("measuring", "評価中")


class PlainTable(Table):
    """A table that shows its cells letter by letter: names of files and classes may hold what rich takes for markup or an emoji."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """As rich's, but a string stays the string that it is."""
        super().add_row(*(Letters(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def out() -> Console:
    """Results."""
    console = _console()
    is_told = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return console if is_told else _console(width=PLAIN_WIDTH)


def err() -> Console:
    """Progress and messages."""
    return _console(stderr=True, soft_wrap=True)


def _console(**options: Any) -> Console:
    """Whatever is printed may be somebody's file name: nothing in it is markup."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def fail(message: str) -> None:
    """One sentence about what went wrong, on standard error."""
    printable = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "?" for c in message)
    print(f"vitscope: {printable}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document; numbers that are not finite become null."""
    print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def table(*columns: str, numbers: tuple[int, ...] = (), title: str | None = None) -> PlainTable:
    """A table with plain lines; the columns at `numbers` are set to the right."""
    head = Letters(title, style="bold") if title is not None else None
    made = PlainTable(title=head, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        side: JustifyMethod = "right" if i in numbers else "left"
        made.add_column(Letters(name), justify=side, header_style="bold", overflow="fold")
    return made


@contextmanager
def image_progress(lang: Lang, doing: Text = READING) -> Iterator[Any]:
    """A progress callback (done, total) for what is done to one image after the other; the bar shows once there is something to wait for."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = err()
    bar = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    )  # else a log gets an empty line
    task: TaskID | None = None

    def show(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(doing[lang], total=total)
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if task is not None:
            bar.stop()


@contextmanager
def named_progress(opening: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback (what is done, its number from 0, how many there are) for work whose parts have names; nothing is shown in a log."""
    console = err()
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(opening, total=None)
    with bar:
        yield lambda what, number, total: bar.update(task, description=what, completed=number, total=total)


def tell_of_english_pictures(lang: Lang) -> None:
    """Says in Japanese why the words in a picture are not, where no font on the machine has the letters."""
    from vitscope._core.pictures import japanese_font

    if lang == "ja" and japanese_font() is None:
        err().print(
            "日本語フォントが見つからないため、図の文字は英語です（DebianやUbuntuなら apt install fonts-noto-cjk）"
        )


def big(number: float | int) -> str:
    """`86,567,656` as `86.6 M`."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}" if number / limit < 100 else f"{number / limit:.0f} {unit}"
    return f"{number:.0f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
