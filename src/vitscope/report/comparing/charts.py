"""The chart of a race: arms with their heats in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitscope._core.pictures import COLOURS, GREY, picture_style
from vitscope._core.text import Lang, Text
from vitscope.report.comparing.words import COMPARE_WORDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vitscope.race.gaps import Heat


def draw_race(arms: Sequence[tuple[Text, tuple[Heat, ...]]], classes: int, lang: Lang) -> Figure:
    """A bar for each arm's mean, a point for each seed, and where chance is."""
    with picture_style(lang) as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 0.9 + 0.55 * len(arms)), dpi=160, layout="constrained")
        panel = figure.subplots()
        for row, (_, heats) in enumerate(arms):
            right = [heat.accuracy for heat in heats]
            mean = sum(right) / len(right)
            panel.barh(row, mean, height=0.55, color=COLOURS[min(row, 2)], alpha=0.35)
            panel.plot(right, [row] * len(right), "o", color=COLOURS[min(row, 2)], markersize=5)
            panel.annotate(
                f"{mean:.1f}", (max([*right, mean]), row), xytext=(8, 0), textcoords="offset points", va="center"
            )
        panel.axvline(100 / classes, linestyle="--", color=GREY, linewidth=1)
        panel.annotate(
            COMPARE_WORDS["chance"][lang],
            (100 / classes, -0.62),
            xytext=(3, 0),
            textcoords="offset points",
            color=GREY,
            fontsize=8,
        )
        panel.set_yticks(range(len(arms)), [name[lang] for name, _ in arms])
        panel.set_ylim(len(arms) - 0.5, -0.8)
        panel.set_xlim(0, 108)
        panel.set_xticks(range(0, 101, 20))
        panel.set_xlabel(COMPARE_WORDS["right_after"][lang])
    return figure
