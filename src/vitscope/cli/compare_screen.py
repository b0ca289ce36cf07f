"""A comparison on the screen: the verdict first, then the race, what differs, and what the doctor found in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope.cli.doctor_screen import show_lines
from vitscope.cli.screen import err, named_progress

if TYPE_CHECKING:
    from vitscope.race.comparison import Comparison


def say(note: Text, lang: Lang) -> None:
    """What a user should know before the waiting begins."""
    err().print(note[lang], style="dim")


@contextmanager
def race_progress(lang: Lang) -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback: which check of which model runs, and who is being trained. A log gets a line for each training."""
    from vitscope.race.contest import in_words

    console = err()

    def tell(what: str, number: int, total: int) -> None:
        is_check, arm = ": " in what, in_words(what)
        words = what if is_check else Text(f"training {arm.en}", f"{arm.ja}を学習中")[lang]
        update(words, number, total)
        if not console.is_terminal and (not is_check or number == 0):
            shown = (
                Text(f"examining {what.split(': ')[0]}", f"{what.split(': ')[0]}を検査中")[lang] if is_check else words
            )
            console.print(shown if is_check else f"{shown} ({number + 1}/{total})")

    with named_progress(Text("opening the models", "モデルを開いています")[lang]) as update:
        yield tell


def show(found: Comparison, lang: Lang) -> None:
    """Prints a comparison."""
    from vitscope.race.telling import lines_of

    show_lines(lines_of(found, lang))
