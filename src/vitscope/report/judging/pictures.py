"""The images of a run that tell most, and what became of its position embedding: a trained model and its predictions in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vitscope._core.errors import DataError, LensError
from vitscope._core.text import Text
from vitscope.data import open_item
from vitscope.lens.trace import Trace, trace
from vitscope.lens.views.embedding import Positions, positions
from vitscope.model.create import build
from vitscope.recipes.measure import Prediction
from vitscope.recipes.schema import Recipe
from vitscope.recipes.trained import TrainedModel
from vitscope.train.randomness import global_generator_restored, seed_of

SHOWN = 8
"""Pictures of each kind."""
SAME = 0.01
"""Far above what another batch size or device does to a probability."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One image, what was said of it, and where what is read looks in the last block (mean of heads)."""

    prediction: Prediction
    pixels: UInt8[np.ndarray, "H W C"]
    attention: Float[Tensor, "Gh Gw"] | None

    def to_dict(self) -> dict[str, Any]:
        said = self.prediction
        return {
            "image": said.image,
            "label": said.label,
            "predicted": said.predicted,
            "probability": said.probability,
            "probability_of_label": said.probability_of_label,
        }


@dataclass(frozen=True, eq=False)
class Gallery:
    """Mistakes that were most certain, and the images whose right class got least, without those."""

    mistakes: tuple[Shown, ...]
    hardest: tuple[Shown, ...]
    absent: Text | None
    """Why there are none, or no attention beside them."""
    worst_error: float | None
    """Of the proofs of all maps shown."""

    @property
    def highest(self) -> float:
        """The largest share of attention in any of them: one scale for all."""
        maps = [shown.attention for shown in (*self.mistakes, *self.hardest) if shown.attention is not None]
        return max((float(each.max()) for each in maps), default=1.0)


def gallery_of(trained: TrainedModel, predictions: Sequence[Prediction], recipe: Recipe | None) -> Gallery:
    """Opens the images and traces each. That an image is the one that was measured is seen by what the model says of it."""
    if not predictions:
        return Gallery((), (), _NO_PREDICTIONS, None)
    if recipe is None:
        return Gallery((), (), _NO_RECIPE, None)
    wrong = sorted((p for p in predictions if not p.right), key=lambda p: -p.probability)[:SHOWN]
    named = {p.image for p in wrong}
    hard = sorted((p for p in predictions if p.image not in named), key=lambda p: p.probability_of_label)[:SHOWN]
    absent: Text | None = None
    opened: list[tuple[Prediction, Image.Image]] = []
    for said in (*wrong, *hard):
        try:
            item = open_item(said.image, spec=recipe.data)
        except DataError as error:
            return Gallery((), (), Text(f"No pictures: {error}.", f"画像を開けません（{error}）。"), None)
        again = float(trained.predict(item.image)[0].max())
        if item.label != said.label or not abs(again - said.probability) < SAME:
            absent = _NOT_AS_MEASURED
        opened.append((said, item.image))
    errors: list[float] = []
    shown: dict[str, Shown] = {}
    for said, image in opened:
        attention = None
        if absent is None:
            try:
                found = trace(trained.model, trained.inputs(image)[0])
                attention = _looked_at(found)
                if attention is None:
                    absent = _NO_PLACES
                else:
                    errors.append(found.worst_error)
            except LensError as error:
                absent = Text(
                    f"No attention beside the pictures: {error}.", f"アテンションは表示できません。{error.text.ja}。"
                )
        shown[said.image] = Shown(said, trained.preprocessing.to_array(image), attention)
    return Gallery(
        tuple(shown[p.image] for p in wrong), tuple(shown[p.image] for p in hard), absent, max(errors, default=None)
    )


_NOT_AS_MEASURED = Text(
    "Where the model looked is not shown: given alone, an image does not get the answer that it got when the run was measured. "
    "Either the images or the weights are others now, or the model lets the images of a batch, or chance, into its answer.",
    "見ている場所は表示できません。画像を1枚だけ入力すると、評価時と異なる答えになるためです。"
    "画像か重みが変わったか、モデルの答えが同じバッチのほかの画像や乱数に左右されています。",
)
_NO_PLACES = Text(
    "No attention beside the pictures: the tokens do not stand for one patch each, or it could not be found from which of them the scores are read.",
    "アテンションは表示できません。トークンが1つずつのパッチに対応していないか、どのトークンからスコアを読み出すかが分かりません。",
)
_NO_RECIPE = Text(
    "No pictures: the run has no recipe.yaml, which says where its images are.",
    "画像を開けません（データの場所を記したrecipe.yamlがありません）。",
)
_NO_PREDICTIONS = Text("There are no predictions to choose pictures from.", "画像を選ぶための予測がありません。")


def _looked_at(found: Trace) -> Float[Tensor, "Gh Gw"] | None:
    """Where the tokens that are read look, in the last block, mean of heads; None where tokens do not stand for one patch each."""
    down, across = found.layout.grid
    token_of = found.layout.token_of_patch
    if sorted(token_of) != list(range(down * across)) or not found.reads:
        return None
    last = found[f"block{len(found.attentions) - 1:02}/attention"].detach().float().mean(dim=0)
    row = last[list(found.reads)].mean(dim=0)
    return row[[token_of[patch] for patch in range(down * across)]].view(down, across)


@dataclass(frozen=True, eq=False)
class PositionChange:
    """The position embedding as the run began with it, and as it is now; None, with the reason, where the model adds none."""

    before: Positions | None
    after: Positions | None
    grid: tuple[int, int]
    absent: Text | None

    def to_dict(self) -> dict[str, Any]:
        if self.before is None or self.after is None:
            return {"absent": None if self.absent is None else self.absent.to_dict()}
        return {
            "near_before": _near(self.before, self.grid),
            "near_after": _near(self.after, self.grid),
        }

    @property
    def near(self) -> tuple[float | None, float | None] | None:
        """Mean cosine of a patch's position with its direct neighbours minus that with all others, before and after: 0 knows no nearness.
        None of a grid in which no patch has neighbours and others."""
        if self.before is None or self.after is None:
            return None
        return _near(self.before, self.grid), _near(self.after, self.grid)


def position_change(trained: TrainedModel, recipe: Recipe | None) -> PositionChange:
    """Builds the model as the run began with it, from its seed, and compares."""
    height, width = trained.spec.image_size
    down, across = height // trained.spec.patch_size[0], width // trained.spec.patch_size[1]
    if recipe is None:
        return PositionChange(
            None,
            None,
            (down, across),
            Text(
                "The run has no recipe.yaml, so its start is not known.",
                "recipe.yamlがないため、学習前の状態が分かりません。",
            ),
        )
    with global_generator_restored():
        torch.manual_seed(seed_of(recipe.train.seed, "init"))
        begun = build(trained.spec).eval()
    image = torch.zeros(trained.spec.channels, height, width)
    try:
        before, after = (trace(model, image) for model in (begun, trained.model))
        return PositionChange(positions(before), positions(after), after.layout.grid, None)
    except LensError as error:
        why = Text(
            f"No position embedding to compare: {error}.", f"比較する位置埋め込みがありません。{error.text.ja}。"
        )
        return PositionChange(None, None, (down, across), why)


def _near(found: Positions, grid: tuple[int, int]) -> float | None:
    down, across = grid
    rows, columns = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    apart = torch.cdist(places, places, p=1)
    neighbours, others = apart == 1, apart > 1
    if not neighbours.any() or not others.any():
        return None
    return float(found.cosines[neighbours].mean() - found.cosines[others].mean())
