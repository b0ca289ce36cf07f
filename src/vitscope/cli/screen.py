"""Where output goes: results to standard output, progress and messages to standard error, one JSON document where it is asked for."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from vitscope._core.text import Lang, Text

PLAIN_WIDTH = 160  # columns where nobody says how wide the screen is: a pipe, a file


def out() -> Console:
    """Results."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def err() -> Console:
    """Progress and messages."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """One sentence about what went wrong, on standard error."""
    printable = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "?" for c in message)
    print(f"vitscope: {printable}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document; numbers that are not finite become null."""
    print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def table(*columns: str, numbers: tuple[int, ...] = (), title: str | None = None) -> Table:
    """A table with plain lines; the columns at `numbers` are set to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i in numbers else "left", header_style="bold", overflow="fold")
    return made


@contextmanager
def image_progress(lang: Lang) -> Iterator[Any]:
    """A progress callback (done, total) for reading and decoding images; the bar shows once there is something to wait for."""
    words = Text("reading images", "画像を読み込み中")[lang]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=err(), transient=True)
    task: TaskID | None = None

    def show(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(words, total=total)
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if task is not None:
            bar.stop()


def tell_of_english_pictures(lang: Lang) -> None:
    """Says in Japanese why the words in a picture are not, where no font on the machine has the letters."""
    from vitscope.curves import japanese_font

    if lang == "ja" and japanese_font() is None:
        err().print(
            "日本語フォントが見つからないため、図の文字は英語です（DebianやUbuntuなら apt install fonts-noto-cjk）",
            markup=False,
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
