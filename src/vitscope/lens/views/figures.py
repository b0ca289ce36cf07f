"""The views as pictures for papers: in goes what a view found, out comes a matplotlib figure. Scales are shared within a figure and printed.

Nothing is stretched for each head by itself: a head that looks at nothing in particular looks like it. Each figure carries its caveat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitscope._core.pictures import COLOURS, GREY, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.lens.trace import Trace
from vitscope.lens.views.attending import Distance, Entropy, Rollout
from vitscope.lens.views.attribution import Attribution
from vitscope.lens.views.embedding import Filters, Patches, Positions
from vitscope.lens.views.experiments import LogitLens, Removal, Shuffling
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
    parts = [(found.blocks[:, None], Text("whole block", "ブロック全体"))]
    if found.heads is not None:
        parts.insert(0, (found.heads, _HEAD))
    most = max(float(values.abs().max()) for values, _ in parts) or 1.0
    with picture_style(lang, grid="y") as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), dpi=160, layout="constrained")
        widths = [max(values.shape[1], 2) if title is _HEAD else 1 for values, title in parts]
        panels = list(figure.subplots(1, len(parts), squeeze=False, width_ratios=widths).flat)
        drawn: Any = None
        for panel, (values, title) in zip(panels, parts, strict=True):
            drawn = _picture(panel, values, vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
            set_title(panel, title[lang], lang, size=9)
            panel.set_yticks(range(len(found.blocks)))
            panel.tick_params(labelfontfamily=LATIN)
            if title is _HEAD:
                panel.set_xticks(range(values.shape[1]))
        panels[0].set_ylabel(_LAYER[lang])
        change = Text("change of the score of {label}", "「{label}」のスコアの変化")
        _scale(figure, drawn, panels, change.format(label=label)[lang])
        _foot(figure, found.caveat, lang)
    return figure


def draw_spectrum(found: Positions, lang: Lang = "en") -> Figure:
    """The power of the position embedding at each frequency, down and across the grid: most at the left is a smooth table."""
    with picture_style(lang) as lang:
        figure, panel = _one()
        for number, (share, name) in enumerate(
            ((found.down, Text("down", "縦方向")), (found.across, Text("across", "横方向")))
        ):
            panel.plot(range(len(share)), 100 * share, "o-", color=COLOURS[number], label=name[lang])
        panel.set_ylim(bottom=0)
        panel.set_xticks(range(max(len(found.down), len(found.across))))
        panel.set_xlabel(Text("cycles over the image", "画像全体での周期数")[lang])
        panel.legend(frameon=False, fontsize=8)
        set_title(
            panel, Text("share of the position embedding's power, %", "位置埋め込みのパワーの割合（%）")[lang], lang
        )
        _foot(figure, found.caveat, lang)
    return figure


def draw_patches(found: Patches, across: int, lang: Lang = "en") -> Figure:
    """The patches in their places, apart; one scale for all."""
    with picture_style(lang, grid="y") as lang:
        images = found.images
        low, high = float(images.min()), float(images.max())
        figure, panels = _grid(len(images), across, 4.5 / across)
        for panel, patch in zip(panels, (images - low) / (high - low or 1.0), strict=True):
            shown = patch.permute(1, 2, 0).numpy()
            panel.imshow(
                shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            _bare(panel)
        scale = Text(f" Scale: {low:.3g} to {high:.3g}.", f"　目盛り：{low:.3g}〜{high:.3g}。")
        _foot(figure, Text(found.caveat.en + scale.en, found.caveat.ja + scale.ja), lang)
    return figure


def draw_attribution(found: Attribution, rollout: Rollout, trace: Trace, label: str, lang: Lang = "en") -> Figure:
    """What each patch adds to a score beside what rollout gives to the token that is read: neither stands alone."""
    grid = trace.layout.grid
    order = [trace.layout.token_of_patch[patch] for patch in range(grid[0] * grid[1])]
    shares = rollout.shares[list(trace.reads) or order].mean(dim=0)[order].view(grid)
    with picture_style(lang, grid="y") as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.0), dpi=160, layout="constrained")
        left, right = figure.subplots(1, 2)
        drawn = _picture(left, shares, vmin=0, vmax=float(shares.max()), cmap="viridis")
        set_title(left, Text("attention rollout", "アテンションロールアウト")[lang], lang, size=9)
        _scale(figure, drawn, [left], Text("share", "割合")[lang])
        by_patch = found.patches if found.patches is not None else torch.zeros(grid[0] * grid[1])
        most = float(by_patch.abs().max()) or 1.0
        drawn = _picture(right, by_patch.view(grid), vmin=-most, vmax=most, cmap="RdBu_r")
        set_title(right, Text("integrated gradients", "積分勾配（Integrated Gradients）")[lang], lang, size=9)
        _scale(
            figure,
            drawn,
            [right],
            Text("part of the score of {label}", "「{label}」のスコアへの寄与").format(label=label)[lang],
        )
        error = Text(f"Error of the sum: {100 * found.error:.2g} %. ", f"合計の誤差：{100 * found.error:.2g} %。")
        _foot(figure, Text(error.en + found.caveat.en, error.ja + found.caveat.ja), lang)
    return figure


def draw_shuffling(found: Shuffling, label_names: Sequence[str], lang: Lang = "en", *, shown: int = 5) -> Figure:
    """Probabilities as the patches stand and in another order, with position embedding and without."""
    pairs = (
        (found.with_position, Text("with position embedding", "位置埋め込みあり")),
        (found.without_position, Text("without", "位置埋め込みなし")),
    )
    best = found.with_position[0].topk(min(shown, found.with_position.shape[1])).indices.tolist()
    with picture_style(lang, grid="y") as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.2), dpi=160, layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        orders = (Text("as it is", "元のまま"), Text("shuffled", "並べ替え後"))
        for panel, (scores, title) in zip(panels, pairs, strict=True):
            probabilities = scores.float().softmax(dim=-1)
            for number, order in enumerate(orders):
                places = [place + 0.4 * (number - 0.5) for place in range(len(best))]
                panel.bar(places, probabilities[number][best], width=0.38, color=COLOURS[number], label=order[lang])
            panel.set_xticks(
                range(len(best)), [label_names[label] for label in best], rotation=30, ha="right", fontsize=7
            )
            change = float((scores[0] - scores[1]).abs().max())
            most = Text(
                f"{title.en}:\nscores move by up to {change:.2g}", f"{title.ja}：\nスコアの変化は最大{change:.2g}"
            )
            set_title(panel, most[lang], lang, size=8)
        panels[0].set_ylim(0, 1.02)
        panels[0].set_ylabel(Text("probability", "確率")[lang])
        panels[0].legend(frameon=False, fontsize=7)
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
