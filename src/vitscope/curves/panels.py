"""The two panels of the picture: in go empty axes and the runs, out come lines, the reference, rings and labels on them.

Nothing of matplotlib is imported here: the axes that `draw` hands over do the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vitscope._core.pictures import COLOURS, GREY, INK, LATIN, set_title
from vitscope._core.text import Lang, Text
from vitscope.curves.layout import end_of, epoch_ticks, limits, loss_ceiling, spread
from vitscope.curves.reference import ReferenceCurve
from vitscope.curves.sentences import of_loss
from vitscope.curves.verdict import Verdict
from vitscope.runs import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BAND, FAINT = "#D9D9D9", "#B5B5B5"
_ACCURACY = Text("Validation accuracy, %", "検証画像の正解率（%）")
_LOSS = Text("Loss (solid: validation, dashed: training)", "損失（実線：検証、破線：学習）")
_EPOCH = Text("epoch", "エポック")
REFERENCE = Text("reference", "基準")
_BELOW = Text("below from {}", "{} から帯の下")
_ABOVE = Text("above from {}", "{} から帯の上")
_RISING = Text("rising from {}", "{} から上昇")
_DIVERGED = Text("diverged at {}", "{} で発散")
_NUMBERED = Text("epoch {}", "エポック {}")
_COMMA = Text(", ", "、")
_AT = Text(" at epoch {}", "（エポック {}）")
_NOTHING = Text("no run measured this", "この指標を測定した学習結果がありません")
_LABEL_GAP = 0.108
"""Of the height of a panel: room for the two lines of a label."""


@dataclass(frozen=True)
class Line:
    """A run to be drawn: its number picks colour and marker."""

    number: int
    name: str
    rows: Sequence[EpochMetrics]
    verdict: Verdict

    @property
    def colour(self) -> str:
        return COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """A ninth run has the first colour again, but not the first marker."""
        return MARKERS[(self.number + self.number // len(COLOURS)) % len(MARKERS)]


class _Remark(NamedTuple):
    """What is said of a run from an epoch on."""

    what: Text
    epoch: int


@dataclass(frozen=True)
class _Label:
    """Two lines of text beside the end of a line; without a marker it is the reference's."""

    epoch: int
    value: float
    name: str
    detail: str
    colour: str
    marker: str = ""


def accuracy_panel(axes: Axes, lines: Sequence[Line], reference: ReferenceCurve | None, span: int, lang: Lang) -> None:
    """Validation accuracy of the runs over the reference band, epochs 1 to `span`; a ring where a run left the band."""
    seen = [row.val_acc for line in lines for row in line.rows]
    labels: list[_Label] = []
    if reference is not None:
        epochs, middle = _reference_points(reference, "val_acc", span)
        lower, upper = ([value + side * reference.half_width for value in middle] for side in (-1, 1))
        axes.fill_between(epochs, lower, upper, color=BAND, linewidth=0, gid="band")
        seen += lower + upper
        labels += _draw_reference(axes, reference, "val_acc", span, "{:.1f} %", lang)
    for line in lines:
        left = line.verdict.left
        end = _draw_run(axes, line, "val_acc", span)
        remark = None
        if left is not None:
            where = next(row for row in line.rows if row.epoch == left.first)
            _ring(axes, line, where.epoch, where.val_acc)
            remark = _Remark(_BELOW if left.side == "below" else _ABOVE, left.first)
        if end is not None:
            labels.append(_label_of(line, end, f"{end[1]:.1f} %", remark, span, lang))
    _finish(axes, _ACCURACY[lang], span, limits(seen, floor=0.0, ceiling=100.0), labels, lang)
    _say_if_empty(axes, lines, labels, lang)


def loss_panel(axes: Axes, lines: Sequence[Line], reference: ReferenceCurve | None, span: int, lang: Lang) -> None:
    """Validation loss (solid) and training loss (dashed), epochs 1 to `span`; a ring at the lowest loss of a run that overfits."""
    curves = [[getattr(row, name) for row in line.rows] for line in lines for name in ("val_loss", "train_loss")]
    labels: list[_Label] = []
    if reference is not None:
        curves.append(_reference_points(reference, "val_loss", span)[1])
        labels += _draw_reference(axes, reference, "val_loss", span, "{:.3f}", lang)
    for line in lines:
        verdict = line.verdict
        train = _draw_run(axes, line, "train_loss", span, dashed=True)
        end = _draw_run(axes, line, "val_loss", span) or train
        remark = None
        if verdict.overfitting is not None:
            _ring(axes, line, verdict.overfitting.lowest_epoch, verdict.overfitting.lowest_loss)
            remark = _Remark(_RISING, verdict.overfitting.lowest_epoch)
        if verdict.diverged_at is not None:
            remark = _Remark(_DIVERGED, verdict.diverged_at)
        if end is not None:
            labels.append(_label_of(line, end, of_loss(end[1]), remark, span, lang))
    seen = [value for curve in curves for value in curve]
    _finish(axes, _LOSS[lang], span, limits(seen, floor=0.0, ceiling=loss_ceiling(curves)), labels, lang)
    _say_if_empty(axes, lines, labels, lang)


