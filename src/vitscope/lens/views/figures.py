"""The views as pictures for papers: in goes what a view found, out comes a matplotlib figure. Scales are shared within a figure and printed.

Nothing is stretched for each head by itself: a head that looks at nothing in particular looks like it. Each figure carries its caveat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vitscope._core.pictures import COLOURS, GREY, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.lens.trace import Trace
from vitscope.lens.views.attending import Distance, Entropy
from vitscope.lens.views.embedding import Filters, Positions
from vitscope.lens.views.experiments import LogitLens, Removal
from vitscope.lens.views.tokens import Likeness, Norms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LAYER, _HEAD = Text("layer", "層"), Text("head", "ヘッド")
_CHECKED = Text(
    "Checked: map · v gives the module's own output to within {error:.0e} of its largest number.",
    "検証済み：マップ・vは、モジュール自身の出力と、その最大値の{error:.0e}以内で一致します。",
)
_ASKS = Text("what {token} looks at, block {block}", "{token}が見ている場所（ブロック{block}）")
_SHARE = Text("share of attention", "アテンションの割合")


def draw_attention(trace: Trace, block: int, token: int, lang: Lang = "en") -> Figure:
    """Where one token looks, in each head of a block, and in their mean: one colour scale for all."""
    weights = trace[f"block{block:02}/attention"][:, token]
    order = [trace.layout.token_of_patch[patch] for patch in range(len(trace.layout.token_of_patch))]
    maps = [*weights[:, order].view(-1, *trace.layout.grid), weights.mean(dim=0)[order].view(trace.layout.grid)]
    with picture_style(lang, grid="y") as lang:
        figure, panels = _grid(len(maps), 6, 1.9)
        highest = max(float(each.max()) for each in maps)
        drawn: Any = None
        for number, (panel, each) in enumerate(zip(panels, maps, strict=True)):
            drawn = _picture(panel, each, vmin=0, vmax=highest, cmap="viridis")
            mean = Text("mean of heads", "ヘッドの平均")[lang]
            set_title(panel, mean if number == len(maps) - 1 else f"{_HEAD[lang]} {number}", lang, size=8)
        _scale(figure, drawn, panels, _SHARE[lang])
        patch = trace.layout.patch_of_token[token]
        name = Text("the class token", "クラストークン") if token == trace.class_token else _patch(trace, patch)
        figure.suptitle(_ASKS.format(token=name[lang], block=block)[lang], fontsize=10)
        _foot(figure, _CHECKED.format(error=max(trace.attentions[block].error, 1e-16)), lang)
    return figure


def _patch(trace: Trace, patch: int) -> Text:
    if patch < 0:
        return Text("an extra token", "パッチ以外のトークン")
    row, column = divmod(patch, trace.layout.grid[1])
    return Text(f"the patch in row {row + 1}, column {column + 1}", f"{row + 1}行{column + 1}列のパッチ")


def draw_positions(found: Positions, grid: tuple[int, int], lang: Lang = "en") -> Figure:
    """A little map for each place: how alike its position embedding is to those of all places (ViT, figure 7 centre)."""
    down, across = grid
    with picture_style(lang, grid="y") as lang:
        figure, panels = _grid(down * across, across, 5.0 / across)
        drawn: Any = None
        for panel, row in zip(panels, found.cosines, strict=True):
            drawn = _picture(panel, row.view(grid), vmin=-1, vmax=1, cmap="RdBu_r")
        _scale(figure, drawn, panels, Text("cosine", "コサイン類似度")[lang])
        _foot(figure, found.caveat, lang)
    return figure


def draw_filters(found: Filters, lang: Lang = "en") -> Figure:
    """The components as little pictures, grey where they are zero; one scale for all."""
    with picture_style(lang, grid="y") as lang:
        figure, panels = _grid(len(found.components), 7, 0.9)
        most = float(found.components.abs().max())
        for number, (panel, component) in enumerate(zip(panels, found.components, strict=True)):
            image = (component / (2 * most) + 0.5).permute(1, 2, 0).numpy()
            panel.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)
            _bare(panel)
            set_title(panel, f"{100 * float(found.explained[number]):.1f} %", lang, size=7)
        scale = Text(" Scale: ± {most:.2g}.", "　目盛り：± {most:.2g}").format(most=most)
        _foot(figure, Text(found.caveat.en + scale.en, found.caveat.ja + scale.ja), lang)
    return figure


def draw_distance(found: Distance, lang: Lang = "en") -> Figure:
    """Mean attention distance by depth, a point a head (ViT, figure 7 right)."""
    return _by_layer(
        found.pixels, Text("mean attention distance, pixels", "平均アテンション距離（画素）"), found.caveat, lang
    )


def draw_entropy(found: Entropy, lang: Lang = "en") -> Figure:
    """Entropy by depth, a point a head, under a line for an even attention."""
    name = Text("entropy of attention, bits", "アテンションのエントロピー（ビット）")
    return _by_layer(found.bits, name, found.caveat, lang, line=found.most)


def draw_norms(found: Norms, lang: Lang = "en") -> Figure:
    """The norm of every token by depth, outliers in another colour."""
    with picture_style(lang) as lang:
        figure, panel = _one()
        for depth, (norms, far) in enumerate(zip(found.norms, found.outliers, strict=True)):
            panel.plot([depth] * int((~far).sum()), norms[~far], "o", color=COLOURS[0], alpha=0.3, markersize=3)
            panel.plot([depth] * int(far.sum()), norms[far], "D", color=COLOURS[1], markersize=4)
        panel.set_ylim(bottom=0)
        panel.set_xlabel(Text("blocks passed", "通過したブロック数")[lang])
        set_title(panel, Text("norm of each token", "各トークンのノルム")[lang], lang)
        _foot(figure, found.caveat, lang)
    return figure


def draw_likeness(found: Likeness, lang: Lang = "en") -> Figure:
    """How alike the patches' tokens are, by depth."""
    with picture_style(lang) as lang:
        figure, panel = _one()
        panel.plot(range(len(found.cosines)), found.cosines, "o-", color=COLOURS[0])
        panel.set_ylim(min(0.0, float(found.cosines.min())), 1.02)
        panel.set_xlabel(Text("blocks passed", "通過したブロック数")[lang])
        set_title(panel, Text("mean cosine between patch tokens", "パッチトークン間の平均コサイン類似度")[lang], lang)
        _foot(figure, found.caveat, lang)
    return figure


