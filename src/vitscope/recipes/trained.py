"""A trained model with all that prediction needs: weights, preprocessing, label names. In goes a run folder, out come probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vitscope._core.errors import DataError, RunError
from vitscope._core.files import write_json
from vitscope._core.preprocessing import Preprocessing, decode_image
from vitscope.model.create import build
from vitscope.model.presets import parse_model
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.build import preprocessing_of
from vitscope.recipes.schema import Recipe
from vitscope.runs import RunFolder
from vitscope.train.checkpoint import load_weights

Picture = Image.Image | str | Path
"""A decoded image, or the path of an image file."""
Pictures = Picture | Sequence[Picture]


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode, and what belongs to it."""

    model: nn.Module
    spec: ModelSpec
    preprocessing: Preprocessing
    label_names: tuple[str, ...]

    def inputs(self, images: Pictures) -> Float[Tensor, "B C H W"]:
        """Pictures of any size and mode as the model's input.

        Raises:
            DataError: there are none, or one is no picture.
        """
        pictures = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
        if not pictures:
            raise DataError("there are no images to classify; give one or more")
        pixels = np.stack([self.preprocessing.to_array(_opened(picture)) for picture in pictures])
        return self.preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2))

    @torch.no_grad()
    def predict(self, images: Pictures) -> Float[Tensor, "B Y"]:
        """Probabilities of each class for each picture; one picture is a batch of one.

        Raises:
            DataError: as `inputs`.
        """
        device = next(self.model.parameters()).device
        return self.model(self.inputs(images).to(device)).float().softmax(dim=1)


def _opened(picture: object) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, str | Path):
        return decode_image(Path(picture), str(picture))
    raise DataError(
        f"a picture is of type {type(picture).__name__}, expected a Pillow image or the path of an image file"
    )


def write_config(path: Path, recipe: Recipe, label_names: Sequence[str]) -> None:
    """Writes `config.json` of a resolved recipe: with the weights, all that prediction needs."""
    value = {
        "format": 1,
        "recipe": recipe.name,
        "model": recipe.model,
        "preprocessing": preprocessing_of(recipe).to_dict(),
        "label_names": list(label_names),
    }
    write_json(path, value)


def load(run_or_folder: str | Path) -> TrainedModel:
    """The trained model of a run folder, in evaluation mode on the CPU.

    Raises:
        RunError: no run is there, or its `config.json` cannot be read.
        CheckpointError: its weights are missing, truncated, or another model's.
    """
    folder = RunFolder.open(run_or_folder)
    config = folder.read_config()
    spec = spec_of_config(folder, config)
    preprocessing = Preprocessing.parse(config["preprocessing"], f"{folder.config}: preprocessing")
    label_names = tuple(str(name) for name in config["label_names"])
    if len(label_names) != spec.classes:
        raise RunError(
            f"{folder.config} has {len(label_names)} label names for {spec.classes} classes; is it from another run?"
        )
    model = build(spec)
    load_weights(folder.weights, model)
    return TrainedModel(model.eval(), spec, preprocessing, label_names)


def spec_of_config(folder: RunFolder, config: dict[str, Any]) -> ModelSpec:
    """The model spec in a run's `config.json`.

    Raises:
        RunError: a part of it is missing or of another kind.
    """
    for key, kind in (("model", dict), ("preprocessing", dict), ("label_names", list)):
        if key not in config:
            raise RunError(f"{folder.config} has no '{key}'; restore the file or train again")
        if not isinstance(config[key], kind):
            raise RunError(f"{folder.config}: {key} is {config[key]!r}; restore the file or train again")
    return parse_model(config["model"], f"{folder.config}: model")
