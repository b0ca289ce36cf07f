"""The picture of a bench: in goes a result, out comes a figure: images a second of each library, a panel for each model and mode.

In a panel each batch has a group of bars, the best setting of each library, in colours that the colour-blind tell apart, with a hatch for each
besides; a black line over a group is what the machine's bf16 product (fp32 where only that was measured) would allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitscope._core.pictures import GREY, INK, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.bench.limits import step_flops
from vitscope.bench.plan import MODELS, OURS, PRECISIONS, Mode
from vitscope.bench.result import BenchResult, Row
from vitscope.bench.words import MODE, digits
from vitscope.model.size import size_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#B5A800")
"""Okabe and Ito's palette; its yellow is darkened to be seen on white."""
HATCHES = ("", "//", "..", "xx", "--", "\\\\", "++", "oo")
_LETTER, _PANEL = 3.9, 390
"""Points: about what a digit over a bar and a panel are wide."""
_TITLE = Text("{model}, {mode}", "{model}、{mode}")
_AXIS = Text("images/s", "処理速度（枚/秒）")
_BATCH = Text("batch {}", "バッチ {}")
_LIMIT = Text("limit: the machine's matrix product", "上限：このマシンの行列積")
_CAPTION = Text(
    "Images/s of each library in its best setting. Threads: {threads}, {cpu}",
    "各ライブラリの最良の設定での処理速度（毎秒の画像数）。スレッド数 {threads}、{cpu}",
)


def draw_bench(result: BenchResult, lang: Lang = "en") -> Figure:
    """The figure; `pictures.save` writes it. Without a Japanese font the words are English."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row.model, row.mode) for row in result.rows))
    models = list(dict.fromkeys(model for model, _ in panels))
    modes: list[Mode] = [mode for mode in ("train", "inference") if any(mode == m for _, m in panels)]
    libraries = list(dict.fromkeys([OURS, *(row.library for row in result.rows)]))
    with picture_style(lang, grid="y") as lang:
        figure = Figure(figsize=(6.2 * max(1, len(modes)), 3.3 * max(1, len(models)) + 0.9), dpi=160)
        axes = figure.subplots(max(1, len(models)), max(1, len(modes)), squeeze=False)
        for i, model in enumerate(models):
            for j, mode in enumerate(modes):
                _panel(axes[i][j], result, model, mode, libraries, lang)
            axes[i][0].set_ylabel(_AXIS[lang])
        handles = _legend(libraries, lang)
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8)
        caption = _CAPTION[lang].format(
            threads=result.machine.get("threads_used") or "?", cpu=result.machine.get("cpu") or "?"
        )
        figure.text(0.01, 0.985, caption, fontsize=7.5, color=GREY, va="top", parse_math=False)
        rows = 3.3 * max(1, len(models)) + 0.9
        figure.subplots_adjust(left=0.06, right=0.99, top=1 - 0.62 / rows, bottom=0.75 / rows, wspace=0.13, hspace=0.38)
    return figure


def _panel(axes: Axes, result: BenchResult, model: str, mode: Mode, libraries: list[str], lang: Lang) -> None:
    batches = sorted({row.batch for row in result.rows if (row.model, row.mode) == (model, mode)})
    set_title(axes, _TITLE.format(model=model, mode=MODE[mode][lang])[lang], lang)
    if not batches:
        axes.set_axis_off()
        return
    width = 0.86 / len(libraries)
    best = {(batch, row.library): row for batch in batches for row in result.best(model, mode, batch)}
    longest = max(len(digits(row.images_per_second)) for row in best.values())
    upright = longest * _LETTER > _PANEL * width / (len(batches) + 0.1)
    for place, batch in enumerate(batches):
        for number, library in enumerate(libraries):
            if (batch, library) in best:
                _bar(axes, best[batch, library], place - 0.43 + (number + 0.5) * width, width, number, upright=upright)
        limit = limit_of(result, model, mode, batch)
        if limit is not None:
            axes.hlines(limit, place - 0.45, place + 0.45, colors="black", linewidth=1.6)
    axes.set_xticks(range(len(batches)), [_BATCH[lang].format(batch) for batch in batches])
    axes.set_xlim(-0.55, len(batches) - 0.45)
    axes.tick_params(axis="x", length=0)
    axes.tick_params(axis="y", labelfontfamily=LATIN)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_ylim(0, axes.get_ylim()[1] * (1.12 if upright else 1.06))


def _bar(axes: Axes, row: Row, x: float, width: float, number: int, *, upright: bool) -> None:
    colour = COLOURS[number % len(COLOURS)]
    hatch = HATCHES[number % len(HATCHES)]
    axes.bar(x, row.images_per_second, width * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
    value, label = row.images_per_second, digits(row.images_per_second)
    axes.text(
        x,
        value,
        f" {label}" if upright else f"{label}\n",
        ha="center",
        va="bottom",
        fontsize=6,
        fontfamily=LATIN,
        linespacing=0.35,
        color=INK,
        rotation=90 if upright else 0,
    )


def limit_of(result: BenchResult, model: str, mode: Mode, batch: int) -> float | None:
    """Images a second that the quickest precision's 2048³ product would allow."""
    limits = [
        row.limit_flops_per_second
        for precision in PRECISIONS
        for row in result.rows
        if (row.model, row.mode, row.batch, row.precision) == (model, mode, batch, precision)
    ]
    return max(limits) / step_flops(size_of(MODELS[model]).flops, 1, mode) if limits and model in MODELS else None


def _legend(libraries: list[str], lang: Lang) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    patches: list[Any] = [
        Patch(facecolor=COLOURS[i % len(COLOURS)], hatch=HATCHES[i % len(HATCHES)], edgecolor="white", label=library)
        for i, library in enumerate(libraries)
    ]
    return [*patches, Line2D([], [], color="black", linewidth=1.6, label=_LIMIT[lang])]
