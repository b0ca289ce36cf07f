"""`vitscope eval`: a run in, accuracy with its interval, per class, confusion and calibration out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, RunArgument, SourceOption, chosen
from vitscope.cli.screen import MEASURING, err, image_progress, out, print_json, table

if TYPE_CHECKING:
    from vitscope.train.evaluation import Evaluation

WIDE = 20  # classes up to which the whole confusion matrix is printed


def evaluate(
    run: RunArgument,
    data: SourceOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="A split of the data by name, e.g. train; by default what the run was validated on.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.measure import measure_run, table_to_measure, write_evaluation
    from vitscope.runs import RunFolder

    language = chosen(lang)
    folder = RunFolder.open(run)
    with image_progress(language) as progress:
        images = table_to_measure(folder, data, split, progress)
    with image_progress(language, MEASURING) as progress:
        measured = measure_run(folder, images, progress)
    if json_:
        print_json({"run": str(run), "data": measured.table.name, **measured.evaluation.to_dict()})
    else:
        err().print(Text("measured on {table}", "測定データ: {table}").format(table=measured.table.name)[language])
        show(measured.evaluation, language)
    if data is None and split is None:
        write_evaluation(folder, measured)  # last: what was found is on the screen if this fails


def show(evaluation: Evaluation, lang: Lang) -> None:
    """Summary, classes and confusion as tables."""
    total, console = evaluation.total, out()
    head = Text(
        "accuracy {accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}; {right:,} of {images:,}), loss {loss:.4f}, "
        "calibration error {ece:.1f} %{top5}",
        "正解率 {accuracy:.2f} %（95 % 信頼区間 {low:.2f}〜{high:.2f}、{images:,} 枚中 {right:,} 枚）、損失 {loss:.4f}、較正誤差 {ece:.1f} %{top5}",
    ).format(
        accuracy=total.accuracy,
        low=total.low,
        high=total.high,
        right=total.right,
        images=total.images,
        loss=evaluation.loss,
        ece=evaluation.calibration_error,
        top5=""
        if evaluation.top5 is None
        else Text(", top-5 {0:.2f} %", "、上位5位以内 {0:.2f} %")[lang].format(evaluation.top5),
    )
    console.print(head[lang], soft_wrap=True)
    words = {
        "class": Text("class", "クラス"),
        "images": Text("images", "枚数"),
        "accuracy": Text("accuracy %", "正解率 %"),
        "interval": Text("95 % interval", "95 % 信頼区間"),
        "mistaken": Text("most often mistaken for", "最も多い誤分類先"),
    }
    classes = table(*(w[lang] for w in words.values()), numbers=(1, 2, 3))
    for i, (name, part) in enumerate(zip(evaluation.label_names, evaluation.per_class, strict=True)):
        wrong = [(n, j) for j, n in enumerate(evaluation.confusion[i]) if j != i and n]
        worst = f"{evaluation.label_names[max(wrong)[1]]} ({max(wrong)[0]})" if wrong else "–"
        shown = f"{part.accuracy:.1f}" if part.images else "–"
        classes.add_row(name, str(part.images), shown, f"{part.low:.1f} – {part.high:.1f}", worst)
    console.print(classes)
    if len(evaluation.label_names) <= WIDE:
        console.print(
            Text(
                "\nconfusion: rows are true classes, columns what the model said",
                "\n混同行列: 行が正解、列が予測",
            )[lang]
        )
        matrix = table(
            "",
            *(name[:10] for name in evaluation.label_names),
            numbers=tuple(range(1, len(evaluation.label_names) + 1)),
        )
        for name, row in zip(evaluation.label_names, evaluation.confusion, strict=True):
            matrix.add_row(name, *(str(n) if n else "·" for n in row))
        console.print(matrix)
