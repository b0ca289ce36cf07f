"""The charts of a report: evaluations in, matplotlib figures out, several runs in one where they can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitscope._core.pictures import COLOURS, GREY, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.report.judging.seen import RunSeen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X"


def draw_calibration(runs: Sequence[RunSeen], lang: Lang) -> Figure:
    """How often predictions of each certainty were right; on the dashed line certainty is deserved. A point's size follows its images."""
    with picture_style(lang) as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.2), dpi=160, layout="constrained")
        panel = figure.subplots()
        panel.plot([0, 100], [0, 100], "--", color=GREY, linewidth=1)
        for number, run in enumerate(runs):
            if run.evaluation is None:
                continue
            bins = [each for each in run.evaluation.bins if each.images]
            sure, right = [100 * each.confidence for each in bins], [100 * each.accuracy for each in bins]
            colour = COLOURS[number % len(COLOURS)]
            panel.plot(sure, right, "-", color=colour, linewidth=1)
            sizes = [8 + 160 * each.images / run.evaluation.total.images for each in bins]
            marker = MARKERS[number % len(MARKERS)]
            panel.scatter(sure, right, s=sizes, color=colour, marker=marker, label=run.name, zorder=3)
        panel.set_xlim(0, 102)
        panel.set_ylim(0, 102)
        across = Text("how sure the model was, %", "モデルの確信度（%）")
        _name(panel, Text("how often it was right, %", "実際の正解率（%）"), across, len(runs), lang)
    return figure


def draw_speed(runs: Sequence[RunSeen], lang: Lang) -> Figure:
    """Training images a second, epoch by epoch."""
    with picture_style(lang) as lang:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(6, 3), dpi=160, layout="constrained")
        panel = figure.subplots()
        for number, run in enumerate(runs):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            epochs = [row.epoch for row in run.rows]
            speeds = [row.images_per_second for row in run.rows]
            panel.plot(epochs, speeds, marker + "-", color=colour, markersize=3, label=run.name)
        known = [row.images_per_second for run in runs for row in run.rows if 0 < row.images_per_second < math.inf]
        panel.set_ylim(0, 1.08 * max(known, default=1.0))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        up = Text("training images a second", "学習速度（画像／秒）")
        _name(panel, up, Text("epoch", "エポック"), len(runs), lang)
    return figure


def _name(panel: Axes, up: Text, across: Text, runs: int, lang: Lang) -> None:
    """What the axes mean, and where there are several runs, which is which."""
    panel.tick_params(labelfontfamily=LATIN)
    panel.set_xlabel(across[lang])
    set_title(panel, up[lang], lang)
    if runs > 1:
        panel.legend(frameon=False, fontsize=8)
