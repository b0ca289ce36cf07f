"""Measuring a run: its model on a table of images, its predictions as a file, its curve as a picture. Run folder in, results out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from vitscope._core.errors import DataError
from vitscope._core.files import write_json, written_whole
from vitscope._core.pictures import save
from vitscope._core.text import Lang
from vitscope.curves import NamedRun, draw
from vitscope.curves.reference import ReferenceCurve
from vitscope.data import BatchLoader, DataSpec, DataSplits, ImageTable, open_data, open_split, peek
from vitscope.recipes.load import settled
from vitscope.recipes.run import recipe_of_run
from vitscope.recipes.trained import TrainedModel, load, spec_of_config
from vitscope.runs import RunFolder, read_metrics
from vitscope.train.evaluate import score_batches
from vitscope.train.evaluation import Evaluation, evaluation_of, share
from vitscope.train.memory import freed_memory_kept

Progress = Callable[[int, int], None]

RESULTS = ("curve.png", "curve.svg", "evaluation.json", "predictions.csv")


@dataclass(frozen=True, eq=False)
class Measured:
    """An evaluation, and the probabilities behind it."""

    evaluation: Evaluation
    probabilities: Float[np.ndarray, "N Y"]
    table: ImageTable


def measure_run(folder: RunFolder, table: ImageTable, progress: Progress | None = None) -> Measured:
    """Runs the saved weights over a table, in fp32, on the GPU where there is one.

    Raises:
        DataError: the table's classes are not the model's.
        CheckpointError: the weights are missing or damaged.
    """
    trained = load(folder.path)
    check_labels(trained, table.label_names, table.name)
    trained.model.to(torch.accelerator.current_accelerator() or "cpu")
    batches = BatchLoader(table, batch_size=250, shuffle=False, drop_last=False)
    kept: list[Float[np.ndarray, "B Y"]] = []
    with freed_memory_kept():  # what one batch frees serves the next
        scored = score_batches(trained.model, batches, prepare=trained.preprocessing.normalise)
        for done, (scores, _) in enumerate(scored, start=1):
            kept.append(scores.cpu().double().softmax(dim=1).numpy())
            if progress is not None:
                progress(min(done * 250, len(table)), len(table))
    probabilities = np.concatenate(kept)
    if not np.isfinite(probabilities).all():
        raise DataError(
            f"the model in {folder.path} gives scores that are not finite; it diverged in training, train it again"
        )
    return Measured(evaluation_of(probabilities, table.labels, trained.label_names), probabilities, table)


def check_labels(trained: TrainedModel, label_names: tuple[str, ...], name: str) -> None:
    """Refuses data whose classes are not those that the model was trained on.

    Raises:
        DataError: another number of classes, or other names.
    """
    if len(label_names) != len(trained.label_names):
        raise DataError(
            f"{name} has {len(label_names)} classes, but the model was trained on {len(trained.label_names)} "
            f"({', '.join(trained.label_names[:3])}, …); give data with the same classes"
        )
    if label_names != trained.label_names:
        other = next((a, b) for a, b in zip(label_names, trained.label_names, strict=True) if a != b)
        raise DataError(
            f"{name} calls a class '{other[0]}' where the model was trained on '{other[1]}'; give data with the same classes in the same order"
        )


def table_to_measure(
    folder: RunFolder, source: str | None, split: str | None, progress: Progress | None = None
) -> ImageTable:
    """The images that `vitscope eval` measures on: the run's own validation images, another source's, or a split by name.

    Raises:
        DataError: there are no such images, or the run's own were held out of images that have changed since.
    """
    config = folder.read_config()
    trained_spec = spec_of_config(folder, config)
    size, channels = trained_spec.image_size, trained_spec.channels
    if source is not None and not folder.recipe.exists():  # weights and config.json are all that this needs
        own, spec = False, DataSpec.parse({"source": source, "resize": config["preprocessing"]["resize"]})
    else:
        data = recipe_of_run(folder).data
        own = source is None or settled(source) == settled(data.source)
        spec = data if own else DataSpec(source=str(source), skip_corrupt=data.skip_corrupt, resize=data.resize)
    if split is None and own:
        now = open_data(spec, image_size=size, channels=channels, progress=progress)
        _refuse_another_part(folder, spec, now)
        return now.val
    if split is None:
        there = peek(spec).splits
        split = next((name for name in ("test", "validation") if name in there), next(iter(there)))
    return open_split(spec, split, image_size=size, channels=channels, progress=progress)


def _refuse_another_part(folder: RunFolder, spec: DataSpec, now: DataSplits) -> None:
    """A part that is held out anew from changed images would hold some that the run was trained on."""
    held_out = "held-out"
    if now.val_name != held_out and not folder.environment.exists():
        return
    then = folder.read_environment().get("data", {})
    if held_out not in (now.val_name, then.get("val_name")) or now.content_key == then.get("content_key"):
        return
    count, before = len(now.train) + len(now.val), then.get("train_images", 0) + then.get("val_images", 0)
    counted = spec.limit is None and count != before
    what = f"{count:,} images, {before:,} when" if counted else "other images than when"
    raise DataError(
        f"{spec.source} has {what} the run was trained, so the part held out of them now is not the part that {folder.path} "
        "was validated on; restore the data, or measure on others with --data SOURCE --split NAME"
    )


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: a line of `predictions.csv`."""

    image: str
    """By the name that `vitscope predict` takes."""
    label: str
    predicted: str
    right: int
    probability: float
    probability_of_label: float


