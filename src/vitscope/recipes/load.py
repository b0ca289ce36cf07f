"""Recipes from names and files, with changes from the command line. In go words, out comes a validated `Recipe`. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from vitscope._core.errors import ConfigError, VitscopeError
from vitscope._core.suggest import did_you_mean
from vitscope.data.sources import SOURCE_NAMES
from vitscope.data.sources.base import SourceFacts
from vitscope.model.presets import parse_model
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.schema import MODEL_EXPECTED, Normalise, Recipe
from vitscope.recipes.yaml_text import read_mapping, read_yaml, what_is_wrong

# What a model takes over from data that are known without being read.
_FOLLOWS: dict[str, dict[str, int]] = {
    "digits": {"classes": 10, "channels": 1},
    "cifar10": {"classes": 10, "channels": 3},
    "cifar100": {"classes": 100, "channels": 3},
}
# These change how a training is watched and saved, not what comes out of it.
_WITHOUT_EFFECT = ("trackers", "checkpoint_every", "eval_batch_size")
# Settings of the model that a version added, with the value that is off: there, runs of earlier versions are the same training.
_CAME_LATER = (("tokenizer_widths", None), ("patch_dropout", 0.0))


def recipe_names() -> tuple[str, ...]:
    """The built-in recipes, `quickstart` first."""
    names = {
        file.name.removesuffix(".yaml")
        for file in (files("vitscope.recipes") / "zoo").iterdir()
        if file.name.endswith(".yaml")
    }
    return tuple(sorted(names, key=lambda name: (name != "quickstart", name)))


def load_recipe(name_or_file: str, *, changes: Iterable[str] = (), source: str | None = None) -> Recipe:
    """A recipe by its name or from a YAML file.

    Args:
        name_or_file: `quickstart`, … or the path of a YAML file.
        changes: `train.lr=0.001` and the like; values are read as YAML.
        source: replaces `data.source`; what only fits the old source (its archive, columns, split names) is dropped with it.

    Raises:
        ConfigError: no such recipe, a wrong key or value (with the nearest name), or a change of `data.source` to another than `source`.
    """
    values = _read(name_or_file)
    data = values.get("data") or {}
    if source is not None and isinstance(data, Mapping) and source != data.get("source"):
        kept = {k: v for k, v in data.items() if k in ("val_fraction", "split_seed", "limit", "skip_corrupt", "resize")}
        values["data"] = {**kept, "source": source}
    for change in changes:
        apply_change(values, change)
    data = values.get("data")
    if source is not None and isinstance(data, Mapping) and data.get("source") != source:
        raise ConfigError(
            f"--data says {source!r}, but --set makes data.source {data.get('source')!r}; drop one of the two"
        )
    try:
        return _checked(values)
    except VitscopeError as error:
        if name_or_file in recipe_names() or str(error) != _fault_of(_read(name_or_file)):
            raise
        raise type(error)(f"{name_or_file}: {error}") from None


def parse_recipe(text: str, where: str) -> Recipe:
    """A recipe from YAML text, e.g. a run's `recipe.yaml`."""
    values = read_mapping(text, where)
    with _said_of(where):
        return Recipe.parse(values)


def _checked(values: Mapping[str, Any]) -> Recipe:
    recipe = Recipe.parse(values)
    model_spec(recipe)  # a wrong model setting shows now, before any image is read
    return recipe


def _fault_of(values: Mapping[str, Any]) -> str | None:
    """What is wrong with a recipe as it stands in its file, without what the command line makes of it."""
    try:
        _checked(values)
    except VitscopeError as error:
        return str(error)
    return None


def dump_recipe(recipe: Recipe) -> str:
    """YAML text that reads back to the same recipe."""
    return yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True, width=120)


def apply_change(values: dict[str, Any], change: str) -> None:
    """Sets one key, as `--set a.b=c` asks.

    Raises:
        ConfigError: it has not the form KEY=VALUE, or the value is no YAML.
    """
    key, equals, text = change.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {change!r} is not of the form KEY=VALUE; write for example --set train.lr=0.001")
    try:
        value = read_yaml(text) if text.strip() else None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {key}: {text!r} is not a YAML value ({what_is_wrong(error)}); mend it or put quotes around it"
        ) from None
    place = values
    for part in path[:-1]:
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        elif not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: '{part}' is {inner!r} and holds no keys; set it as a whole")
        place = inner
    place[path[-1]] = value


