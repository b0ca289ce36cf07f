"""`vitscope train`: recipe and options in, run folder out, with progress and each epoch's place against the reference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitscope._core.errors import Interrupted, UsageError
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, SetOption, SourceOption, chosen
from vitscope.cli.screen import MEASURING, err, image_progress, print_json, tell_of_english_pictures

if TYPE_CHECKING:
    from vitscope.recipes.run import Prepared
    from vitscope.recipes.schema import Recipe
    from vitscope.runs import RunFolder
    from vitscope.train.events import Listener

_FIRST = "quickstart"


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help=f"A built-in recipe or a YAML file; {_FIRST} if left out.", show_default=False
        ),
    ] = None,
    data: SourceOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="RUN", help="The run folder; runs/RECIPE-DATE-TIME if left out.", show_default=False
        ),
    ] = None,
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out; needs no recipe.")] = False,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.load import load_recipe
    from vitscope.recipes.measure import finish
    from vitscope.recipes.run import default_folder, prepare_run, recipe_of_run, train_run
    from vitscope.runs import RunFolder

    language = chosen(lang)
    if resume:
        if out is None:
            raise UsageError("--resume needs --out RUN, the folder of the run to continue")
        plan = recipe_of_run(RunFolder.open(out))
        asked = recipe is not None or data is not None or set_
        if asked and not _becomes(load_recipe(recipe or _FIRST, changes=set_ or (), source=data), plan):
            raise UsageError(
                "--resume goes on with the run's own recipe, which is another than the one asked for; "
                "leave out RECIPE, --data and --set, or start a new run"
            )
    else:
        plan = load_recipe(recipe or _FIRST, changes=set_ or (), source=data)
        out = out if out is not None else default_folder(plan, datetime.now().strftime("%Y%m%d-%H%M%S"))
    first = os.environ.get("RANK", "0") == "0"  # of several processes one writes and speaks
    with RunFolder.claim(out, resume) if first else nullcontext(RunFolder(out)) as folder, _resumable(folder):
        if resume and folder.status() == "finished":
            if first:
                _complete(folder, language)
        else:
            with image_progress(language) as progress:
                prepared = prepare_run(plan, folder, progress, writes=first)
            with ExitStack() as stack:
                listeners = _listeners(prepared, language, stack)
                train_run(prepared, resume=resume, listeners=listeners)
            if first:
                with image_progress(language, MEASURING) as progress:
                    finish(folder, prepared.ingredients.data.val, prepared.reference, language, progress)
        if first:
            _report(folder, language, json_)


def _becomes(written: Recipe, own: Recipe) -> bool:
    """Whether a recipe as it is written leads to a run's own, which is complete: the command of the start may be given again."""
    from vitscope.data import SourceFacts
    from vitscope.recipes.load import model_spec, resolve, with_normalisation

    spec = model_spec(own)
    facts = SourceFacts(own.data.source, tuple(map(str, range(spec.classes))), spec.channels, spec.image_size, {})
    full = resolve(written, facts)
    if full.normalise is None and own.normalise is not None:
        full = with_normalisation(full, own.normalise.mean, own.normalise.std)
    words = {"name": own.name, "summary": own.summary.to_dict(), "expect": own.to_dict()["expect"]}
    return full.changed(**words) == resolve(own, facts)


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Says how to go on where an interrupt comes outside of the training loop, which says it itself."""
    try:
        yield
    except KeyboardInterrupt:
        if not folder.recipe.exists():  # there is nothing yet to go on with
            raise
        raise Interrupted(f"interrupted; go on with: vitscope train --resume --out {folder.path}") from None


def _listeners(prepared: Prepared, lang: Lang, stack: ExitStack) -> list[Listener]:
    from vitscope.cli.live import TrainingScreen
    from vitscope.recipes.measure import forget_results
    from vitscope.train.events import Event, Started

    def forget(event: Event) -> None:
        if isinstance(event, Started):  # not before: a resume may still be refused
            forget_results(prepared.folder)

    return [forget, stack.enter_context(TrainingScreen(prepared, lang, err()))]


def _complete(folder: RunFolder, lang: Lang) -> None:
    """What a training that was killed after its last epoch could not write any more, and what was lost or damaged since."""
    from vitscope.recipes.measure import finish, missing_results, table_to_measure
    from vitscope.recipes.mend import damaged, mend
    from vitscope.recipes.run import reference_of_run

    broken, missing = damaged(folder), missing_results(folder)
    if not (broken or missing):
        nothing = Text("{run} is finished; nothing to do", "{run} は学習を終えています。実行する処理はありません")
        _say(nothing.format(run=folder.path)[lang])
    if broken:
        again = Text(
            "{run}: {files} missing or damaged; making them again",
            "{run} の {files} がないか壊れているため、作り直します",
        )
        _say(again.format(run=folder.path, files=", ".join(broken))[lang])
        with image_progress(lang) as progress:
            mend(folder, broken, progress)
    if missing:
        made = Text(
            "{run} has trained to its end but lacks {files}; making them",
            "{run} の学習は終わっていますが {files} がありません。これから作ります",
        )
        _say(made.format(run=folder.path, files=", ".join(missing))[lang])
        with image_progress(lang) as progress:
            images = table_to_measure(folder, None, None, progress)
        with image_progress(lang, MEASURING) as progress:
            finish(folder, images, reference_of_run(folder), lang, progress)


def _report(folder: RunFolder, lang: Lang, as_json: bool) -> None:
    from vitscope.curves import judge
    from vitscope.recipes.run import reference_of_run
    from vitscope.runs import read_metrics

    rows = read_metrics(folder.metrics)
    verdict = judge(rows, reference_of_run(folder))
    if as_json:
        result: dict[str, Any] = {
            "run": str(folder.path),
            "state": folder.state().to_dict(),
            "metrics": [row.to_dict() for row in rows],
            "verdict": verdict.to_dict(),
        }
        print_json(result)
        return
    for finding in verdict.findings:
        if finding.kind != "standing" or verdict.standing != "unknown":
            _say(finding.text[lang])
    where = Text(
        "Run folder: {run}\n  curve.png         the learning curve\n  metrics.csv       a row an epoch\n"
        "  predictions.csv   what the model says of each validation image\n  evaluation.json   accuracy with its interval, per class, confusion\n"
        "Next: vitscope eval {run} · vitscope curve {run} · vitscope predict {run} IMAGE",
        "結果のフォルダ: {run}\n  curve.png         学習曲線\n  metrics.csv       エポックごとに1行\n"
        "  predictions.csv   検証画像それぞれへの予測\n  evaluation.json   正解率と信頼区間、クラス別、混同行列\n"
        "次のコマンド: vitscope eval {run} · vitscope curve {run} · vitscope predict {run} 画像",
    )
    _say(where.format(run=folder.path)[lang])
    tell_of_english_pictures(lang)


def _say(line: str) -> None:
    err().print(line)
