"""What a view found as pictures of the grid: one colour scale for all panels of a figure, and printed. Views in, figures out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vitscope._core.pictures import LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.lens.trace import Trace
from vitscope.lens.views.attending import Rollout
from vitscope.lens.views.attribution import Attribution
from vitscope.lens.views.embedding import Filters, Patches, Positions
from vitscope.lens.views.experiments import Removal
from vitscope.lens.views.figures.panels import HEAD, LAYER, bare, foot, grid_of_panels, picture, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        figure, panels = grid_of_panels(len(maps), 6, 1.9)
        highest = max(float(each.max()) for each in maps)
        drawn: Any = None
        for number, (panel, each) in enumerate(zip(panels, maps, strict=True)):
            drawn = picture(panel, each, vmin=0, vmax=highest, cmap="viridis")
            mean = Text("mean of heads", "ヘッドの平均")[lang]
            set_title(panel, mean if number == len(maps) - 1 else f"{HEAD[lang]} {number}", lang, size=8)
        scale(figure, drawn, panels, _SHARE[lang])
        patch = trace.layout.patch_of_token[token]
        name = Text("the class token", "クラストークン") if token == trace.class_token else _patch(trace, patch)
        figure.suptitle(_ASKS.format(token=name[lang], block=block)[lang], fontsize=10)
        foot(figure, _CHECKED.format(error=max(trace.attentions[block].error, 1e-16)), lang)
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
        figure, panels = grid_of_panels(down * across, across, 5.0 / across)
        drawn: Any = None
        for panel, row in zip(panels, found.cosines, strict=True):
            drawn = picture(panel, row.view(grid), vmin=-1, vmax=1, cmap="RdBu_r")
        scale(figure, drawn, panels, Text("cosine", "コサイン類似度")[lang])
        foot(figure, found.caveat, lang)
    return figure


def draw_filters(found: Filters, lang: Lang = "en") -> Figure:
    """The components as little pictures, grey where they are zero; one scale for all."""
    with picture_style(lang, grid="y") as lang:
        figure, panels = grid_of_panels(len(found.components), 7, 0.9)
        most = float(found.components.abs().max())
        for number, (panel, component) in enumerate(zip(panels, found.components, strict=True)):
            image = (component / (2 * most) + 0.5).permute(1, 2, 0).numpy()
            panel.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)
            bare(panel)
            set_title(panel, f"{100 * float(found.explained[number]):.1f} %", lang, size=7)
        scale = Text(" Scale: ± {most:.2g}.", "　目盛り：± {most:.2g}").format(most=most)
        foot(figure, Text(found.caveat.en + scale.en, found.caveat.ja + scale.ja), lang)
    return figure


def draw_patches(found: Patches, across: int, lang: Lang = "en") -> Figure:
    """The patches in their places, apart; one scale for all."""
    with picture_style(lang, grid="y") as lang:
        images = found.images
        low, high = float(images.min()), float(images.max())
        figure, panels = grid_of_panels(len(images), across, 4.5 / across)
        for panel, patch in zip(panels, (images - low) / (high - low or 1.0), strict=True):
            shown = patch.permute(1, 2, 0).numpy()
            panel.imshow(
                shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            bare(panel)
        scale = Text(f" Scale: {low:.3g} to {high:.3g}.", f"　目盛り：{low:.3g}〜{high:.3g}。")
        foot(figure, Text(found.caveat.en + scale.en, found.caveat.ja + scale.ja), lang)
    return figure


def draw_removal(found: Removal, label: str, lang: Lang = "en") -> Figure:
    """What taking away each head, and each block, does to a class's score: one scale, the same on both sides of zero."""
    parts = [(found.blocks[:, None], Text("whole block", "ブロック全体"))]
    if found.heads is not None:
        parts.insert(0, (found.heads, HEAD))
    most = max(float(values.abs().max()) for values, _ in parts) or 1.0
    with picture_style(lang, grid="y") as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), dpi=160, layout="constrained")
        widths = [max(values.shape[1], 2) if title is HEAD else 1 for values, title in parts]
        panels = list(figure.subplots(1, len(parts), squeeze=False, width_ratios=widths).flat)
        drawn: Any = None
        for panel, (values, title) in zip(panels, parts, strict=True):
            drawn = picture(panel, values, vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
            set_title(panel, title[lang], lang, size=9)
            panel.set_yticks(range(len(found.blocks)))
            panel.tick_params(labelfontfamily=LATIN)
            if title is HEAD:
                panel.set_xticks(range(values.shape[1]))
        panels[0].set_ylabel(LAYER[lang])
        change = Text("change of the score of {label}", "「{label}」のスコアの変化")
        scale(figure, drawn, panels, change.format(label=label)[lang])
        foot(figure, found.caveat, lang)
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
        drawn = picture(left, shares, vmin=0, vmax=float(shares.max()), cmap="viridis")
        set_title(left, Text("attention rollout", "アテンションロールアウト")[lang], lang, size=9)
        scale(figure, drawn, [left], Text("share", "割合")[lang])
        by_patch = found.patches if found.patches is not None else torch.zeros(grid[0] * grid[1])
        most = float(by_patch.abs().max()) or 1.0
        drawn = picture(right, by_patch.view(grid), vmin=-most, vmax=most, cmap="RdBu_r")
        set_title(right, Text("integrated gradients", "積分勾配（Integrated Gradients）")[lang], lang, size=9)
        scale(
            figure,
            drawn,
            [right],
            Text("part of the score of {label}", "「{label}」のスコアへの寄与").format(label=label)[lang],
        )
        error = Text(f"Error of the sum: {100 * found.error:.2g} %. ", f"合計の誤差：{100 * found.error:.2g} %。")
        foot(figure, Text(error.en + found.caveat.en, error.ja + found.caveat.ja), lang)
    return figure
