"""`vitscope explain`: a built-in name, a YAML file or a run in, the eight stages of its pipeline with their why out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import PlainTable, big, out, print_json, table

if TYPE_CHECKING:
    from vitscope.model.pipeline import Pipeline


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
    from vitscope.recipes.naming import spec_of

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
