"""`vitscope explain`: a built-in name, a YAML file or a run in, the eight stages of its pipeline with their why out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitscope._core.errors import UsageError
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import PlainTable, big, out, print_json, table

if TYPE_CHECKING:
    from vitscope.model.pipeline import Pipeline
    from vitscope.model.specimens.spec import ModelSpec

_CODE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
"""`package.module:callable`."""


def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A built-in name, a YAML file with a model: part, or a run folder.",
            show_default=False,
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting of the model, e.g. --set pooling=mean; can be repeated.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.model.pipeline import pipeline_of
    from vitscope.model.size import activation_bytes, size_of

    language = chosen(lang)
    spec, follow_data = spec_of(model, set_ or ())
    pipeline = pipeline_of(spec, follow_data=follow_data)
    if json_:
        print_json({"model": model, "spec": spec.to_dict(), **pipeline.to_dict(), "size": size_of(spec).to_dict()})
        return
    out().print(_table_of(pipeline, model, language))
    for note in pipeline.notes:
        out().print(f"\n{note[language]}", soft_wrap=True)
    gap = "" if language == "ja" else " "
    for stage in pipeline.stages:
        out().print(f"\n{stage.number}. {stage.name[language]}", style="bold")
        out().print(f"   {stage.what[language]}{gap}{stage.why[language]}", soft_wrap=True)
        for said in stage.notes:
            out().print(f"   ← {said.text[language]}", soft_wrap=True)
    memory = Text(
        "\nTraining on a CPU keeps about {mib:.1f} MiB of activations an image (fp32). FLOPs are for one image forward, two per multiply-add.",
        "\nCPUでの学習中は画像1枚あたり約 {mib:.1f} MiB の活性値（アクティベーション）を保持します（fp32）。"
        "FLOPsは画像1枚の順伝播の値で、積和1回を2と数えます。",
    )
    out().print(memory.format(mib=activation_bytes(spec) / 2**20)[language], soft_wrap=True)


def _table_of(pipeline: Pipeline, title: str, lang: Lang) -> PlainTable:
    heads = (
        Text("#", "#"),
        Text("stage", "段階"),
        Text("shape", "形状"),
        Text("parameters", "パラメータ数"),
        Text("FLOPs", "FLOPs"),
    )
    shown = table(*(head[lang] for head in heads), numbers=(0, 3, 4), title=title)
    for stage in pipeline.stages:
        name = " ← ".join((stage.name[lang], *(note.mark[lang] for note in stage.notes)))
        shown.add_row(str(stage.number), name, stage.shape, f"{stage.parameters:,}", big(stage.flops))
    shown.add_row("", Text("in all", "合計")[lang], "", f"{pipeline.parameters:,}", big(pipeline.flops))
    return shown


def spec_of(model: str, changes: Sequence[str] = ()) -> tuple[ModelSpec, tuple[str, ...]]:
    """The spec behind a name, a recipe or spec in YAML, or a run folder; and which of its settings data will decide.

    Raises:
        UsageError: `package.module:callable`, which has no spec, or changes to a run, which is as it was trained.
        ConfigError: a change that does not exist or does not fit.
    """
    from vitscope.model.presets import spec_by_name
    from vitscope.recipes.load import spec_of_file

    path, changed = Path(model), _changed(changes)
    if path.suffix in (".yaml", ".yml"):
        spec = spec_of_file(path, changed)
        return spec, tuple(key for key in ("channels", "classes") if key not in spec.model_fields_set)
    if path.is_dir() and not is_name(model):
        from vitscope.recipes.trained import spec_of_config
        from vitscope.runs import RunFolder

        if changed:
            raise UsageError(
                f"{model} is a run, whose model is as it was trained; use --set on a built-in name or a YAML file"
            )
        folder = RunFolder.open(path)
        return spec_of_config(folder, folder.read_config()), ()
    if _CODE.fullmatch(model):
        raise UsageError(
            f"'{model}' is code; explain works in closed form and takes a built-in name, a YAML file or a run folder"
        )
    if "/" in model or "\\" in model or path.is_file():
        what = "is a file that is no YAML" if path.is_file() else "does not exist"
        raise UsageError(f"{model} {what}; give a built-in name, a YAML file or a run folder")
    return spec_by_name(model, changed), ()


def _changed(changes: Sequence[str]) -> dict[str, Any]:
    """The settings that `--set` asks for, written as the model's own (`depth=6`) or as a recipe's (`model.depth=6`)."""
    from vitscope.recipes.load import apply_change

    values: dict[str, Any] = {}
    for change in changes:
        apply_change(values, change.strip().removeprefix("model."))
    return values


def is_name(model: str) -> bool:
    """Whether a model is built in under this name, also where a folder beside is called the same."""
    from vitscope._core.errors import VitscopeError
    from vitscope.model.presets import spec_by_name

    with suppress(VitscopeError):
        spec_by_name(model)
        return True
    return False
