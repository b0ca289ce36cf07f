"""All views of a trace that its model allows, within a budget: a trace in, `Views` out, with a reason for each that is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.trace import Trace
from vitscope.lens.views import attending, attribution, embedding, experiments, tokens

Found = TypeVar("Found")

QUICK = 2.5e11
"""Multiply-adds that one experiment may cost before it is cut short, some seconds of two cores; `thorough` does everything."""


@dataclass(frozen=True, eq=False)
class Views:
    """What was found beside the trace itself; a view that the model does not allow is missing, and `absent` says why."""

    patches: embedding.Patches | None
    filters: embedding.Filters | None
    positions: embedding.Positions | None
    shuffling: experiments.Shuffling | None
    distance: attending.Distance | None
    entropy: attending.Entropy | None
    rollout: attending.Rollout | None
    norms: tokens.Norms | None
    likeness: tokens.Likeness | None
    logit_lens: experiments.LogitLens | None
    removal: experiments.Removal | None
    attribution: attribution.Attribution | None
    absent: dict[str, Text] = field(default_factory=dict)
    shortened: tuple[Text, ...] = ()


def gather(found: Trace, *, parameters: int, thorough: bool = False) -> Views:
    """Every view of a trace that the model allows."""
    absent: dict[str, Text] = {}
    shortened: list[Text] = []

    def get(name: str, make: Callable[[], Found]) -> Found | None:
        try:
            return make()
        except LensError as error:
            absent[name] = _why_not(name, found, error)
            return None

    cost = float(parameters) * len(found.layout.patch_of_token)  # multiply-adds of a forward, about
    heads = sum(len(attention.output) for attention in found.attentions)
    meet = all(attention.map.shape[-1] == len(found.layout.patch_of_token) for attention in found.attentions)
    each_head = meet and (thorough or heads * cost / 2 <= QUICK)
    steps = 32 if thorough else int(min(max(QUICK / (3 * cost), 8), 32))
    if meet and not each_head:
        shortened.append(_WHOLE_BLOCKS.format(heads=heads))
    if steps < 32:
        shortened.append(_FEW_STEPS.format(steps=steps))
    return Views(
        patches=get("patches", lambda: embedding.patches(found)),
        filters=get("filters", lambda: embedding.patch_filters(found)),
        positions=get("positions", lambda: embedding.positions(_with_places(found))),
        shuffling=get("shuffling", lambda: experiments.shuffling(found)),
        distance=get("distance", lambda: attending.attention_distance(found)),
        entropy=get("entropy", lambda: attending.attention_entropy(found)),
        rollout=get("rollout", lambda: attending.attention_rollout(found)),
        norms=get("norms", lambda: tokens.token_norms(found)),
        likeness=get("likeness", lambda: tokens.token_likeness(found)),
        logit_lens=get("logit_lens", lambda: experiments.logit_lens(_with_places(found))),
        removal=get("removal", lambda: experiments.removal(found, each_head=each_head)),
        attribution=get("attribution", lambda: attribution.attribution(found, steps=steps)),
        absent=absent,
        shortened=tuple(shortened),
    )


def has_places(found: Trace) -> bool:
    """Whether each patch has a token of its own."""
    down, across = found.layout.grid
    return sorted(found.layout.token_of_patch) == list(range(down * across))


def _with_places(found: Trace) -> Trace:
    if not has_places(found):
        raise LensError(Text("tokens do not stand for one patch each", "トークンが1つずつのパッチに対応していません"))
    return found


_WHOLE_BLOCKS = Text(
    "Whole blocks were taken away, not each of the {heads} heads, which would take long for a model of this size; --thorough does it.",
    "モデルが大きいため、{heads}個のヘッドを1つずつではなく、ブロック単位でのみ取り除きました。--thoroughを付けるとすべて行います。",
)
_FEW_STEPS = Text(
    "Integrated gradients took {steps} steps instead of 32, which would take long for a model of this size; their error is printed beside them, "
    "and --thorough takes all.",
    "モデルが大きいため、積分勾配は32ステップではなく{steps}ステップで計算しました。誤差は図に示しています。--thoroughを付けると32ステップで計算します。",
)
_OVERLAP = Text(
    "Patches of this model overlap or pass several layers, so there is no cut to show.",
    "このモデルのパッチは重なり合うか、複数の層を通るため、切り分けた図は示せません。",
)
_SCATTERED = Text(
    "What goes into a token is no square of neighbouring pixels, so it cannot be shown as a little picture.",
    "1つのトークンに入る画素が隣り合う四角い領域ではないため、小さな画像としては示せません。",
)
_NO_POSITION = Text(
    "Nothing is added to the tokens for their place, so there is no table to show.",
    "位置を表す値がトークンに加算されていないため、示す表がありません。",
)
_NO_PLACES = Text(
    "Tokens of this model do not stand for one patch each, so there are no distances between them.",
    "このモデルのトークンは1つずつのパッチに対応していないため、トークン間の距離は求められません。",
)


_NO_SUMS = Text(
    "No sum brings a block's result back to the tokens (no residual connection), so they cannot be followed from block to block.",
    "ブロックの結果をトークンに足し戻す加算（残差接続）がないため、トークンをブロックからブロックへと追うことができません。",
)


def _why_not(name: str, found: Trace, error: LensError) -> Text:
    if name in ("patches", "filters", "shuffling") and found.layout.pixels is None:
        return _OVERLAP
    if name in ("patches", "filters") and not found.layout.are_squares:
        return _SCATTERED
    if name == "positions" and found.anatomy.with_position is None:
        return _NO_POSITION
    if name == "distance" or (name in ("positions", "logit_lens") and not has_places(found)):
        return _NO_PLACES
    if name in ("norms", "likeness", "logit_lens", "removal") and any(b.leaves is None for b in found.anatomy.blocks):
        return _NO_SUMS
    return Text(f"Not shown: {error}.", f"表示できません。{error.text.ja}。")
