"""Somebody's own model by its place in Python code: `package.module:callable` in, an `nn.Module` out, or one sentence why not."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitscope._core.errors import UsageError
from vitscope._core.raised import CodeError, first_line, raised
from vitscope._core.suggest import a_, did_you_mean_text
from vitscope._core.text import Text


def model_from_code(place: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Imports a module, from the folder one stands in as `python -m` would, and calls what it holds.

    Args:
        place: `package.module:callable`; a class, a function or a finished module.
        arguments: keyword arguments for the call.

    Raises:
        ModelError: it cannot be imported or called, or gives no `nn.Module`.
    """
    name, _, attribute = place.partition(":")
    given = dict(arguments or {})
    found: Any = _imported(name, place)
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean_text(part, dir(found))
            raise CodeError(
                Text(
                    f"{name} has no '{attribute}'{hint.en}; give the name of a function or class that makes the model",
                    f"{name}に'{attribute}'がありません{hint.ja}。モデルを作る関数またはクラスの名前を指定してください",
                )
            )
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        kind = type(found).__name__
        raise CodeError(
            Text(
                f"{place} is {a_(kind)}, expected a function or a class that gives an nn.Module, or a module itself",
                f"{place}は{kind}です。nn.Moduleを返す関数かクラス、またはモジュール自体を指定してください",
            )
        )
    _refuse_wrong_arguments(place, found, given)
    try:
        model = found(**given)
    except (Exception, SystemExit) as error:
        told = raised(error)
        advice = _advice(error) or told.advice or _MEND
        raise CodeError(Text(f"{place} {told.did.en}; {advice.en}", f"{place}が{told.did.ja}。{advice.ja}")) from error
    if not isinstance(model, nn.Module):
        kind = "None" if model is None else type(model).__name__
        raise CodeError(
            Text(
                f"{place} gave {kind if model is None else a_(kind)}, expected an nn.Module; let it return the model",
                f"{place}が返したのは{kind}で、nn.Moduleではありません。モデルを返すようにしてください",
            )
        )
    return model


def defaults_of(place: str) -> dict[str, Any]:
    """What a class or function that makes a model takes where nothing is given, by name; nothing where that cannot be read."""
    name, _, attribute = place.partition(":")
    try:
        found: Any = sys.modules[name]
        for part in attribute.split("."):
            found = getattr(found, part)
        parameters = inspect.signature(found).parameters.values()
    except (KeyError, AttributeError, TypeError, ValueError):
        return {}
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def parse_kwargs(text: str | None, option: str = "--kwargs") -> dict[str, Any] | None:
    """The keyword arguments of `--kwargs`, or of another such option; None where there is no such option.

    Raises:
        UsageError: no JSON object.
    """
    if text is None:
        return None
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            Text(
                f"{option} is no JSON ({error}); write it as {_SAMPLE}",
                f"{option}がJSONとして読めません（{error}）。{_SAMPLE}のように書いてください",
            )
        ) from None
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise UsageError(
            Text(
                f"{option} is a JSON {kind}, expected an object such as {_SAMPLE}",
                f"{option}に渡されたJSONは{kind}ですが、{_SAMPLE}のようなオブジェクトを指定する必要があります",
            )
        )
    return values


_SAMPLE = "'{\"num_classes\": 10}'"


def _imported(name: str, place: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            meant = _a_file(name, place)
            raise CodeError(
                Text(
                    f"{meant.en}there is no Python module '{error.name}', here or among what is installed; stand in its folder or install it "
                    f"({place} is read as package.module:callable)",
                    f"{meant.ja}Pythonモジュール'{error.name}'が、このフォルダにもインストール済みのものにも見つかりません。そのファイルがある"
                    f"フォルダで実行するか、インストールしてください（{place}はpackage.module:callableとして読まれます）",
                )
            ) from error
        raise CodeError(
            Text(
                f"{name} cannot be imported: {_said(error)}; install what it needs beside vitscope",
                f"{name}をインポートできません。{_said(error)}。必要なものをvitscopeと同じ環境にインストールしてください",
            )
        ) from error
    except (Exception, SystemExit) as error:  # whatever somebody's file does when it is imported
        told = raised(error)
        advice = _advice(error) or told.advice or _MEND_FILE.format(name=name)
        raise CodeError(
            Text(
                f"{name} cannot be imported: it {told.did.en}; {advice.en}",
                f"{name}をインポートできません。{told.did.ja}。{advice.ja}",
            )
        ) from error
    finally:
        sys.path.remove(here)


def _a_file(name: str, place: str) -> Text:
    """The beginning of a sentence for `models.py:MyViT`, which names a file."""
    module = name.removesuffix(".py")
    if module == name or not module:
        return Text("", "")
    meant = f"{module}:{place.partition(':')[2]}"
    return Text(f"did you mean {meant}? ", f"{meant}の間違いではありませんか？")


def _refuse_wrong_arguments(place: str, found: Any, given: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # what is written in C may have none
        return
    try:
        signature.bind(**given)
    except TypeError as error:
        names = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        needs = f"it needs {', '.join(names)}" if names else f"it takes {', '.join(signature.parameters) or 'none'}"
        needs_ja = (
            f"必要な引数：{'、'.join(names)}" if names else f"受け取る引数：{'、'.join(signature.parameters) or 'なし'}"
        )
        raise CodeError(
            Text(
                f"{place} cannot be called like this ({error}); {needs}; give arguments as JSON with --kwargs",
                f"{place}をこのままでは呼び出せません（{error}）。{needs_ja}。引数は--kwargsにJSONで指定してください",
            )
        ) from None


_MEND = Text(
    "mend it, or give it what it needs with --kwargs",
    "修正するか、必要な引数を--kwargsで渡してください",
)
_MEND_FILE = Text(
    "mend it (python -c 'import {name}' shows where)",
    "修正してください（python -c 'import {name}'で場所が分かります）",
)


def _advice(error: BaseException) -> Text | None:
    """What to do about an error that is known: timm, transformers and vit-pytorch import torchvision, whose wheel fits one torch only."""
    seen: BaseException | None = error
    while seen is not None:
        if "operator torchvision::" in str(seen):
            return Text(
                f"the torchvision that is installed does not belong to torch {torch.__version__} and fails when it is imported; "
                "install the one that does (pip install --force-reinstall torch torchvision, both from the same index)",
                f"インストールされているtorchvisionがtorch {torch.__version__}に対応しておらず、インポートに失敗しています。対応するものを"
                "インストールしてください（pip install --force-reinstall torch torchvision、どちらも同じインデックスから）",
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _said(error: BaseException) -> str:
    name = type(error).__name__
    return f"{name} ({first_line(error)})" if str(error).strip() else name
