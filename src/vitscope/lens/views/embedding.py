"""How patches are cut, what the patch embedding looks for, and how alike positions are. Traces in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS
from vitscope.lens.tape import Call
from vitscope.lens.trace import Trace


@dataclass(frozen=True, eq=False, repr=False)
class Patches:
    """The patches as the model cuts them, as little images, row by row from the top left."""

    images: Float[Tensor, "N C Ph Pw"]
    caveat: ClassVar[Text] = Text(
        "As the model takes them: normalised, so colours are not the photograph's.",
        "モデルに入力されたままの（正規化済みの）値なので、色は元の写真とは異なります。",
    )


def patches(trace: Trace) -> Patches:
    """Cuts the image as the model does, and checks that the patches put back are the image.

    Raises:
        LensError: patches overlap, are no rectangles, or leave pixels out.
    """
    pixels = _pixels(trace)
    C, height, width = trace["image"].shape
    down, across = trace.layout.grid
    cut = trace["image"].flatten()[pixels]
    back = torch.full((trace["image"].numel(),), torch.nan, dtype=cut.dtype)
    back[pixels] = cut
    if not torch.equal(back.view_as(trace["image"]), trace["image"]):
        raise LensError(
            Text(
                "the patches of this model, put back, do not give the image; they are not shown",
                "このモデルのパッチを元の位置に戻しても画像と一致しないため、示しません",
            )
        )
    return Patches(cut.view(len(pixels), C, height // down, width // across))


def _pixels(trace: Trace) -> Tensor:
    """For each patch its pixels, sorted: by channel, then by row, then by column."""
    if trace.layout.pixels is None:
        raise LensError(
            Text(
                "the patches of this model overlap or are worked on by several layers, so there are none to show one by one",
                "このモデルのパッチは重なり合うか、複数の層を通るため、1つずつ切り分けて示せません",
            )
        )
    if not trace.layout.are_squares:
        raise LensError(
            Text(
                "the patches of this model are not squares of neighbouring pixels, so they cannot be shown as little images",
                "このモデルのパッチは隣り合う画素の正方形になっていないため、小さな画像としては示せません",
            )
        )
    return trace.layout.pixels.sort(dim=1).values


@dataclass(frozen=True, eq=False, repr=False)
class Filters:
    """Principal components of the patch embedding's filters (ViT, arXiv 2010.11929, figure 7 left), and what share of them each explains."""

    components: Float[Tensor, "F C Ph Pw"]
    explained: Float[Tensor, " F"]
    caveat: ClassVar[Text] = Text(
        "Principal components over all filters, not the filters themselves; each stands for its negative as well.",
        "フィルタそのものではなく、全フィルタの主成分です。符号を反転したものも同じ意味を持ちます。",
    )


