"""A comparison on the screen: the verdict first, then the race, what differs, and what the doctor found in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope.cli.doctor_screen import COLOURS, wrapped
from vitscope.cli.screen import err, named_progress, out, table

if TYPE_CHECKING:
    from vitscope.doctor.examination import Examination
    from vitscope.race.comparison import Comparison
    from vitscope.race.contest import Race


DIVERGED = Text("–: diverged; it counts as chance in the mean.", "–：発散（平均ではチャンスレベルとして計算）")


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
    console = out()
    for sentence in found.sentences:
        wrapped(sentence[lang], 0, style="bold")
    if found.race is not None:
        console.print()
        _show_race(found, found.race, lang)
    console.print()
    _show_structure(found, lang)
    for examination in (found.one, found.other):
        console.print()
        _show_findings(examination, lang)


def _show_race(found: Comparison, race: Race, lang: Lang) -> None:
    from vitscope.race.differences import stopped

    seeds = list(dict.fromkeys(heat.seed for heat in race.heats))
    name, mean = Text("right after the race, %", "競争後の正解率（%）")[lang], Text("mean", "平均")[lang]
    numbered = [Text(f"seed {each}", f"シード{each}")[lang] for each in seeds]
    shown = table(name, *numbered, mean, numbers=tuple(range(1, len(seeds) + 2)))
    for arm, heats in found.arms:
        by_seed = {heat.seed: heat for heat in heats}
        cells = ["–" if by_seed[each].diverged else f"{by_seed[each].accuracy:.1f}" for each in seeds]
        shown.add_row(arm[lang], *cells, f"{sum(heat.accuracy for heat in heats) / len(heats):.1f}")
    out().print(shown)
    if any(heat.diverged for _, heats in found.arms for heat in heats):
        out().print(DIVERGED[lang], style="dim", soft_wrap=True)
    why_stopped = stopped(found)
    if why_stopped is not None:
        out().print(why_stopped[lang], style="dim", soft_wrap=True)


def _show_structure(found: Comparison, lang: Lang) -> None:
    from vitscope.doctor.telling import listed

    differing = [row for row in found.rows if row.differs]
    same = [row.role[lang] for row in found.rows if not row.differs]
    if differing:
        out().print(Text("what differs", "異なる部分")[lang], style="bold")
    can, colon = Text("can it matter? ", "影響するか：")[lang], Text(": ", "：")[lang]
    for row in differing:
        wrapped(f"{row.role[lang]}{colon}{row.one[lang]} | {row.other[lang]}", 2)
        wrapped(f"{can}{row.matters[lang]}", 4, style="dim")
    if same:
        wrapped(f"{Text('the same', '同じ部分')[lang]}{colon}{listed(same)[lang]}", 0, style="green")


def _show_findings(found: Examination, lang: Lang) -> None:
    from vitscope.doctor.telling import MARKS, WORDS, listed, verdict

    colon = Text(": ", "：")[lang]
    wrapped(f"{found.target}{colon}{verdict(found)[lang]}", 0, style="bold")
    for cause in found.causes:
        severity = cause.severity
        head = f"{MARKS[severity]} {WORDS[severity][lang]} · {cause.id}{colon}{cause.summary[lang]}"
        wrapped(head, 2, style=f"bold {COLOURS[severity]}")
        if severity != "note":
            wrapped(f"{Text('fix', '対処')[lang]}{colon}{cause.fault.advice[lang]}", 4)
        below = found.under(cause)
        if below:
            what = Text("this also explains", "この問題から派生したもの")[lang]
            wrapped(f"{what}{colon}{listed([each.id for each in below])[lang]}", 4, style="dim")
