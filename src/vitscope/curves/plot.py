"""The picture of learning curves: in go runs and a reference, out comes a figure with loss and accuracy side by side.

Runs are told apart by colour (Okabe and Ito's, safe for the colour-blind) and by marker, and named where their lines end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitscope._core import pictures
from vitscope._core.pictures import GREY
from vitscope._core.text import Lang, Text
from vitscope.curves.layout import short_names
from vitscope.curves.panels import REFERENCE, Line, accuracy_panel, loss_panel
from vitscope.curves.reference import ReferenceCurve
from vitscope.curves.verdict import Verdict, judge
from vitscope.runs import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    font = pictures.japanese_font()
    with pictures.picture_style(lang) as lang:
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

    faces = [get_font(findfont(FontProperties(family=[family]))) for family in pictures.families(font, "en")]
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
