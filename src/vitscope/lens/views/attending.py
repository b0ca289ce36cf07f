"""What attention does, in numbers: how far it looks, how evenly, and what flows to the class token over all layers. Traces in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.trace import Trace


@dataclass(frozen=True, eq=False, repr=False)
class Distance:
    """Mean attention distance of each head in pixels of the image, by layer (ViT, arXiv 2010.11929, figure 7 right)."""

    pixels: Float[Tensor, "L K"]
    caveat: ClassVar[Text] = Text(
        "Weighed by attention among patches only, each patch's row scaled to one without the class token; an even map has a distance, too.",
        "パッチ同士のアテンションのみで重み付けしています（クラストークンを除いて各行の和を1に正規化）。一様なアテンションでも距離は0になりません。",
    )


def attention_distance(trace: Trace) -> Distance:
    """The distance between a patch and the patches it looks at, weighed by its attention and averaged over patches."""
    places = _places(trace)
    apart = torch.cdist(places, places)  # N N, pixels
    tokens = torch.tensor([trace.layout.token_of_patch[patch] for patch in range(len(places))])
    rows: list[Tensor] = []
    for number in range(len(trace.attentions)):
        among = trace[f"block{number:02}/attention"].double()[:, tokens][:, :, tokens]
        among = among / among.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        rows.append((among * apart).sum(dim=-1).mean(dim=-1))
    return Distance(torch.stack(rows).float())


def _places(trace: Trace) -> Float[Tensor, "N two"]:
    """The middle of each patch, in pixels down and across.

    Raises:
        LensError: tokens do not stand for one patch each.
    """
    down, across = trace.layout.grid
    if sorted(trace.layout.token_of_patch) != list(range(down * across)):
        raise LensError(
            Text(
                "tokens of this model do not stand for one patch each, so there are no distances between them",
                "このモデルのトークンは1つずつのパッチに対応していないため、トークン間の距離は求められません",
            )
        )
    height, width = trace["image"].shape[-2:]
    rows = (torch.arange(down, dtype=torch.float64) + 0.5) * height / down
    columns = (torch.arange(across, dtype=torch.float64) + 0.5) * width / across
    return torch.cartesian_prod(rows, columns)


@dataclass(frozen=True, eq=False, repr=False)
class Entropy:
    """How evenly each head looks, by layer: the mean entropy of its rows in bits; `most` is that of an even row."""

    bits: Float[Tensor, "L K"]
    most: float
    caveat: ClassVar[Text] = Text(
        "A row that looks at one token has 0 bits, an even one log2 of the tokens; neither is better by itself.",
        "1つのトークンだけを見る行は0ビット、均等に見る行はトークン数のlog2ビットです。どちらが良いというものではありません。",
    )


def attention_entropy(trace: Trace) -> Entropy:
    """The entropy of the rows of each map."""
    maps = [trace[f"block{number:02}/attention"].double() for number in range(len(trace.attentions))]
    bits = [-(m * m.clamp(min=torch.finfo(torch.float64).tiny).log2()).sum(dim=-1).mean(dim=-1) for m in maps]
    return Entropy(torch.stack(bits).float(), float(torch.tensor(maps[0].shape[-1]).double().log2()))


@dataclass(frozen=True, eq=False, repr=False)
class Rollout:
    """How much of each token's start is in each token's end, were attention all there is (Abnar and Zuidema 2020, arXiv 2005.00928, section 3)."""

    shares: Float[Tensor, "T T"]
    caveat: ClassVar[Text] = Text(
        "Heads are averaged, values and MLPs left out, and each layer counted half as its input: rollout is no explanation of the scores. "
        "Look at a gradient-based attribution beside it.",
        "ヘッドを平均し、値ベクトルとMLPを無視し、各層の半分を入力そのものとみなしています。ロールアウトはスコアの説明ではありません。勾配に基づく方法と併せて見てください。",
    )


def attention_rollout(trace: Trace) -> Rollout:
    """The product over layers of half the mean map and half the identity. Rows sum to one."""
    shares = torch.eye(len(trace.layout.patch_of_token), dtype=torch.float64)
    for number in range(len(trace.attentions)):
        mean = trace[f"block{number:02}/attention"].double().mean(dim=0)
        shares = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=torch.float64)) @ shares
    return Rollout(shares.float())
