"""What a view found by depth, by frequency or by class, as charts. Views in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from vitscope._core.pictures import COLOURS, GREY, picture_style, set_title
from vitscope._core.text import Lang, Text
from vitscope.lens.views.attending import Distance, Entropy
from vitscope.lens.views.embedding import Positions
from vitscope.lens.views.experiments import LogitLens, Shuffling
from vitscope.lens.views.figures.panels import LAYER, foot, one_panel
from vitscope.lens.views.tokens import Likeness, Norms

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        figure, panel = one_panel()
        for depth, (norms, far) in enumerate(zip(found.norms, found.outliers, strict=True)):
            panel.plot([depth] * int((~far).sum()), norms[~far], "o", color=COLOURS[0], alpha=0.3, markersize=3)
            panel.plot([depth] * int(far.sum()), norms[far], "D", color=COLOURS[1], markersize=4)
        panel.set_ylim(bottom=0)
        panel.set_xlabel(Text("blocks passed", "通過したブロック数")[lang])
        set_title(panel, Text("norm of each token", "各トークンのノルム")[lang], lang)
        foot(figure, found.caveat, lang)
    return figure


def draw_likeness(found: Likeness, lang: Lang = "en") -> Figure:
    """How alike the patches' tokens are, by depth."""
    with picture_style(lang) as lang:
        figure, panel = one_panel()
        panel.plot(range(len(found.cosines)), found.cosines, "o-", color=COLOURS[0])
        panel.set_ylim(min(0.0, float(found.cosines.min())), 1.02)
        panel.set_xlabel(Text("blocks passed", "通過したブロック数")[lang])
        set_title(panel, Text("mean cosine between patch tokens", "パッチトークン間の平均コサイン類似度")[lang], lang)
        foot(figure, found.caveat, lang)
    return figure


def draw_logit_lens(found: LogitLens, label_names: Sequence[str], lang: Lang = "en", *, shown: int = 5) -> Figure:
    """The probability of the classes that end highest, read out behind each block."""
    probabilities = found.scores.float().softmax(dim=-1)
    best = probabilities[-1].topk(min(shown, probabilities.shape[1])).indices.tolist()
    with picture_style(lang) as lang:
        figure, panel = one_panel()
        for number, label in enumerate(best):
            panel.plot(
                range(len(probabilities)),
                probabilities[:, label],
                "o-",
                color=COLOURS[number],
                label=label_names[label],
            )
        panel.set_ylim(0, 1.02)
        panel.set_xlabel(Text("read out behind block", "読み出したブロック")[lang])
        panel.legend(frameon=False, fontsize=8)
        set_title(panel, Text("probability", "確率")[lang], lang)
        foot(figure, found.caveat, lang)
    return figure


def draw_spectrum(found: Positions, lang: Lang = "en") -> Figure:
    """The power of the position embedding at each frequency, down and across the grid: most at the left is a smooth table."""
    with picture_style(lang) as lang:
        figure, panel = one_panel()
        for number, (share, name) in enumerate(
            ((found.down, Text("down", "縦方向")), (found.across, Text("across", "横方向")))
        ):
            panel.plot(range(len(share)), (100 * share).tolist(), "o-", color=COLOURS[number], label=name[lang])
        panel.set_ylim(bottom=0)
        panel.set_xlabel(Text("cycles over the image", "画像全体での周期数")[lang])
        panel.legend(frameon=False, fontsize=8)
        set_title(
            panel, Text("share of the position embedding's power, %", "位置埋め込みのパワーの割合（%）")[lang], lang
        )
        foot(figure, found.caveat, lang)
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
                panel.bar(
                    places, probabilities[number][best].tolist(), width=0.38, color=COLOURS[number], label=order[lang]
                )
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
        foot(figure, found.caveat, lang)
    return figure


def _by_layer(values: Tensor, name: Text, caveat: Text, lang: Lang, *, line: float | None = None) -> Figure:
    with picture_style(lang) as lang:
        figure, panel = one_panel()
        for layer, row in enumerate(values):
            panel.plot([layer] * len(row), row, "o", color=COLOURS[0], alpha=0.7, markersize=5)
        if line is not None:
            panel.axhline(line, color=GREY, linestyle="--", linewidth=1)
        panel.set_ylim(bottom=0)
        panel.set_xlabel(LAYER[lang])
        set_title(panel, name[lang], lang)
        foot(figure, caveat, lang)
    return figure
