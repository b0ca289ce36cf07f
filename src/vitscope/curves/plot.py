"""The picture of learning curves: in go runs and a reference, out comes a figure with loss and accuracy side by side.

Runs are told apart by colour (Okabe and Ito's, safe for the colour-blind) and by marker, and named where their lines end.
Matplotlib is imported when a picture is drawn, never its global state: no backend is chosen and no settings are left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitscope._core.files import written_whole
from vitscope._core.text import Lang, Text
from vitscope.curves.layout import short_names
from vitscope.curves.panels import GREY, INK, LATIN, REFERENCE, Line, accuracy_panel, loss_panel
from vitscope.curves.reference import ReferenceCurve
from vitscope.curves.verdict import Verdict, judge
from vitscope.runs import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "BIZ UDGothic",
    "Hiragino Sans",
    "Hiragino Maru Gothic Pro",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
    "TakaoGothic",
    "VL Gothic",
    "Droid Sans Fallback",
)
_CAPTION = Text("Grey: {name} ± {width:g} points{seeds}", "灰色：{name} ± {width:g} ポイント{seeds}")
_SEEDS = Text(" ({} seed{})", "（シード {} 個）")
_RING = Text(
    "ring: the run left the band, or its validation loss was lowest",
    "丸印：帯を離れたエポック、または検証損失が最小のエポック",
)
_END = Text("bar: the run ends there", "縦棒：学習の終わり")
_NO_BAND = Text("no band: the runs have different references", "帯なし：学習ごとに基準が異なるため")


@dataclass(frozen=True)
class NamedRun:
    """A run as it appears in a picture."""

    name: str
    rows: Sequence[EpochMetrics]


def draw(
    runs: Sequence[NamedRun],
    reference: ReferenceCurve | None,
    lang: Lang = "en",
    *,
    verdicts: Sequence[Verdict] | None = None,
) -> Figure:
    """Accuracy (left, over the reference band) and loss (right) of any number of runs.

    The axis of epochs ends with the longest run; without runs the reference is shown whole. A sentence in Japanese needs a Japanese
    font on the machine: without one the words in the picture are English.

    Args:
        runs: shorter names read better; long ones lose their middle.
        reference: drawn in grey, with a band of `half_width` points on each side of its accuracy.
        lang: language of the words in the picture.
        verdicts: one for each run, where not all are held against `reference`.
    """
    from matplotlib.figure import Figure

    font = japanese_font()
    with picture_style(lang) as lang:
        figure = Figure(figsize=(10, 4.6), dpi=200)
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.045, right=0.812, top=0.9, bottom=0.165, wspace=0.86)
        names = short_names([_drawable(run.name, f"run {i}", font) for i, run in enumerate(runs, start=1)])
        if verdicts is None:
            verdicts = [judge(run.rows, reference) for run in runs]
        lines = [Line(i, names[i], runs[i].rows, verdict) for i, verdict in enumerate(verdicts)]
        last = max((run.rows[-1].epoch for run in runs if run.rows), default=0)
        span = last or (reference.last_epoch if reference else 1)
        accuracy_panel(left, lines, reference, span, lang)
        loss_panel(right, lines, reference, span, lang)
        caption = _caption(reference, lines, span, font, lang)
        figure.text(0.045, 0.03, caption, fontsize=7.5, color=GREY, parse_math=False)
        _fit_labels(figure)
    return figure


def save(figure: Figure, path_png: Path | None = None, path_svg: Path | None = None) -> None:
    """Writes the figure as PNG (2,000 × 920 pixels), as SVG with text as text, or both; each whole or not at all.

    The same figure gives the same bytes: neither file holds a date, a version or a random name.

    Raises:
        RunError: a file cannot be written.
    """
    with picture_style():
        if path_png is not None:
            with written_whole(path_png) as temporary:
                figure.savefig(temporary, format="png", metadata={"Software": None})
        if path_svg is not None:
            with written_whole(path_svg) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "vitscope"})


def japanese_font() -> str | None:
    """The first font on this machine that holds Japanese, or None.

    matplotlib keeps its list of fonts in a file; fonts installed since it was written are looked up here.
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    def known() -> str | None:
        present = {font.name for font in fontManager.ttflist}
        return next((name for name in JAPANESE_FONTS if name in present), None)

    if known() is None:
        for file in set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}:
            with suppress(Exception):  # a file that is no font after all
                fontManager.addfont(file)
    return known()


def _families(font: str | None, lang: Lang) -> list[str]:
    """Fonts in the order in which they are asked for a letter; English looks the same with and without a Japanese font."""
    japanese = [font] if font else []
    return [*japanese, LATIN] if lang == "ja" else [LATIN, *japanese]


@contextmanager
def picture_style(lang: Lang = "en", *, grid: Literal["both", "y"] = "both") -> Iterator[Lang]:
    """Matplotlib's own defaults and ours, whatever the user's configuration says, until the block ends.

    Gives the language that the fonts of this machine allow: without a Japanese one it is English.
    """
    from matplotlib import style

    font = japanese_font()
    shown: Lang = lang if font is not None else "en"
    ours: dict[str, Any] = {
        "font.family": [*_families(font, shown), "sans-serif"],
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": "#999999",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": grid,
        "axes.axisbelow": True,
        "axes.unicode_minus": False,
        "grid.color": "#EEEEEE",
        "xtick.color": "#555555",
        "ytick.color": "#555555",
        "hatch.linewidth": 0.6,
        "svg.fonttype": "none",
        "svg.hashsalt": "vitscope",
    }
    with style.context(["default", ours]):
        yield shown


def _fit_labels(figure: Figure) -> None:
    """Makes letters smaller where a label of wide ones would leave the picture or touch the next panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    left, right = figure.axes
    ends = {left: right.get_position().x0 - 0.035, right: 0.998}
    for axes, end in ends.items():
        for text in axes.texts:
            box = text.get_window_extent(canvas.get_renderer())
            room = end * canvas.get_width_height()[0] - box.x0
            if text.get_gid() == "label" and box.width > room:
                text.set_fontsize(text.get_fontsize() * room / box.width)


def _drawable(name: str, instead: str, font: str | None) -> str:
    """The name, or another where no font at hand has its letters: never a row of empty boxes."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    faces = [get_font(findfont(FontProperties(family=[family]))) for family in _families(font, "en")]
    shown = "".join(name.split())
    return name if all(any(face.get_char_index(ord(c)) for face in faces) for c in shown) else instead


def _caption(reference: ReferenceCurve | None, lines: Sequence[Line], span: int, font: str | None, lang: Lang) -> str:
    parts = []
    if reference is not None:
        seeds = _SEEDS[lang].format(reference.seeds, "" if reference.seeds == 1 else "s") if reference.seeds else ""
        name = _drawable(reference.name, REFERENCE[lang], font)
        parts.append(_CAPTION[lang].format(name=name, width=reference.half_width, seeds=seeds))
    elif any(line.verdict.last and line.verdict.last.reference is not None for line in lines):
        parts.append(_NO_BAND[lang])
    if any(line.verdict.left or line.verdict.overfitting for line in lines):
        parts.append(_RING[lang])
    if any(line.rows and line.rows[-1].epoch < span for line in lines):
        parts.append(_END[lang])
    return "  ·  ".join(parts)
