"""What a MODEL on the command line means: a built-in name, a YAML file, a run folder, or code. A word in, its kind or its spec out. No torch
but for a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal

from vitscope._core.errors import UsageError, VitscopeError
from vitscope._core.text import Text
from vitscope.model.presets import spec_by_name
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.load import apply_change, spec_of_file

LONGEST = 255
"""Letters of a file's name that file systems take."""

Kind = Literal["name", "file", "run", "code"]

_CODE = re.compile(r"[^\W\d]\w*(\.\w+)*:[^\W\d]\w*(\.\w+)*")
"""`package.module:callable`, in any letters that Python takes."""


_NAMES_JA = "組み込みの名前、YAMLファイル、結果フォルダのいずれかを指定してください"


def kind_of(model: str) -> Kind:
    """What a word names. A folder beside that is called like a built-in model is not meant.

    Raises:
        UsageError: a path that is neither a YAML file nor a run folder, or a module without the name of what makes the model.
    """
    path = Path(model)
    if max(map(len, path.parts), default=0) > LONGEST:
        raise UsageError(
            Text(
                f"{model[:60]}… is too long for a name; give a built-in name, a YAML file or a run folder",
                f"{model[:60]}…は名前として長すぎます。{_NAMES_JA}",
            )
        )
    if path.suffix in (".yaml", ".yml"):
        return "file"
    if path.is_dir() and not _is_name(model):
        if (path / "__init__.py").is_file():
            _refuse_module(".".join(path.parts))
        return "run"
    if _CODE.fullmatch(model):
        return "code"
    file, _, what = model.partition(":")
    if file.endswith(".py") or "(" in what:
        place = Path(file.removesuffix(".py"))
        module = place.name if place.is_absolute() else ".".join(place.parts)
        meant = f"{module}:{what.partition('(')[0] or 'NAME'}"
        raise UsageError(
            Text(
                f"{model} names no model; write {meant}, module and the name of what makes it (its arguments go into --kwargs), and stand in the "
                "folder that the module is in",
                f"{model}はモデルの指定になっていません。モジュールがあるフォルダで、{meant}のように、モジュールとモデルを作るものの名前を指定してください"
                "（引数は--kwargsで渡します）",
            )
        )
    if "/" in model or "\\" in model or path.is_file():
        is_file = path.is_file()
        raise UsageError(
            Text(
                f"{model} {'is a file that is no YAML' if is_file else 'does not exist'}; give a built-in name, a YAML file or a run folder",
                f"{model}は{'YAMLではないファイルです' if is_file else '存在しません'}。{_NAMES_JA}",
            )
        )
    _refuse_module(model)
    return "name"


def _refuse_module(model: str) -> None:
    """Refuses `package.module`, which somebody has written who forgot `:callable`.

    Raises:
        UsageError: there is such a module; nothing of it is run to see that.
    """
    parts = model.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    count = next((count for count in range(len(parts), 0, -1) if _is_module(parts[:count])), None)
    if count is None:
        return
    module, rest = ".".join(parts[:count]), ".".join(parts[count:])
    meant = f"{module}:{rest or 'NAME'}"
    raise UsageError(
        Text(
            f"{module} is a Python module; write {meant} (package.module:callable), with the name of the class or function that makes the model",
            f"{module}はPythonモジュールです。モデルを作るクラスまたは関数の名前を付けて、{meant}のように指定してください"
            "（package.module:callableの形）",
        )
    )


def _is_module(parts: Sequence[str]) -> bool:
    """Whether there is such a module, here or among what is installed."""
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    found: ModuleSpec | None = None
    for part in parts:
        found = None if places is None else PathFinder.find_spec(part, places)
        if found is None:
            return False
        inside = found.submodule_search_locations
        places = None if inside is None else list(inside)
    return found is not None and found.origin is not None


def is_curve(target: str) -> bool:
    """Whether a word names a metrics file instead of a model."""
    return Path(target).suffix.lower() == ".csv"


def spec_of(model: str, changes: Sequence[str] = ()) -> tuple[ModelSpec, tuple[str, ...]]:
    """The spec behind a name, a recipe or spec in YAML, or a run folder; and which of its settings data will decide.

    Raises:
        UsageError: `package.module:callable`, which has no spec, or changes to a run, which is as it was trained.
        ConfigError: a change that does not exist or does not fit.
    """
    kind, changed = kind_of(model), _changed(changes)
    if kind == "file":
        spec = spec_of_file(Path(model), changed)
        return spec, tuple(key for key in ("channels", "classes") if key not in spec.model_fields_set)
    if kind == "run":
        from vitscope.recipes.trained import spec_of_config
        from vitscope.runs import RunFolder

        if changed:
            raise UsageError(
                f"{model} is a run, whose model is as it was trained; use --set on a built-in name or a YAML file"
            )
        folder = RunFolder.open(model)
        return spec_of_config(folder, folder.read_config()), ()
    if kind == "code":
        raise UsageError(
            f"'{model}' is code; explain works in closed form and takes a built-in name, a YAML file or a run folder"
        )
    return spec_by_name(model, changed), ()


def _changed(changes: Sequence[str]) -> dict[str, Any]:
    """The settings that `--set` asks for, written as the model's own (`depth=6`) or as a recipe's (`model.depth=6`)."""
    values: dict[str, Any] = {}
    for change in changes:
        apply_change(values, change.strip().removeprefix("model."))
    return values


def _is_name(model: str) -> bool:
    with suppress(VitscopeError):
        spec_by_name(model)
        return True
    return False