def resolve(recipe: Recipe, facts: SourceFacts) -> Recipe:
    """The recipe with nothing left open: the model complete, its classes and channels those of the data.

    Raises:
        ConfigError: the recipe asks for another number of classes than the data have.
    """
    wanted = recipe.model.get("classes")
    if wanted is not None and wanted != len(facts.label_names):
        raise ConfigError(
            f"model.classes is {wanted}, but {facts.name} has {len(facts.label_names)} classes; leave model.classes out or choose other data"
        )
    given = {"classes": len(facts.label_names), "channels": facts.channels}
    spec = parse_model({**given, **recipe.model})
    data = recipe.data.changed(source=settled(recipe.data.source), archive=_absolute(recipe.data.archive))
    return recipe.changed(model=spec.to_dict(), data=data.to_dict())


def settled(source: str) -> str:
    """A source by a name that means the same from any folder: a path in full, all else as it is."""
    head, colon, rest = source.partition(":")
    if source in SOURCE_NAMES or head == "hub":
        return source
    return f"{head}:{_absolute(rest)}" if colon and head in SOURCE_NAMES else str(_absolute(source))


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().absolute()) if path else path


def with_normalisation(recipe: Recipe, mean: tuple[float, ...], std: tuple[float, ...]) -> Recipe:
    """The recipe with measured normalisation filled in; a channel that never varies is left at a deviation of 1."""
    return recipe.changed(normalise=Normalise(mean=mean, std=tuple(s if s > 0 else 1.0 for s in std)).to_dict())


def model_spec(recipe: Recipe) -> ModelSpec:
    """The spec of a recipe's model."""
    return parse_model(recipe.model)


def identity(recipe: Recipe, content_key: str) -> dict[str, str]:
    """Digests of all that decides what a training becomes; checkpoints of another one are refused."""
    parts = recipe.to_dict()
    train = {k: v for k, v in parts["train"].items() if k not in _WITHOUT_EFFECT}
    model = {k: v for k, v in parts["model"].items() if (k, v) not in _CAME_LATER}
    decisive = {
        "model": model,
        "augment": parts["augment"],
        "normalise": parts["normalise"],
        "train": train,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return {"recipe": digest, "set of images": content_key}


_MODEL_WANTED = "a YAML file (a recipe, or the settings of a model such as name: good-vit), or a built-in name, of which 'vitscope models' has a list"


def spec_of_file(path: Path, changed: Mapping[str, Any] | None = None) -> ModelSpec:
    """The model of a YAML file: a recipe's `model:` part, or a file that holds nothing but model settings; with some of them changed.

    Of `classes` and `channels`, those that neither the file nor its data tell are not in the spec's `model_fields_set`.

    Raises:
        ConfigError: it does not exist, is no YAML, or holds a wrong key or value.
    """
    values = _read_file(path, _MODEL_WANTED)
    if not values:
        raise ConfigError(f"{path} holds nothing, expected model settings such as name: vit-ti4-32")
    with _said_of(str(path)):
        if "model" not in values:
            if values.keys() & (Recipe.model_fields.keys() - {"name"}):
                Recipe.parse(values)  # a recipe, which says what became of its model
            return parse_model({**values, **(changed or {})}, "")
        inner = values["model"]
        if not isinstance(inner, Mapping):
            raise ConfigError(f"model is {inner!r}, {MODEL_EXPECTED}")
        return parse_model({**_taken_over(values.get("data")), **inner, **(changed or {})})


def _taken_over(data: Any) -> dict[str, int]:
    """What a model takes over from the data of a file: nothing where they would have to be read first."""
    if not isinstance(data, Mapping):
        return {}
    known = _FOLLOWS.get(str(data.get("source")).partition(":")[0], {})  # cifar10:ARCHIVE
    other_labels = data.get("label_column") is not None  # such as the twenty coarse ones of cifar100
    return {key: value for key, value in known.items() if not (other_labels and key == "classes")}


@contextmanager
def _said_of(file: str) -> Iterator[None]:
    """Puts the file in front of what is wrong in it."""
    try:
        yield
    except VitscopeError as error:
        raise type(error)(f"{file}: {str(error).removeprefix('.')}") from None


def _read(name_or_file: str) -> dict[str, Any]:
    if name_or_file in recipe_names():
        file = files("vitscope.recipes") / "zoo" / f"{name_or_file}.yaml"
        return read_mapping(file.read_text(encoding="utf-8"), name_or_file)
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        hint = did_you_mean(name_or_file, recipe_names()) or f"; built in are: {', '.join(recipe_names())}"
        raise ConfigError(f"no recipe '{name_or_file}'{hint}; a recipe of your own is a file that ends in .yaml")
    return {"name": path.stem, **_read_file(path)}


def _read_file(path: Path, wanted: str = "") -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        wanted = wanted or f"a YAML file or one of: {', '.join(recipe_names())}"
        raise ConfigError(f"{path} does not exist; give {wanted}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path} ({error}); give a YAML file in UTF-8") from None
    return read_mapping(text, str(path))
