"""A trace as a notebook shows it: in goes a `Trace`, out comes one piece of HTML, words and a picture, that needs nothing from outside.

Colours are the notebook's own, so that it is read on light and on dark; the picture is transparent and its letters are of a middle grey.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from math import ceil
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vitscope._core.pictures import GREY, LATIN, picture_style, set_title
from vitscope._core.text import Lang, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vitscope.lens.trace import Trace

_MEANING = {
    "image": Text("the image as the model takes it", "モデルに入力された画像"),
    "patches": Text("the pixels of each patch", "各パッチの画素"),
    "patch_embedding": Text("a token for each patch", "パッチごとのトークン"),
    "with_class": Text("tokens, with those that are no patches", "パッチ以外のトークンを加えたもの"),
    "with_position": Text("tokens, with their position embedding", "位置埋め込みを足したもの"),
    "q": Text("queries of each head", "各ヘッドのクエリ"),
    "k": Text("keys of each head", "各ヘッドのキー"),
    "v": Text("values of each head", "各ヘッドのバリュー"),
    "attention": Text("how much each token (row) takes of each other", "各トークン（行）が他のトークンを参照する割合"),
    "after_attention": Text("tokens behind the attention's sum", "アテンションを足した後のトークン"),
    "after_mlp": Text("tokens behind the MLP's sum", "MLPを足した後のトークン"),
    "final_norm": Text("tokens behind the last norm", "最後の正規化の後のトークン"),
    "pooled": Text("what the head reads", "分類ヘッドへの入力"),
    "logits": Text("class scores", "クラスごとのスコア"),
    "probabilities": Text("their softmax", "スコアのsoftmax"),
}
_TITLE = Text("Trace of one image", "画像1枚のトレース")
_PARTS = Text(
    "{blocks} blocks, {tokens} tokens ({down} × {across} patches, {extra} besides)",
    "ブロック{blocks}個、トークン{tokens}個（パッチ{down}×{across}、その他{extra}個）",
)
_PROOF = Text(
    "Proved: in every head, map · v is the module's own output to within {error:.1e} of its largest number.",
    "検証済み：すべてのヘッドで、マップ・vとモジュール自身の出力の差は、その最大値の{error:.1e}倍以内です。",
)
_COLUMNS = (Text("name", "名前"), Text("shape", "形状"), Text("what it is", "内容"))
_NO_MAP = Text(
    "The tokens do not stand for one patch each, so there is no map of where they look.",
    "トークンとパッチが1対1に対応していないため、参照先の図はありません。",
)
_IMAGE = Text("image, as 0 to 1", "画像（0〜1に伸縮）")
_MEAN, _HEAD = Text("mean of heads", "ヘッドの平均"), Text("head {number}", "ヘッド{number}")
_SHARE = Text("share of attention", "アテンションの割合")
_ASKS = Text(
    "Where {who} looks in the last block (block {block}): one colour scale for all; {rest:.0%} goes to tokens that are no patches.",
    "最後のブロック（ブロック{block}）で{who}が参照している場所。色の目盛りは共通です。パッチ以外のトークンへの割合は{rest:.0%}です。",
)
_CLASS = Text("the class token (token {token})", "クラストークン（トークン{token}）")
_READ = Text(
    "the mean of the {count} tokens that the scores are read from", "スコアの計算に使われる{count}個のトークンの平均"
)


def html_of(trace: Trace, lang: Lang) -> str:
    """One `div`: a title, the picture, what was proved, the notes, and a table of all intermediates."""
    cells = "padding:1px 12px 1px 0;text-align:left;background:transparent;border:0"
    rows = "".join(
        f'<tr style="background:transparent"><td style="{cells}"><code style="background:transparent;color:inherit">{escape(name)}</code></td>'
        f'<td style="{cells};white-space:nowrap">{escape(shape)}</td><td style="{cells}">{escape(what[lang])}</td></tr>'
        for name, shape, what in _rows(trace)
    )
    head = "".join(
        f'<th style="{cells};border-bottom:1px solid currentColor">{escape(column[lang])}</th>' for column in _COLUMNS
    )
    layout = trace.layout
    parts = _PARTS.format(
        blocks=len(trace.anatomy.blocks),
        tokens=len(layout.patch_of_token),
        down=layout.grid[0],
        across=layout.grid[1],
        extra=len(layout.extra),
    )
    notes = "".join(f"<li>{escape(note[lang])}</li>" for note in trace.notes)
    words = _words(trace)[lang]
    return (
        f'<div lang="{lang}" style="color:inherit;background:transparent">'
        f'<p style="margin:4px 0"><strong>{escape(_TITLE[lang])}</strong>: {escape(parts[lang])}</p>'
        f'<img alt="{escape(words)}" style="max-width:100%;background:transparent" src="data:image/png;base64,{_picture(trace, lang)}">'
        f'<p style="margin:4px 0">{escape(words)}</p>'
        f'<p style="margin:4px 0">{escape(_PROOF.format(error=trace.worst_error)[lang])}</p>'
        + (f'<ul style="margin:4px 0">{notes}</ul>' if notes else "")
        + f'<table style="border-collapse:collapse;background:transparent;color:inherit;font-size:inherit">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _rows(trace: Trace) -> Iterator[tuple[str, str, Text]]:
    """Name, shape and meaning; what all blocks have in the same shape stands in one row."""
    blocks = [f"block{number:02}" for number in range(len(trace.anatomy.blocks))]
    for name, value in trace.items():
        block, _, part = name.rpartition("/")
        alike = [
            other for other in blocks if f"{other}/{part}" in trace and trace[f"{other}/{part}"].shape == value.shape
        ]
        if block and len(alike) == len(blocks) > 1:
            if block != blocks[0]:
                continue
            name = f"{name} … {blocks[-1]}/{part}"
        yield name, " × ".join(str(size) for size in value.shape), _MEANING[part]


def _asking(trace: Trace) -> Tensor | None:
    """K T: where the last block's class token looks, or without one the mean of the tokens that are read; None where no map can be drawn."""
    down, across = trace.layout.grid
    if sorted(trace.layout.token_of_patch) != list(range(down * across)):
        return None
    weights = trace[f"block{len(trace.anatomy.blocks) - 1:02}/attention"].float().cpu()
    if trace.class_token is not None:
        return weights[:, trace.class_token]
    return weights[:, list(trace.reads)].mean(dim=1) if trace.reads else weights.mean(dim=1)


