"""All that there is to say of a trained run: a run folder in, a `RunSeen` out, numbers without a language.

What the run wrote at its end is taken from there; where it is missing or damaged, the weights are measured again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from vitscope._core.errors import DataError, RunError
from vitscope._core.text import Text
from vitscope.curves import Verdict, judge
from vitscope.curves.layout import distinct_names
from vitscope.curves.reference import ReferenceCurve
from vitscope.model.size import size_of
from vitscope.recipes.measure import Prediction, measure_run, predictions_of, read_results, table_to_measure
from vitscope.recipes.run import recipe_of_run, reference_of_run
from vitscope.recipes.schema import Recipe
from vitscope.recipes.trained import TrainedModel, load
from vitscope.report.judging.pictures import Gallery, PositionChange, gallery_of, position_change
from vitscope.runs import EpochMetrics, RunFolder, read_metrics
from vitscope.train.evaluation import Evaluation

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class RunSeen:
    """A run, read and measured."""

    name: str
    path: Path
    is_finished: bool
    rows: tuple[EpochMetrics, ...]
    reference: ReferenceCurve | None
    verdict: Verdict
    data_name: str
    """What the evaluation was measured on."""
    evaluation: Evaluation | None
    predictions: tuple[Prediction, ...]
    recipe: Recipe | None
    environment: dict[str, Any]
    trained: TrainedModel
    gallery: Gallery
    position: PositionChange
    notes: tuple[Text, ...]

    @property
    def parameters(self) -> int:
        """Numbers that the model learns."""
        return size_of(self.trained.spec).parameters

    @property
    def seconds(self) -> float:
        """Wall time of the training, evaluation included."""
        return self.rows[-1].seconds

    @property
    def images_per_second(self) -> float | None:
        """The median over the epochs."""
        known = [row.images_per_second for row in self.rows if 0 < row.images_per_second < math.inf]
        return statistics.median(known) if known else None

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """What is most often taken for what: right class, predicted class, images."""
        if self.evaluation is None:
            return []
        names, matrix = self.evaluation.label_names, self.evaluation.confusion
        pairs = [(names[i], names[j], n) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
        return sorted(pairs, key=lambda pair: -pair[2])[:8]

    def commands(self) -> list[str]:
        """What brings this run about again: as it was started, where vitscope was, and from its recipe."""
        words = _command_of(self.environment)
        own = [" ".join(map(quote, words))] if words[:2] == ["vitscope", "train"] else []
        if self.recipe is None:
            return own
        path = self.path if self.path.name not in ("", "..") else self.path.resolve()
        return [*own, f"vitscope train {quote(str(path / 'recipe.yaml'))} --out {quote(str(path) + '-again')}"]

    def to_dict(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "run": str(self.path),
            "name": self.name,
            "finished": self.is_finished,
            "metrics": [row.to_dict() for row in self.rows],
            "reference": self.reference.name if self.reference else None,
            "verdict": self.verdict.to_dict(),
            "data": self.data_name,
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "mistakes": [shown.to_dict() for shown in self.gallery.mistakes],
            "hardest": [shown.to_dict() for shown in self.gallery.hardest],
            "position": self.position.to_dict(),
            "environment": self.environment,
            "commands": self.commands(),
            "notes": [note.to_dict() for note in self.notes],
        }


def see(paths: Sequence[Path], progress: Progress | None = None) -> list[RunSeen]:
    """Reads runs, each by a name that no other has.

    Raises:
        RunError: a folder is no run, or has no epoch yet.
        CheckpointError: its weights are missing or damaged.
    """
    folders = [RunFolder.open(path) for path in paths]
    names = distinct_names([folder.path.resolve().name for folder in folders])
    return [_see(name, folder, progress) for name, folder in zip(names, folders, strict=True)]


def _see(name: str, folder: RunFolder, progress: Progress | None) -> RunSeen:
    trained = load(folder.path)
    rows = tuple(read_metrics(folder.metrics))
    if not rows:
        raise RunError(
            f"{folder.path} has no epoch in {folder.metrics.name} yet; train on with: vitscope train --resume --out {folder.path}"
        )
    recipe = recipe_of_run(folder) if folder.recipe.exists() else None
    environment = folder.read_environment() if folder.environment.exists() else {}
    reference = reference_of_run(folder) if isinstance(environment.get("data"), dict) else None
    is_finished = folder.status() == "finished"
    notes = _notes_of(folder, rows, environment)
    results = read_results(folder) if is_finished else None
    if results is None and recipe is None:
        notes.append(_NOT_MEASURED)
    elif results is None:
        try:
            table = table_to_measure(folder, None, None, progress)
            measured = measure_run(folder, table, progress)
            results = table.name, measured.evaluation, predictions_of(folder, measured)
        except DataError as error:
            notes.append(Text(f"Not measured: {error}.", f"評価できませんでした（{error}）。"))
    data_name, evaluation, predictions = results if results is not None else ("", None, [])
    gallery = gallery_of(trained, predictions, recipe)
    return RunSeen(
        name=name,
        path=folder.path,
        is_finished=is_finished,
        rows=rows,
        reference=reference,
        verdict=judge(rows, reference),
        data_name=data_name,
        evaluation=evaluation,
        predictions=tuple(predictions),
        recipe=recipe,
        environment=environment,
        trained=trained,
        gallery=gallery,
        position=position_change(trained, recipe),
        notes=tuple(notes),
    )


def _notes_of(folder: RunFolder, rows: Sequence[EpochMetrics], environment: dict[str, Any]) -> list[Text]:
    """What a reader must know before the numbers."""
    state, found = folder.state(), list[Text]()
    if state.status != "finished":
        found.append(_UNFINISHED)
    elif state.epochs != rows[-1].epoch:
        found.append(_OTHER_EPOCHS.format(last=rows[-1].epoch, epochs=state.epochs))
    command = _command_of(environment)
    if command and command[0] != "vitscope":
        found.append(_NOT_BY_TRAIN.format(program=command[0]))
    return found


def _command_of(environment: dict[str, Any]) -> list[str]:
    command = environment.get("command")
    return [str(word) for word in command] if isinstance(command, list) else []


_OTHER_EPOCHS = Text(
    "metrics.csv ends at epoch {last}, but the run came to epoch {epochs}: curve, time and speed are not the whole run's.",
    "metrics.csvはエポック{last}で終わっていますが、学習はエポック{epochs}まで進みました。学習曲線、所要時間、速度は学習全体のものではありません。",
)
_NOT_BY_TRAIN = Text(
    "This run was started by {program}, not by vitscope train. What that program did beside the recipe, to the model's start for one, is not known "
    "here: the position embedding before training and the command to repeat the run follow the recipe alone.",
    "この学習はvitscope trainではなく{program}から開始されています。レシピ以外の処理（モデルの初期値の変更など）は分からないため、"
    "学習前の位置埋め込みと再現用のコマンドはレシピだけに基づいています。",
)
_NOT_MEASURED = Text(
    "Not measured: evaluation.json or predictions.csv is missing or damaged, and without recipe.yaml it is not known what to measure on.",
    "評価できませんでした。evaluation.jsonかpredictions.csvがないか壊れており、recipe.yamlがないため評価に使うデータも分かりません。",
)
_UNFINISHED = Text(
    "The training is not finished; what is measured here are the weights of the last epoch so far.",
    "学習はまだ終わっていません。評価しているのは、現時点で最後のエポックの重みです。",
)


def changed_settings(runs: Sequence[RunSeen]) -> list[tuple[str, list[str]]]:
    """The recipe's settings in which runs differ: key, and each run's value."""
    flat = [_flat(run.recipe.to_dict()) if run.recipe else {} for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    skipped = ("summary.", "expect")
    return [
        (key, [_said(each.get(key)) for each in flat])
        for key in keys
        if len({_said(each.get(key)) for each in flat}) > 1 and not key.startswith(skipped)
    ]


def _flat(value: Any, where: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {key: part for name, inner in value.items() for key, part in _flat(inner, f"{where}{name}.").items()}
    return {where.removesuffix("."): value}


def _said(value: Any) -> str:
    return (
        "–"
        if value is None
        else yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").strip()
    )
