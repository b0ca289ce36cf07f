"""What becomes of the tokens by depth: their size, the few that are far larger, and how alike they grow. Traces in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.layout import EXTRA
from vitscope.lens.trace import Trace

FAR = 3.0
"""A token is an outlier where its norm is more than so many times the median of all tokens of its layer."""


@dataclass(frozen=True, eq=False, repr=False)
class Norms:
    """The norm of each token, as the blocks take them and after each block, and which are outliers."""

    norms: Float[Tensor, "L1 T"]
    outliers: Bool[Tensor, "L1 T"]
    caveat: ClassVar[Text] = Text(
        f"Outlier: more than {FAR:g} times the median norm of its layer. Large patch tokens in places of little detail are known of large models "
        "that were trained for long (Darcet et al. 2024, arXiv 2309.16588); in small ones a large norm may mean anything.",
        f"外れ値は、その層のノルムの中央値の{FAR:g}倍を超えるトークンです。長く学習した大きなモデルでは、模様の少ない場所のパッチトークンのノルムが大きくなることが知られています"
        "（Darcet et al. 2024、arXiv 2309.16588）。小さなモデルでは一概には言えません。",
    )


def token_norms(trace: Trace) -> Norms:
    """Norms by depth."""
    norms = torch.stack([tokens.double().norm(dim=-1) for tokens in stream(trace)])
    return Norms(norms.float(), norms > FAR * norms.median(dim=1, keepdim=True).values)


@dataclass(frozen=True, eq=False, repr=False)
class Likeness:
    """Mean cosine between the tokens of different patches, as the blocks take them and after each block."""

    cosines: Float[Tensor, " L1"]
    caveat: ClassVar[Text] = Text(
        "Towards 1 all patches say the same (over-smoothing; Dong et al. 2021, arXiv 2103.03404). A part that all tokens share "
        "raises it as well.",
        "1に近いほど、どのパッチも同じ内容になっています（過平滑化。Dong et al. 2021、arXiv 2103.03404）。"
        "すべてのトークンに共通の成分があるだけでも大きくなります。",
    )


def token_likeness(trace: Trace) -> Likeness:
    """How alike the patches' tokens are, by depth."""
    patches = [token for token, patch in enumerate(trace.layout.patch_of_token) if patch != EXTRA]
    found: list[Tensor] = []
    for tokens in stream(trace):
        directions = normalize(tokens[patches].double(), dim=-1)
        cosines = directions @ directions.T
        N = len(cosines)
        found.append((cosines.sum() - cosines.trace()) / max(N * (N - 1), 1))
    return Likeness(torch.stack(found).float())


def stream(trace: Trace) -> list[Float[Tensor, "T D"]]:
    """The tokens as the first block takes them, and as each block leaves them; a block without a sum of its own is left out.

    Raises:
        LensError: no block has one.
    """
    tape, first = trace.tape, trace.anatomy.blocks[0].enters
    calls = [call for call in (first, *(block.leaves for block in trace.anatomy.blocks)) if call is not None]
    if not calls:
        raise LensError(
            Text(
                "no sum brings the branches of any block back to the tokens (no residual connection), so there are no tokens to follow by depth",
                "どのブロックにも、結果をトークンに足し戻す加算（残差接続）がないため、トークンを層ごとに追うことができません",
            )
        )
    return [tape.value(call).reshape(len(trace.layout.patch_of_token), -1) for call in calls]