def draw_logit_lens(found: LogitLens, label_names: Sequence[str], lang: Lang = "en", *, shown: int = 5) -> Figure:
    """The probability of the classes that end highest, read out behind each block."""
    probabilities = found.scores.float().softmax(dim=-1)
    best = probabilities[-1].topk(min(shown, probabilities.shape[1])).indices.tolist()
    with picture_style(lang) as lang:
        figure, panel = _one()
        for number, label in enumerate(best):
            panel.plot(
                range(1, len(probabilities) + 1),
                probabilities[:, label],
                "o-",
                color=COLOURS[number],
                label=label_names[label],
            )
        panel.set_ylim(0, 1.02)
        panel.set_xlabel(Text("read out behind block", "読み出したブロック")[lang])
        panel.legend(frameon=False, fontsize=8)
        set_title(panel, Text("probability", "確率")[lang], lang)
        _foot(figure, found.caveat, lang)
    return figure


def draw_removal(found: Removal, label: str, lang: Lang = "en") -> Figure:
    """What taking away each head, and each block, does to a class's score: one scale, the same on both sides of zero."""
    most = max(float(found.heads.abs().max()), float(found.blocks.abs().max())) or 1.0
    with picture_style(lang, grid="y") as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), dpi=160, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[max(found.heads.shape[1], 2), 1])
        drawn = _picture(left, found.heads, vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
        _picture(right, found.blocks[:, None], vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
        for panel, title in ((left, _HEAD), (right, Text("whole block", "ブロック全体"))):
            set_title(panel, title[lang], lang, size=9)
            panel.set_yticks(range(len(found.blocks)))
            panel.tick_params(labelfontfamily=LATIN)
        left.set_xticks(range(found.heads.shape[1]))
        left.set_ylabel(_LAYER[lang])
        change = Text("change of the score of {label}", "「{label}」のスコアの変化")
        _scale(figure, drawn, [left, right], change.format(label=label)[lang])
        _foot(figure, found.caveat, lang)
    return figure


def _by_layer(values: Tensor, name: Text, caveat: Text, lang: Lang, *, line: float | None = None) -> Figure:
    with picture_style(lang) as lang:
        figure, panel = _one()
        for layer, row in enumerate(values):
            panel.plot([layer] * len(row), row, "o", color=COLOURS[0], alpha=0.7, markersize=5)
        if line is not None:
            panel.axhline(line, color=GREY, linestyle="--", linewidth=1)
        panel.set_ylim(bottom=0)
        panel.set_xticks(range(len(values)))
        panel.set_xlabel(_LAYER[lang])
        set_title(panel, name[lang], lang)
        _foot(figure, caveat, lang)
    return figure


def _one() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.8), dpi=160, layout="constrained")
    panel = figure.subplots()
    panel.tick_params(labelfontfamily=LATIN)
    return figure, panel


def _grid(count: int, across: int, side: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many square panels, row by row."""
    from matplotlib.figure import Figure

    across = min(across, count)
    down = math.ceil(count / across)
    figure = Figure(figsize=(across * side + 1.2, down * side * 1.12 + 1.0), dpi=160, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def _picture(panel: Axes, values: Tensor, **how: Any) -> Any:
    drawn = panel.imshow(values.detach().float().numpy(), interpolation="nearest", **how)
    _bare(panel)
    return drawn


def _scale(figure: Figure, drawn: Any, panels: Sequence[Axes], name: str) -> None:
    """The one colour scale of all panels, with its numbers."""
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, label=name)
    bar.ax.tick_params(labelfontfamily=LATIN)
    bar.outline.set_visible(False)


def _bare(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def _foot(figure: Figure, words: Text, lang: Lang) -> None:
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
