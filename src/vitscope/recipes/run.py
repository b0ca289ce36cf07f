"""A whole run: recipe in, run folder out. What `vitscope train` does, without its progress bar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitscope._core.files import write_json, write_text
from vitscope.curves import load_reference
from vitscope.curves.reference import ReferenceCurve
from vitscope.recipes.build import Ingredients, Progress, gather
from vitscope.recipes.load import dump_recipe, identity, parse_recipe
from vitscope.recipes.schema import Recipe
from vitscope.recipes.trained import write_config
from vitscope.runs import RunFolder, environment
from vitscope.train.events import Listener
from vitscope.train.fit import FitResult, fit
from vitscope.train.machine import check_machine


@dataclass(frozen=True)
class Prepared:
    """A run that is about to begin: its folder, its ingredients, and the curve it is held against."""

    folder: RunFolder
    ingredients: Ingredients
    reference: ReferenceCurve | None


def prepare_run(
    recipe: Recipe, folder: RunFolder, progress: Progress | None = None, *, writes: bool = True
) -> Prepared:
    """Opens the data, builds the model, and writes down what the run is made of; the folder is held by the caller.

    Of several processes only the one with `writes` touches the folder.
    """
    check_machine(recipe.train)
    ingredients = gather(recipe, progress)
    ingredients.train_batches()  # a batch that is too large shows before anything is written
    if writes:
        _write_what_is_missing(folder, ingredients)
    return Prepared(folder, ingredients, reference_for(ingredients))


def _write_what_is_missing(folder: RunFolder, ingredients: Ingredients) -> None:
    """What a run is made of; a start that was killed between two of these files is made whole by the next."""
    begun = folder.recipe.exists()  # written last
    if not (begun and folder.config.exists()):
        write_config(folder.config, ingredients.recipe, ingredients.data.label_names)
    if not (begun and folder.environment.exists()):
        write_json(folder.environment, {**environment(), "data": ingredients.data.to_dict()})
    if not begun:
        write_text(folder.recipe, dump_recipe(ingredients.recipe))


def reference_for(ingredients: Ingredients) -> ReferenceCurve | None:
    """The recipe's reference curve, if this run is measured on what the reference was measured on."""
    if ingredients.recipe.reference is None:
        return None
    reference = load_reference(ingredients.recipe.reference)
    data = ingredients.data
    return reference if reference.applies_to(data.label_names, len(data.val)) else None


def train_run(prepared: Prepared, *, resume: bool = False, listeners: Sequence[Listener] = ()) -> FitResult:
    """Trains until the recipe's end; metrics, weights and checkpoints go to the folder."""
    ingredients = prepared.ingredients
    return fit(
        ingredients.model,
        ingredients.train_batches(),
        ingredients.recipe.train,
        val_batches=ingredients.val_batches(),
        augment=ingredients.augmentation,
        prepare=ingredients.preprocessing.normalise,
        folder=prepared.folder,
        resume=resume,
        identity=identity(ingredients.recipe, ingredients.data.content_key),
        listeners=listeners,
    )


def recipe_of_run(folder: RunFolder) -> Recipe:
    """The resolved recipe that a run was trained with."""
    return parse_recipe(folder.read_recipe_text(), str(folder.recipe))


def default_folder(recipe: Recipe, stamp: str) -> Path:
    """`runs/RECIPE-DATE-TIME`, whatever the recipe is called."""
    name = re.sub(r"[^\w.-]+", "-", recipe.name).strip("-.") or "run"
    return Path("runs") / f"{name}-{stamp}"


def reference_of_run(folder: RunFolder) -> ReferenceCurve | None:
    """The reference that a run on the disk is held against by default: its recipe's, where its data are the reference's."""
    if not folder.recipe.exists():
        return None
    recipe = recipe_of_run(folder)
    if recipe.reference is None:
        return None
    reference = load_reference(recipe.reference)
    data = folder.read_environment().get("data", {})
    return reference if reference.applies_to(tuple(data.get("label_names", ())), data.get("val_images", 0)) else None
