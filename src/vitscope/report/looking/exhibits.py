"""What each stage shows of an image in a model: a `Look` in, rows of numbers and exhibits out, a function a stage."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from vitscope._core.text import Lang, Text
from vitscope.lens.views import figures
from vitscope.report.art import coloured, data_url, inline_svg, map_of_maps, mosaic
from vitscope.report.html import number
from vitscope.report.looking.gather import has_places
from vitscope.report.looking.look import Look
from vitscope.report.words import WORDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Exhibit:
    """One picture of a stage: an address, inline SVG, or the name of what the page's script draws."""

    kind: Literal["image", "svg", "explorer", "lens"]
    title: Text
    body: str = ""
    caveat: Text | None = None
    width: int | None = None


Row: TypeAlias = tuple[Text, Text | str]
Made: TypeAlias = tuple[tuple[Row, ...], tuple[Exhibit, ...]]


def _image(look: Look, lang: Lang) -> Made:
    image = look.trace["image"].detach().float().cpu()
    channels = (
        [(f"channel {name}", f"チャネル{name}") for name in "RGB"] if len(image) == 3 else [("the image", "画像")]
    )
    rows: list[Row] = [
        (
            Text("the picture as it came", "元の画像"),
            f"{look.picture.height}×{look.picture.width}, {look.picture.mode}",
        ),
    ]
    rows += [
        (
            Text(f"{name} after normalising", f"正規化後の{of}"),
            Text(
                f"{float(x.min()):.2f} to {float(x.max()):.2f}, mean {float(x.mean()):.2f}, standard deviation {float(x.std(correction=0)):.2f}",
                f"{float(x.min()):.2f}〜{float(x.max()):.2f}、平均{float(x.mean()):.2f}、標準偏差{float(x.std(correction=0)):.2f}",
            ),
        )
        for (name, of), x in zip(channels, image, strict=True)
    ]
    height, width = look.pixels.shape[:2]
    shown = Exhibit(
        "image",
        Text("The image as the model gets it", "モデルに入力される画像"),
        pixels_of(look),
        Text(f"{width}×{height} pixels, before they are normalised.", f"{width}×{height}画素（正規化前）。"),
        _wide(width),
    )
    return tuple(rows), (shown,)


def _patches(look: Look, lang: Lang) -> Made:
    layout, found = look.trace.layout, look.views.patches
    down, across = layout.grid
    rows: list[Row] = [(Text("patches", "パッチの数"), f"{down}×{across} = {down * across}")]
    if layout.pixels is not None:
        rows.append((Text("numbers in a patch", "1パッチの数値の個数"), str(layout.pixels.shape[1])))
    if found is None:
        return tuple(rows), ()
    C, height, width = found.images.shape[1:]
    rows.append((Text("a patch", "1パッチ"), f"{height}×{width}×{C}"))
    low, high = float(found.images.min()), float(found.images.max())
    images = ((found.images.float() - low) / ((high - low) or 1)).permute(0, 2, 3, 1).cpu().numpy()
    scale = max(1, round(288 / (width * across)))
    sheet = mosaic(images, across, gap=max(2, scale), scale=scale)
    caveat = Text(
        f"{found.caveat.en} One scale for all: {low:.2f} is dark, {high:.2f} bright.",
        f"{found.caveat.ja}目盛りは全パッチ共通（{low:.2f}が暗く、{high:.2f}が明るい）。",
    )
    title = Text("The patches, apart", "切り分けたパッチ")
    return tuple(rows), (Exhibit("image", title, data_url(sheet), caveat, _wide(sheet.shape[1], 320)),)