def _reference_points(reference: ReferenceCurve, column: str, span: int) -> tuple[list[float], list[float]]:
    """The reference up to epoch `span`; at a single epoch a short bar in place of a point, which would not be seen."""
    rows = [row for row in reference.rows if row.epoch <= span and math.isfinite(getattr(row, column))]
    points: list[tuple[float, float]] = [(float(row.epoch), getattr(row, column)) for row in rows]
    if len(points) == 1:
        epoch, value = points[0]
        points = [(epoch - 0.2, value), (epoch + 0.2, value)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _draw_reference(
    axes: Axes, reference: ReferenceCurve, column: str, span: int, form: str, lang: Lang
) -> list[_Label]:
    axes.plot(*_reference_points(reference, column, span), color=GREY, linewidth=1.1, gid="reference")
    shown = [row for row in reference.rows if row.epoch <= span]
    end = end_of([row.epoch for row in shown], [getattr(row, column) for row in shown])
    if end is None:
        return []
    detail = form.format(end[1]) + _AT[lang].format(end[0])
    return [_Label(*end, REFERENCE[lang], detail, GREY)]


def _label_of(line: Line, end: tuple[int, float], value: str, remark: _Remark | None, span: int, lang: Lang) -> _Label:
    """The value at the end, the epoch of the end where others go on, and the remark, which then need not say "epoch" again."""
    ended = end[0] < span
    if ended:
        value += _AT[lang].format(end[0])
    if remark is not None:
        epoch = str(remark.epoch) if ended else _NUMBERED[lang].format(remark.epoch)
        value += _COMMA[lang] + remark.what[lang].format(epoch)
    return _Label(*end, line.name, value, line.colour, line.marker)


def _draw_run(axes: Axes, line: Line, column: str, span: int, *, dashed: bool = False) -> tuple[int, float] | None:
    """Draws one column of a run and tells where the line ends; epochs without a value are bridged, and a run that ends before `span` gets a bar."""
    points = [(row.epoch, float(getattr(row, column))) for row in line.rows]
    finite = [(epoch, value) for epoch, value in points if math.isfinite(value)]
    if not finite:
        return None
    axes.plot(
        [epoch for epoch, _ in finite],
        [value for _, value in finite],
        color=line.colour,
        linestyle=(0, (4, 2)) if dashed else "-",
        linewidth=1.0 if dashed else 1.7,
        marker=None if dashed and len(finite) > 1 else line.marker,
        markevery=max(1, len(finite) // 10),
        markersize=4.2,
        markerfacecolor="white" if dashed else None,
        gid=f"run{line.number + 1}-{column}",
    )
    if line.rows[-1].epoch < span:
        bar: dict[str, Any] = {"marker": "|", "markersize": 15, "markeredgewidth": 1.6, "color": line.colour}
        axes.plot(*finite[-1], **bar, zorder=4, gid=f"run{line.number + 1}-end")
    return finite[-1]


def _ring(axes: Axes, line: Line, epoch: int, value: float) -> None:
    axes.plot(
        [epoch],
        [value],
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=line.colour,
        markeredgewidth=1.4,
        linestyle="none",
        gid=f"run{line.number + 1}-ring",
        zorder=5,
    )


def _finish(
    axes: Axes, title: str, span: int, height: tuple[float, float], labels: Sequence[_Label], lang: Lang
) -> None:
    """Limits, ticks and title, and the labels to the right of the axes, none over another."""
    set_title(axes, title, lang)
    axes.set_xlabel(_EPOCH[lang], color="#555555")
    margin = 0.02 * span if span > 1 else 0.5
    axes.set_xlim(1 - margin, span + margin)
    axes.set_ylim(*height)
    axes.set_xticks(epoch_ticks(span))
    axes.tick_params(length=0, labelfontfamily=LATIN)
    low, high = height
    wishes = [(min(max(label.value, low), high) - low) / (high - low) for label in labels]
    for label, wish, place in zip(labels, wishes, spread(wishes, _LABEL_GAP, 0.03, 0.95), strict=True):
        start = (label.epoch - 1 + margin) / (span - 1 + 2 * margin)
        _write_label(axes, label, start, wish, place)


def _write_label(axes: Axes, label: _Label, start: float, wish: float, place: float) -> None:
    """The label at height `place`, led to from the line's end at (`start`, `wish`); all in fractions of the axes.

    The way to a line that ends early is faint and grey: in the run's colour it would look like more epochs of it.
    """
    beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    axes.plot(
        [start, 1.0], [wish, wish], color=FAINT, linewidth=0.7, linestyle=(0, (1, 4)), gid="leader", zorder=1, **beside
    )
    axes.plot([1.0, 1.05], [wish, place], color=label.colour, linewidth=0.7, gid="leader", **beside)
    if label.marker:
        axes.plot([1.07], [place], color=label.colour, marker=label.marker, markersize=4.5, gid="key", **beside)
    ink = INK if label.marker else GREY
    axes.text(1.1, place, label.name, fontsize=8.5, va="bottom", color=ink, parse_math=False, gid="label", **beside)
    axes.text(
        1.1, place, label.detail, fontsize=7.5, va="top", color="#555555", parse_math=False, gid="label", **beside
    )


def _say_if_empty(axes: Axes, lines: Sequence[Line], labels: Sequence[_Label], lang: Lang) -> None:
    if lines and not any(label.marker for label in labels):
        axes.text(0.97, 0.04, _NOTHING[lang], transform=axes.transAxes, ha="right", color="#555555", fontsize=8.5)
