"""From a resolved recipe to objects: images, model, loaders, augmentation. The one place where the layers below meet."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from vitscope._core.errors import ConfigError
from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import Augmentation
from vitscope.data import BatchLoader, DataSplits, mean_std, open_data, peek
from vitscope.model.create import build
from vitscope.model.size import BYTES, size_of
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.load import model_spec, resolve, with_normalisation
from vitscope.recipes.schema import Recipe
from vitscope.runs.provenance import memory_bytes
from vitscope.train.randomness import global_generator_restored, seed_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Ingredients:
    """What a training needs, made from a recipe; `recipe` is the resolved one."""

    recipe: Recipe
    data: DataSplits
    preprocessing: Preprocessing
    model: nn.Module
    augmentation: Augmentation

    def train_batches(self) -> BatchLoader:
        """The training images, in an order that follows from `train.seed`."""
        train = self.recipe.train
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        parts = train.accumulate * processes
        if train.batch_size % parts:
            raise ConfigError(
                f"train.batch_size {train.batch_size} does not divide among {processes} processes and {train.accumulate} accumulated "
                f"parts; choose a multiple of {parts}"
            )
        size = train.batch_size // parts
        if size * processes > len(self.data.train):
            raise ConfigError(
                f"train.batch_size is {train.batch_size}, but there are {len(self.data.train)} training images; choose a smaller batch"
            )
        return BatchLoader(self.data.train, batch_size=size, shuffle=True, seed=train.seed, drop_last=train.drop_last)

    def val_batches(self) -> BatchLoader:
        """The images that the `val_` columns are measured on, each exactly once."""
        return BatchLoader(
            self.data.val, batch_size=self.recipe.train.eval_batch_size, shuffle=False, seed=0, drop_last=False
        )


def gather(recipe: Recipe, progress: Progress | None = None) -> Ingredients:
    """Opens the data, completes the recipe with what they say, and builds the rest.

    Args:
        recipe: as written, or resolved.
        progress: called with (done, total) while images are decoded.

    Raises:
        ConfigError, DataError, ModelError: what does not fit, in one sentence.
    """
    recipe = resolve(recipe, peek(recipe.data, progress=progress))
    spec = model_spec(recipe)
    _refuse_what_memory_cannot_hold(recipe, spec)
    data = open_data(recipe.data, image_size=spec.image_size, channels=spec.channels, progress=progress)
    if recipe.normalise is None:
        recipe = with_normalisation(recipe, *mean_std(data.train))
    preprocessing = preprocessing_of(recipe)
    with global_generator_restored():
        torch.manual_seed(seed_of(recipe.train.seed, "init"))
        model = build(spec)
    augmentation = Augmentation(recipe.augment, spec.classes, normalise=preprocessing.normalise)
    return Ingredients(recipe, data, preprocessing, model, augmentation)


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """What a resolved recipe does to an image before the model.

    Raises:
        ConfigError: the model's channels are those of no image.
    """
    spec = model_spec(recipe)
    assert recipe.normalise is not None
    if spec.channels not in (1, 3):
        raise ConfigError(f"model.channels is {spec.channels}, but images have 1 (greyscale) or 3 (colour)")
    return Preprocessing.parse(
        {
            "image_size": spec.image_size,
            "channels": cast(Literal[1, 3], spec.channels),
            "resize": recipe.data.resize,
            "mean": recipe.normalise.mean,
            "std": recipe.normalise.std,
        },
        "normalise",
    )


def _refuse_what_memory_cannot_hold(recipe: Recipe, spec: ModelSpec) -> None:
    """Says at once what building the model would find out after a long time, if it were not killed before.

    Raises:
        ConfigError: weights and optimizer state, the least that a training holds, are more than the machine's memory.
    """
    parameters, memory = size_of(spec).parameters, memory_bytes()
    copies = 3 if recipe.train.optimizer in ("adam", "adamw") else 2  # two moments of each number, or one
    needed = BYTES * parameters * copies
    if memory is not None and needed > memory:
        raise ConfigError(
            f"the model has {parameters:.3g} parameters, which with the state of {recipe.train.optimizer} take {needed / 2**30:,.1f} "
            f"GiB, but this machine has {memory / 2**30:,.1f} GiB of memory; choose a smaller model.depth or model.dim"
        )