def predictions_of(folder: RunFolder, measured: Measured) -> list[Prediction]:
    """Every image that was measured, in order."""
    table, names = measured.table, measured.evaluation.label_names
    source = recipe_of_run(folder).data.source
    source = Path(source).name if Path(source).is_absolute() else source
    rows: list[Prediction] = []
    for i, (row, label) in enumerate(zip(measured.probabilities, table.labels, strict=True)):
        best, image = int(row.argmax()), f"{source}:{table.split}:{table.place(i)}"
        chances = float(row[best]), float(row[label])
        rows.append(Prediction(image, names[label], names[best], int(best == label), *chances))
    return rows


def write_evaluation(folder: RunFolder, measured: Measured) -> None:
    """Writes `evaluation.json` and `predictions.csv` into the run folder; a class without images has no accuracy, which JSON calls null."""
    value = measured.evaluation.to_dict()
    for row in value["per_class"]:
        row["accuracy"] = row["accuracy"] if row["images"] else None
    write_json(folder.path / "evaluation.json", {"data": measured.table.name, **value})
    with (
        written_whole(folder.path / "predictions.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.writer(handle)
        writer.writerow([field.name for field in fields(Prediction)])
        for row in predictions_of(folder, measured):
            chances = (f"{row.probability:.6f}", f"{row.probability_of_label:.6f}")
            writer.writerow([row.image, row.label, row.predicted, row.right, *chances])


def read_results(folder: RunFolder) -> tuple[str, Evaluation, list[Prediction]] | None:
    """What a finished run was measured on, the evaluation, and every prediction; None where a file is missing or the two contradict each other."""
    try:
        value = json.loads((folder.path / "evaluation.json").read_text(encoding="utf-8"))
        with (folder.path / "predictions.csv").open(newline="", encoding="utf-8") as handle:
            rows = [
                Prediction(
                    row["image"],
                    row["label"],
                    row["predicted"],
                    int(row["right"]),
                    float(row["probability"]),
                    float(row["probability_of_label"]),
                )
                for row in csv.DictReader(handle)
            ]
        names = tuple(map(str, folder.read_config()["label_names"]))
        return str(value.get("data", "")), _agreed(Evaluation.from_dict(value), rows, names), rows
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error):
        return None


def _agreed(told: Evaluation, rows: list[Prediction], names: tuple[str, ...]) -> Evaluation:
    """An evaluation with its counts and shares taken from the predictions, where all that can be checked of it follows from them.

    Raises:
        ValueError, TypeError, LookupError: something does not.
    """
    place = {name: i for i, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), dtype=int)
    for row in rows:
        confusion[place[row.label], place[row.predicted]] += 1
    chances = np.array([(row.probability, row.probability_of_label) for row in rows])
    least, most = (-np.log((chances[:, 1] + step).clip(1e-300, 1)).mean() for step in (5e-7, -5e-7))  # six digits
    error = 100 * sum(each.images * abs(each.confidence - each.accuracy) for each in told.bins) / len(rows)
    sound = (
        told.label_names == names,
        told.confusion == tuple(tuple(map(int, row)) for row in confusion),
        all(row.right == int(row.label == row.predicted) for row in rows),
        len({row.image for row in rows}) == len(rows),
        bool(((chances >= 0) & (chances <= 1)).all()),  # nan is neither
        least - 1e-6 <= told.loss <= most + 1e-6,
        sum(each.images for each in told.bins) == len(rows),
        all(0 <= part <= 1 for each in told.bins for part in (each.low, each.high, each.confidence, each.accuracy)),
        abs(error - told.calibration_error) < 1e-6,
        told.top5 is None or 0 <= told.top5 <= 100,
    )
    if not all(sound):
        raise ValueError("evaluation.json and predictions.csv contradict each other")
    shares = tuple(share(int(confusion[i, i]), int(confusion[i].sum())) for i in range(len(names)))
    return replace(told, total=share(int(confusion.trace()), len(rows)), per_class=shares)


def draw_curve(folder: RunFolder, reference: ReferenceCurve | None, lang: Lang) -> None:
    """Writes `curve.png` and `curve.svg` into the run folder."""
    figure = draw([NamedRun(folder.path.resolve().name, read_metrics(folder.metrics))], reference, lang)
    save(figure, folder.curve, folder.curve.with_suffix(".svg"))


def finish(
    folder: RunFolder,
    table: ImageTable,
    reference: ReferenceCurve | None,
    lang: Lang,
    progress: Progress | None = None,
) -> None:
    """All that a finished run holds beside its weights and metrics: `RESULTS`."""
    draw_curve(folder, reference, lang)
    write_evaluation(folder, measure_run(folder, table, progress))


def missing_results(folder: RunFolder) -> list[str]:
    """Which of `RESULTS` a run does not have, such as one that was killed after its last epoch; an empty file is none."""
    files = [folder.path / name for name in RESULTS]
    return [file.name for file in files if not file.is_file() or not file.stat().st_size]


def forget_results(folder: RunFolder) -> None:
    """Takes away what an earlier look at an unfinished run left: it would be held for the finished run's."""
    for name in RESULTS:
        (folder.path / name).unlink(missing_ok=True)


def top(probabilities: torch.Tensor, names: tuple[str, ...], count: int = 5) -> list[tuple[str, float]]:
    """The most probable classes of one image, with their probabilities."""
    values, indices = probabilities.topk(min(count, len(names)))
    return [(names[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]