def _words(trace: Trace) -> Text:
    rows = _asking(trace)
    if rows is None:
        return _NO_MAP
    token = trace.class_token
    who = (
        _CLASS.format(token=token)
        if token is not None
        else _READ.format(count=len(trace.reads) or len(trace.layout.patch_of_token))
    )
    values = {
        "block": len(trace.anatomy.blocks) - 1,
        "rest": float(rows[:, list(trace.layout.extra)].sum(dim=1).mean()),
    }
    return Text(_ASKS.en.format(who=who.en, **values), _ASKS.ja.format(who=who.ja, **values))


def _picture(trace: Trace, lang: Lang) -> str:
    """The image, and the map of each head beside it, as a PNG in base64."""
    rows, grid = _asking(trace), trace.layout.grid
    order = [trace.layout.token_of_patch.get(patch, 0) for patch in range(grid[0] * grid[1])]
    maps = [] if rows is None else [each[order].view(grid) for each in (rows.mean(dim=0), *rows)]
    with picture_style(lang, grid="y") as lang:
        from matplotlib import rcParams
        from matplotlib.figure import Figure

        rcParams["axes.titlecolor"] = GREY  # until the style ends
        across = 1 + len(maps) if len(maps) < 6 else 5
        down = ceil((1 + len(maps)) / across)
        figure = Figure(figsize=(1.75 * across + (0.9 if maps else 0), 1.95 * down), dpi=120, layout="constrained")
        figure.patch.set_alpha(0)
        panels: list[Axes] = list(figure.subplots(down, across, squeeze=False).flat)
        for panel in panels:
            panel.set_axis_off()
        _show(panels[0], _as_picture(trace["image"]), _IMAGE[lang], lang, cmap="gray", vmin=0, vmax=1)
        drawn: Any = None
        highest = max((float(each.max()) for each in maps), default=1.0)
        for number, (panel, each) in enumerate(zip(panels[1:], maps, strict=False)):
            title = _HEAD.format(number=number - 1) if number else _MEAN
            drawn = _show(panel, each, title[lang], lang, cmap="viridis", vmin=0, vmax=highest)
        if maps:
            bar = figure.colorbar(drawn, ax=panels, shrink=0.8, aspect=30)
            bar.set_label(_SHARE[lang], color=GREY)
            bar.ax.tick_params(labelfontfamily=LATIN, colors=GREY)
            bar.outline.set_visible(False)
        written = io.BytesIO()
        figure.savefig(written, format="png", metadata={"Software": None})
    return base64.b64encode(written.getvalue()).decode("ascii")


def _show(panel: Axes, values: Tensor, title: str, lang: Lang, **how: Any) -> Any:
    set_title(panel, title, lang, size=9)
    return panel.imshow(values.numpy(), interpolation="nearest", **how)


def _as_picture(image: Tensor) -> Tensor:
    """H W 3, or H W where there are not three channels: their mean; its smallest number black, its largest white."""
    values = image.detach().float().cpu()
    values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-12)
    return values.permute(1, 2, 0) if len(values) == 3 else values.mean(dim=0)
