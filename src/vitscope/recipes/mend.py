"""A finished run that lost a file, or holds a damaged one: which they are, and how they are made again. In goes a run folder.

The recipe and the facts on the data give `config.json`, the checkpoint gives metrics and weights: none of it needs the images. They are
needed only where the facts themselves, in `environment.json`, are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vitscope._core.errors import CheckpointError, RunError, VitscopeError
from vitscope._core.files import write_json
from vitscope._core.preprocessing import Preprocessing
from vitscope.data import open_data
from vitscope.model.create import build
from vitscope.recipes.build import Progress, preprocessing_of
from vitscope.recipes.load import identity, model_spec
from vitscope.recipes.run import recipe_of_run
from vitscope.recipes.schema import Recipe
from vitscope.recipes.trained import spec_of_config, write_config
from vitscope.runs import EpochMetrics, RunFolder, environment, read_metrics, write_metrics
from vitscope.train.checkpoint import STATE_FILE, load_checkpoint, load_weights, save_weights
from vitscope.train.ema import RunningMean


def damaged(folder: RunFolder) -> list[str]:
    """Names of the files of a finished run that are missing, cannot be read, or are not its own.

    Raises:
        RunError: its recipe cannot be read, from which all else follows.
    """
    recipe = recipe_of_run(folder)
    checks: dict[Path, Callable[[], object]] = {
        folder.environment: lambda: _facts(folder),
        folder.config: lambda: _check_config(folder, recipe),
        folder.metrics: lambda: _check_metrics(folder),
        folder.weights: lambda: load_weights(folder.weights, build(model_spec(recipe))),
    }
    found = []
    for file, check in checks.items():
        try:
            check()
        except VitscopeError:
            found.append(file.name)
    return found


def mend(folder: RunFolder, names: Sequence[str], progress: Progress | None = None) -> None:
    """Makes files of a finished run again, as they were.

    Raises:
        CheckpointError: the checkpoint, which is needed for it, is missing, damaged, another training's, or older than the run.
        DataError: the images, which are needed for it, cannot be opened.
    """
    recipe = recipe_of_run(folder)
    spec = model_spec(recipe)
    lost = folder.environment.name in names
    facts = (
        open_data(recipe.data, image_size=spec.image_size, channels=spec.channels, progress=progress).to_dict()
        if lost
        else _facts(folder)
    )
    rest = [name for name in names if name != folder.config.name]
    if rest:  # before anything is written: it also shows whether the images are still the run's
        rows, states = _checkpoint(folder, identity(recipe, facts["content_key"]), ", ".join(rest))
    if lost:
        write_json(folder.environment, {**environment(), "data": facts})
    if folder.config.name in names:
        write_config(folder.config, recipe, facts["label_names"])
    if folder.metrics.name in names:
        write_metrics(folder.metrics, rows)
    if folder.weights.name in names:
        save_weights(folder.weights, _result(recipe, states))


def _facts(folder: RunFolder) -> dict[str, Any]:
    """What the run knows of its data."""
    facts = folder.read_environment().get("data")
    if not isinstance(facts, dict) or not {"content_key", "label_names"} <= facts.keys():
        raise RunError(f"{folder.environment} tells nothing of the data; restore it or resume the run")
    return facts


def _check_config(folder: RunFolder, recipe: Recipe) -> None:
    config = folder.read_config()
    spec = spec_of_config(folder, config)
    same = spec == model_spec(recipe) and len(config["label_names"]) == spec.classes
    if not (same and Preprocessing.parse(config["preprocessing"], "preprocessing") == preprocessing_of(recipe)):
        raise RunError(f"{folder.config} is of another run; restore it or resume the run")


def _check_metrics(folder: RunFolder) -> None:
    rows, epochs = len(read_metrics(folder.metrics)), folder.state().epochs
    if rows < epochs or not folder.metrics.read_bytes().endswith(b"\n"):  # else its last row was cut
        raise RunError(f"{folder.metrics} holds less than {epochs} whole epochs; restore it or resume the run")


def _checkpoint(folder: RunFolder, whose: dict[str, str], wanted: str) -> tuple[list[EpochMetrics], dict[str, Any]]:
    """The rows and the states that the run ended with."""
    file, ended = folder.checkpoint / STATE_FILE, folder.state().epochs
    found = load_checkpoint(folder.checkpoint, whose)
    if found is None:
        raise CheckpointError(
            f"{file} does not exist, from which {wanted} could be made again; "
            "put a copy of either back, or train again with another --out"
        )
    progress, states = found
    if progress.epoch != ended:
        raise CheckpointError(
            f"{file} is of epoch {progress.epoch}, but the run ended with epoch {ended}; "
            f"put the newer one back, or delete {folder.state_file} to train on from there"
        )
    return progress.rows, states


def _result(recipe: Recipe, states: dict[str, Any]) -> nn.Module:
    """The model with the weights that are the run's result: the last ones, or their running mean."""
    model = build(model_spec(recipe))
    if recipe.train.ema is None:
        model.load_state_dict(states["model"])
        return model
    mean = RunningMean(model, recipe.train.ema)
    mean.load_state_dict(states["mean"])
    return mean.module