def _embedding(look: Look, lang: Lang) -> Made:
    exhibits: list[Exhibit] = []
    found = look.views.filters
    if found is not None:
        most = float(found.components.abs().max()) or 1.0
        images = (found.components / (2 * most) + 0.5).permute(0, 2, 3, 1).numpy()
        scale = max(1, round(40 / images.shape[2]))
        sheet = mosaic(images, 7, gap=max(2, scale // 2), scale=scale)
        first, kept = 100 * float(found.explained[0]), 100 * float(found.explained.sum())
        caveat = Text(
            f"{found.caveat.en} Strongest first: the first explains {first:.0f} % of their variance, all {len(images)} shown {kept:.0f} %. "
            f"Grey is zero; one scale for all, ±{most:.2g}.",
            f"{found.caveat.ja}強い順に並べています。最初の1つで分散の{first:.0f} %、表示した{len(images)}個で{kept:.0f} %を説明します。"
            f"灰色が0で、目盛りは共通です（±{most:.2g}）。",
        )
        title = Text("What the embedding looks for", "埋め込みが捉えるもの")
        exhibits.append(Exhibit("image", title, data_url(sheet), caveat, _wide(sheet.shape[1], 320)))
    tokens = look.trace["patch_embedding"]
    exhibits.append(_as_matrix(tokens, Text("The tokens: one row each", "トークン（1行が1つ）")))
    return (_size(tokens),), tuple(exhibits)


def _class(look: Look, lang: Lang) -> Made:
    tokens, extra = look.trace.get("with_class"), look.trace.layout.extra
    if tokens is None:
        return ((Text("tokens that are no patch", "パッチ以外のトークン"), "0"),), ()
    norms = tokens.detach().double().norm(dim=-1)
    patches = [token for token in range(len(tokens)) if token not in extra]
    rows: list[Row] = [
        _size(tokens),
        (Text("tokens that are no patch", "パッチ以外のトークン"), f"{len(extra)} ({', '.join(map(str, extra[:6]))})"),
        (
            Text("norm of the class token, mean norm of the patches", "クラストークンのノルム、パッチの平均ノルム"),
            f"{float(norms[extra[0]]):.3g}, {float(norms[patches].mean()):.3g}" if extra and patches else "–",
        ),
    ]
    title = Text("With the tokens that join", "加わったトークンを含む全トークン")
    return tuple(rows), (_as_matrix(tokens, title),)


def _position(look: Look, lang: Lang) -> Made:
    exhibits: list[Exhibit] = []
    views, rows = look.views, []
    if (positions := views.positions) is not None:
        sheet = map_of_maps(positions.cosines, look.trace.layout.grid, 400)
        found = Text(
            "One little map for each patch, in its place: cosine with the position embedding of every patch, red 1, white 0, blue -1. "
            f"{positions.caveat.en}",
            "パッチごとに1枚の小さなマップを、その位置に並べています。全パッチの位置埋め込みとのコサイン類似度で、赤が1、白が0、青が-1です。"
            f"{positions.caveat.ja}",
        )
        title = Text("Which places count as alike", "似た位置とみなされる場所")
        exhibits.append(Exhibit("image", title, data_url(sheet), found, _wide(sheet.shape[1], 420)))
        exhibits.append(_chart(figures.draw_spectrum(positions, lang), _SPECTRUM, positions.caveat))
    if (shuffling := views.shuffling) is not None:
        each = (shuffling.with_position, shuffling.without_position)
        moved, still = (float((scores[0] - scores[1]).abs().max()) for scores in each)
        rows.append(
            (
                Text(
                    "largest change of a score when the patches are shuffled",
                    "パッチを並べ替えたときのスコアの最大変化",
                ),
                Text(
                    f"{number(moved)} as the model is; {number(still)} with what is added for the place taken away",
                    f"モデルのまま：{number(moved)}、位置の加算を取り除いた場合：{number(still)}",
                ),
            )
        )
        exhibits.append(_chart(figures.draw_shuffling(shuffling, look.labels, lang), _SHUFFLED, shuffling.caveat))
    return tuple(rows), tuple(exhibits)


def _encoder(look: Look, lang: Lang) -> Made:
    views = look.views
    heads, tokens = look.trace["block00/attention"].shape[:2]
    rows: tuple[Row, ...] = (
        (Text("layers, heads", "層数、ヘッド数"), f"{len(look.trace.anatomy.blocks)}, {heads}"),
        (
            Text("numbers in all maps", "全マップの数値の個数"),
            f"{len(look.trace.anatomy.blocks) * heads * tokens**2:,}",
        ),
    )
    exhibits: list[Exhibit] = []
    if has_places(look.trace):
        exhibits.append(Exhibit("explorer", WORDS["explorer"]))
    charts: tuple[tuple[Any, Text, Callable[..., Figure]], ...] = (
        (views.distance, Text("How far heads look", "各ヘッドが見る距離"), figures.draw_distance),
        (views.entropy, Text("How evenly heads look", "各ヘッドの見方の均等さ"), figures.draw_entropy),
        (views.norms, Text("How large tokens grow", "トークンの大きさの変化"), figures.draw_norms),
        (views.likeness, Text("How alike patches grow", "パッチ同士の似かた"), figures.draw_likeness),
    )
    for found, title, draw in charts:
        if found is not None:
            exhibits.append(_chart(draw(found, lang), title, found.caveat))
    return rows, tuple(exhibits)


def _pooled(look: Look, lang: Lang) -> Made:
    pooled = look.trace.get("pooled")
    read, count = look.trace.reads, len(look.trace.layout.patch_of_token)
    some = ", ".join(map(str, read[:6])) + (" …" if len(read) > 6 else "")
    which: Text | str = str(count) if len(read) == count else f"{len(read)} / {count} ({some})"
    if not read:
        which = Text("not found", "特定できませんでした")
    rows: list[Row] = [(Text("tokens that are read", "読み出されるトークン"), which)]
    if pooled is None:
        return tuple(rows), ()
    rows.append((Text("norm", "ノルム"), f"{float(pooled.detach().double().norm()):.4g}"))
    across = math.ceil(len(pooled) / math.ceil(len(pooled) / 64))
    folded = torch.nn.functional.pad(pooled.detach().float(), (0, -len(pooled) % across)).view(-1, across)
    title = Text(f"The {len(pooled)} numbers that the head is given", f"分類ヘッドに渡される{len(pooled)}個の数値")
    return tuple(rows), (_as_matrix(folded, title, size=6),)


def _logits(look: Look, lang: Lang) -> Made:
    views, labels = look.views, look.labels
    attribution, rollout, lens, removal = views.attribution, views.rollout, views.logit_lens, views.removal
    exhibits: list[Exhibit] = []
    rows: list[Row] = []
    if attribution is not None:
        words = Text("sum of the attributions against what the score gained", "寄与の合計とスコアの増分の差")
        rows.append((words, f"{100 * attribution.error:.2g} %"))
        if rollout is not None and has_places(look.trace):
            caveat = Text(f"{rollout.caveat.en} {attribution.caveat.en}", rollout.caveat.ja + attribution.caveat.ja)
            title = Text("Where the answer comes from, in two ways", "答えの根拠となる場所（2つの方法）")
            label = labels[attribution.target]
            drawn = figures.draw_attribution(attribution, rollout, look.trace, label, lang)
            exhibits.append(_chart(drawn, title, caveat))
    if lens is not None:
        title = Text("The answer by depth (logit lens)", "層ごとの答え（ロジットレンズ）")
        exhibits.append(_chart(figures.draw_logit_lens(lens, labels, lang), title, lens.caveat))
        if has_places(look.trace):
            of = WORDS["lens_map"].format(label=labels[look.target])
            exhibits.append(Exhibit("lens", of, caveat=lens.caveat))
    if removal is not None:
        title = Text("What taking a part away does", "一部を取り除いたときの変化")
        exhibits.append(_chart(figures.draw_removal(removal, labels[removal.target], lang), title, removal.caveat))
    return tuple(rows), tuple(exhibits)


_SPECTRUM = Text("How smooth the table is", "位置埋め込みのなめらかさ")
_SHUFFLED = Text("The experiment: the same patches in another order", "実験：パッチの並べ替え")


def _chart(figure: Figure, title: Text, caveat: Text) -> Exhibit:
    return Exhibit("svg", title, Markup(inline_svg(figure)), caveat)


def _size(tokens: Tensor) -> Row:
    return Text("tokens, numbers in each", "トークン数、1つの数値の個数"), f"{tokens.shape[0]}, {tokens.shape[1]}"


def _as_matrix(values: Tensor, title: Text, *, size: int = 2) -> Exhibit:
    most = float(values.detach().abs().max()) or 1.0
    sheet = coloured(values, -most, most, "RdBu_r")
    caveat = Text(
        f"Red is positive, blue negative, white zero; ±{most:.3g}.", f"赤が正、青が負、白が0（±{most:.3g}）。"
    )
    return Exhibit("image", title, data_url(sheet), caveat, min(sheet.shape[1] * size, 460))


def _wide(pixels: int, wanted: int = 288) -> int:
    """A width on the page at which pixels stay square and sharp: a whole multiple, or the wanted one where there are many."""
    return wanted if pixels > wanted else pixels * max(1, wanted // pixels)


def pixels_of(look: Look) -> str:
    pixels = look.pixels if look.pixels.shape[2] == 3 else look.pixels[:, :, 0]
    return data_url(np.ascontiguousarray(pixels))


SHOWN: dict[str, Callable[[Look, Lang], Made]] = {
    "image": _image,
    "patches": _patches,
    "patch_embedding": _embedding,
    "with_class": _class,
    "with_position": _position,
    "encoder": _encoder,
    "pooled": _pooled,
    "logits": _logits,
}
"""By the stage's key."""