def patch_filters(trace: Trace, *, count: int = 28) -> Filters:
    """The strongest components of the D filters, each of the size of a patch.

    Raises:
        LensError: the embedding is not one linear map of each patch.
    """
    call, pixels = trace.anatomy.patch_embedding, _pixels(trace)
    C, height, width = trace["image"].shape
    size = (C, height // trace.layout.grid[0], width // trace.layout.grid[1])
    weights = [
        source.tensor for source in call.sources if not trace.tape.is_of_image(source) and source.tensor.ndim > 1
    ]
    if len(weights) != 1 or call.name not in PRODUCTS | CONVOLUTIONS:
        raise LensError(
            Text(
                "the patch embedding of this model is not one linear map of each patch, so it has no filters to show",
                "このモデルのパッチ埋め込みは、各パッチに対する1つの線形変換ではないため、示せるフィルタがありません",
            )
        )
    assert trace.layout.pixels is not None
    weight = weights[0].detach().double()
    flat = (
        weight.T if call.name in PRODUCTS else weight.flatten(1)
    )  # D P, in the module's own order of a patch's pixels
    if flat.shape[1] != pixels.shape[1]:
        raise LensError(
            Text(
                f"the patch embedding takes {flat.shape[1]} numbers, but a patch holds {pixels.shape[1]} pixels",
                f"パッチ埋め込みへの入力は{flat.shape[1]}個の数値ですが、1つのパッチの画素は{pixels.shape[1]}個です",
            )
        )
    flat = flat[:, trace.layout.pixels[0].argsort()]
    _, singular, rows = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    share = singular**2 / (singular**2).sum()
    kept = min(count, len(rows))
    return Filters(rows[:kept].reshape(kept, *size).float(), share[:kept].float())


@dataclass(frozen=True, eq=False, repr=False)
class Positions:
    """The position embedding of the patches: how alike each is to all others (ViT, figure 7 centre), and its spectrum along the grid."""

    cosines: Float[Tensor, "N N"]
    down: Float[Tensor, " Fh"]
    """Share of the power at each frequency, from 0 to half the rows, averaged over columns and width."""
    across: Float[Tensor, " Fw"]
    caveat: ClassVar[Text] = Text(
        "The mean over all positions is left in for the cosines, as in the paper, and taken out for the spectrum.",
        "コサイン類似度では論文と同じく平均を引かず、スペクトルでは全位置の平均を引いています。",
    )


def positions(trace: Trace) -> Positions:
    """What is added to the patches' tokens for their place.

    Raises:
        LensError: nothing is added, or not one row for each patch.
    """
    call = trace.anatomy.with_position
    if call is None:
        raise LensError(
            Text(
                "no position embedding is added to the tokens of this model (it may turn queries and keys, or have none)",
                "このモデルのトークンには位置埋め込みが足されていません。クエリとキーを回転させる方式か、位置の情報を使わないモデルと考えられます",
            )
        )
    table = next(source for source in call.sources if not trace.tape.is_of_image(source))
    rows = trace.tape.value(table).detach().double().reshape(-1, call.outputs[0].shape[-1])
    down, across = trace.layout.grid
    N = down * across
    if len(rows) != N:
        rows = rows[_row_of_patch(trace, call, len(rows))]
    directions = normalize(rows, dim=-1)
    grid = (rows - rows.mean(dim=0)).view(down, across, -1)
    return Positions((directions @ directions.T).float(), _power(grid, 0), _power(grid, 1))


def _row_of_patch(trace: Trace, call: Call, count: int) -> list[int]:
    """For each patch its row in a table that has others, too: the token as the first block takes it, found among those the table was added to.

    Raises:
        LensError: there is no such row, or more than one.
    """
    N, first = trace.layout.grid[0] * trace.layout.grid[1], trace.anatomy.blocks[0].enters
    if sorted(trace.layout.token_of_patch) != list(range(N)):
        raise LensError(
            Text(
                "tokens of this model do not stand for one patch each, so which position is whose cannot be told",
                "このモデルのトークンは1つずつのパッチに対応していないため、どの位置埋め込みがどのパッチのものか分かりません",
            )
        )
    token_of = [trace.layout.token_of_patch[patch] for patch in range(N)]
    if count == len(trace.layout.patch_of_token):
        return token_of
    summed = as_tokens(trace.tape.value(call))
    tokens = None if first is None else as_tokens(trace.tape.value(first))[token_of]
    same = None if tokens is None or tokens.shape[1] != summed.shape[1] else (tokens[:, None] == summed).all(dim=-1)
    if same is None or len(summed) != count or not (same.sum(dim=1) == 1).all():
        raise LensError(
            Text(
                f"the position embedding has {count} rows for {N} patches; which belongs to which cannot be told",
                f"位置埋め込みは{count}行、パッチは{N}個で、どの行がどのパッチのものか分かりません",
            )
        )
    return same.int().argmax(dim=1).tolist()


def _power(grid: Float[Tensor, "Gh Gw D"], along: int) -> Float[Tensor, " F"]:
    power = torch.fft.rfft(grid, dim=along).abs().square().mean(dim=(1 - along, 2))
    return (power / power.sum().clamp(min=torch.finfo(power.dtype).tiny)).float()
