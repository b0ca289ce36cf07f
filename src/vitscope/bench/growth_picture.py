"""The picture of growth: a result in, a figure out: a panel for each thing that was varied, measured points over the closed-form curve.

The curve is the FLOPs of an image, scaled to pass through the measured base point: where points leave it, something else than FLOPs counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitscope._core.pictures import GREY, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.bench.growth import Axis, GrowthResult, spec_at
from vitscope.bench.picture import COLOURS
from vitscope.bench.plan import MODES, Mode
from vitscope.bench.words import MODE
from vitscope.model.size import size_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK: dict[Mode, tuple[str, str]] = {"train": ("o", COLOURS[0]), "inference": ("s", COLOURS[5])}
_TIME, _MEMORY = Text("ms an image", "1枚あたりの時間（ミリ秒）"), Text("peak memory, MiB", "最大メモリ（MiB）")
_CLOSED = Text("closed-form FLOPs, scaled to the base", "FLOPsの計算値（基準点に合わせた曲線）")
_CAPTION = Text(
    "vitscope, {precision}; base: image {image}, patch {patch}, depth {depth}, width {dim}, batch {batch}; one thing varied at a time. {cpu}",
    "vitscope、{precision}。基準：画像 {image}、パッチ {patch}、深さ {depth}、幅 {dim}、バッチ {batch}。一度に1つだけを変えて測定。{cpu}",
)


def draw_growth(result: GrowthResult, lang: Lang = "en") -> Figure:
    """The figure: time above, memory below. Without a Japanese font the words are English."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    axes = result.axes()
    with picture_style(lang, grid="y") as lang:
        figure = Figure(figsize=(3.1 * len(axes) + 0.4, 6.4), dpi=160)
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, axis in enumerate(axes):
            _time_panel(panels[0][column], result, axis, lang)
            _memory_panel(panels[1][column], result, axis, lang)
        panels[0][0].set_ylabel(_TIME[lang])
        panels[1][0].set_ylabel(_MEMORY[lang])
        handles = [
            Line2D([], [], marker=_MARK[mode][0], color=_MARK[mode][1], linestyle="none", label=MODE[mode][lang])
            for mode in MODES
        ]
        handles.append(Line2D([], [], color=GREY, linewidth=1.2, label=_CLOSED[lang]))
        figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=8)
        spec, first = result.base, result.points[0]
        base = next((p.batch for axis in axes if axis.key != "batch" for p in result.of(axis.key)), first.batch)
        caption = _CAPTION[lang].format(
            precision=first.precision,
            image=spec.image_size[0],
            patch=spec.patch_size[0],
            depth=spec.depth,
            dim=spec.dim,
            batch=base,
            cpu=result.machine.get("cpu") or "",
        )
        figure.text(0.01, 0.985, caption, fontsize=7.5, color=GREY, va="top", parse_math=False)
        figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.13, wspace=0.28, hspace=0.28)
    return figure


def _time_panel(panel: Axes, result: GrowthResult, axis: Axis, lang: Lang) -> None:
    set_title(panel, axis.name[lang], lang, size=9)
    values = sorted(axis.values)
    flops = {value: size_of(spec_at(axis.key, value, result.base)).flops for value in values}
    for mode in MODES:
        points = result.of(axis.key, mode)
        marker, colour = _MARK[mode]
        base = next((point for point in points if point.value == axis.base), None)
        if base is not None:
            scale = base.seconds_per_image * 1000 / flops[axis.base]
            panel.plot(values, [flops[value] * scale for value in values], color=GREY, linewidth=1.2, zorder=1)
        panel.plot(
            [p.value for p in points],
            [p.seconds_per_image * 1000 for p in points],
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=5,
        )
    _both_logarithmic(panel, values)


def _memory_panel(panel: Axes, result: GrowthResult, axis: Axis, lang: Lang) -> None:
    for mode in MODES:
        points = [point for point in result.of(axis.key, mode) if point.peak_bytes]
        marker, colour = _MARK[mode]
        panel.plot(
            [p.value for p in points],
            [(p.peak_bytes or 0) / 2**20 for p in points],
            linestyle=":",
            linewidth=0.8,
            marker=marker,
            color=colour,
            markersize=5,
        )
    _both_logarithmic(panel, sorted(axis.values))


def _both_logarithmic(panel: Axes, values: list[int]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(values, [str(value) for value in values], fontsize=6.5, fontfamily=LATIN)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    panel.tick_params(axis="y", labelsize=7, labelfontfamily=LATIN)
