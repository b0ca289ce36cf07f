"""Panels, scales and the line of caveat below: what all figures of the lens are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vitscope._core.pictures import GREY, LATIN
from vitscope._core.text import Lang, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER, HEAD = Text("layer", "層"), Text("head", "ヘッド")


def one_panel() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.8), dpi=160, layout="constrained")
    panel = figure.subplots()
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))  # layers, blocks, cycles: all are counted
    panel.tick_params(labelfontfamily=LATIN)
    return figure, panel


def grid_of_panels(count: int, across: int, side: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many square panels, row by row."""
    from matplotlib.figure import Figure

    across = min(across, count)
    down = math.ceil(count / across)
    figure = Figure(figsize=(across * side + 1.2, down * side * 1.12 + 1.0), dpi=160, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def picture(panel: Axes, values: Tensor, **how: Any) -> Any:
    drawn = panel.imshow(values.detach().float().numpy(), interpolation="nearest", **how)
    bare(panel)
    return drawn


def scale(figure: Figure, drawn: Any, panels: Sequence[Axes], name: str) -> None:
    """The one colour scale of all panels, with its numbers."""
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, label=name)
    bar.ax.tick_params(labelfontfamily=LATIN)
    bar.outline.set_visible(False)


def bare(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def foot(figure: Figure, words: Text, lang: Lang) -> None:
    """A line below everything, folded to the figure's width."""
    room = int(figure.get_figwidth() * (13 if lang == "en" else 8))
    lines, line = [], ""
    for word in words[lang].split(" ") if lang == "en" else list(words[lang]):
        gap = " " if lang == "en" and line else ""
        if len(line) + len(gap) + len(word) > room:
            lines.append(line)
            line, gap = "", ""
        line += gap + word
    figure.supxlabel("\n".join([*lines, line]), fontsize=6.5, color=GREY, x=0.02, ha="left")
