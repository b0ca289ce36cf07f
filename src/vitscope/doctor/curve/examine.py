"""A learning curve, examined. In goes a run folder, a CSV file or rows, out come findings, what was skipped, and which checks were run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vitscope._core.errors import RunError, VitscopeError
from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.curves import ReferenceCurve, load_reference
from vitscope.doctor.arguments import ArgumentError, checks_given, classes_given, kind_given, shown
from vitscope.doctor.curve.band import curve_band, curve_overfitting
from vitscope.doctor.curve.chance import curve_chance
from vitscope.doctor.curve.divergence import curve_divergence
from vitscope.doctor.curve.modes import curve_modes
from vitscope.doctor.curve.rate import curve_learning_rate
from vitscope.doctor.curve.watched import Settings, Watched
from vitscope.doctor.examination import Found
from vitscope.doctor.finding import Finding, Skip, Skipped
from vitscope.runs import EpochMetrics, RunFolder, read_metrics
from vitscope.train.spec import TrainSpec

CURVE_CHECKS: dict[str, Callable[[Watched], Iterator[Finding]]] = {
    "curve-divergence": curve_divergence,
    "curve-chance": curve_chance,
    "curve-band": curve_band,
    "curve-modes": curve_modes,
    "curve-overfitting": curve_overfitting,
    "curve-learning-rate": curve_learning_rate,
}


def examine_curve(
    rows: Sequence[EpochMetrics],
    *,
    classes: int | None = None,
    reference: ReferenceCurve | None = None,
    settings: Settings | None = None,
    checks: Sequence[str] | None = None,
) -> Found:
    """Examines the epochs of one training.

    Args:
        rows: ordered by epoch, as `read_metrics` gives them; what was not measured is nan.
        classes: how many there are; without it a curve is said to stand at chance only where its numbers leave no doubt.
        reference: what the curve is held against.
        settings: what is known of the training beside its curve.
        checks: only these, by their ids.

    Raises:
        UsageError: there is no such check, or rows, classes, reference or settings are none.
    """
    chosen, classes = checks_given(checks, CURVE_CHECKS), classes_given(classes)
    kind_given("reference", reference, ReferenceCurve, _REFERENCE)
    kind_given("settings", settings, Settings, _SETTINGS)
    watched = Watched(_rows_given(rows), classes, reference, settings or Settings())
    findings: list[Finding] = []
    skipped: list[Skip] = []
    for check in chosen:
        try:
            for finding in CURVE_CHECKS[check](watched):
                findings.append(finding)
        except Skipped as why:
            skipped.append(why.of(check))
    undone = {skip.check for skip in skipped} - {finding.check for finding in findings}
    return Found(findings, skipped, tuple(check for check in chosen if check not in undone))


def _rows_given(rows: Any) -> tuple[EpochMetrics, ...]:
    given: list[Any] = (
        list(rows) if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping) else [None]
    )
    if not all(isinstance(row, EpochMetrics) for row in given):
        raise ArgumentError(
            Text(
                f"rows is {shown(rows)}, expected a list of EpochMetrics, one an epoch; read them with read_metrics, or give the file to "
                "examine_metrics_file",
                f"rowsに{shown(rows)}が渡されましたが、エポックごとのEpochMetricsのリストを渡す必要があります。read_metricsで読み込むか、"
                "ファイルをexamine_metrics_fileに渡してください",
            )
        )
    return tuple(given)


_REFERENCE = Text("a ReferenceCurve, as load_reference gives it", "load_referenceが返すReferenceCurve")
_SETTINGS = Text("the Settings of that training", "その学習のSettings")


def examine_metrics_file(
    path: Path | str,
    *,
    classes: int | None = None,
    reference: ReferenceCurve | str | Path | None = None,
    settings: Settings | None = None,
    checks: Sequence[str] | None = None,
) -> Found:
    """Examines a CSV with `epoch` and any of the columns of `metrics.csv`; accuracies in per cent.

    Args:
        path: the file.
        classes: how many there are.
        reference: a reference curve, its name, or the path of a CSV.
        settings: what is known of the training beside its curve.
        checks: only these, by their ids.

    Raises:
        RunError: the file cannot be read, is no such CSV, or holds too little for any check that was asked for and is no run's that has just begun.
        ConfigError: there is no such reference.
    """
    rows = read_metrics(Path(path))
    if not rows and not _is_of_a_run(Path(path)):
        raise RunError(f"{path} has a header and no rows, expected a row an epoch; log at least one epoch")
    held = load_reference(reference) if isinstance(reference, str | Path) else reference
    found = examine_curve(rows, classes=classes, reference=held, settings=settings, checks=checks)
    if not found.checks_run and not found.findings and not _is_of_a_run(Path(path)):
        raise RunError(_too_little(path, rows, found, checks))
    return found


def _too_little(path: Path | str, rows: Sequence[EpochMetrics], found: Found, checks: Sequence[str] | None) -> Text:
    """Why no check could be made of a file."""
    if checks is not None:
        why = [(f"{skip.check}: {skip.why.en}", f"{skip.check}：{skip.why.ja}") for skip in found.skipped]
        return Text(
            f"{path}: nothing of what was asked could be examined ({', '.join(en for en, _ in why)})",
            f"{path}：指定されたチェックはどれも実行できません（{'、'.join(ja for _, ja in why)}）",
        )
    epochs = "1 epoch" if len(rows) == 1 else f"{len(rows)} epochs"
    more = (
        Text(", or tell its classes or a reference", "するか、クラス数か基準曲線を指定")
        if len(rows) > 2
        else Text("", "")
    )
    return Text(
        f"{path} holds too little for any check ({epochs}); log train_loss, val_loss and val_acc of 5 epochs at least{more.en}",
        f"{path}は記録が少なく（{len(rows)}エポック）、どのチェックも実行できません。train_loss、val_loss、val_accを5エポック以上記録{more.ja}してください",
    )


def examine_run(run: RunFolder, *, checks: Sequence[str] | None = None) -> Found:
    """Examines the curve of a run, with what its folder tells: classes, reference, augmentation, schedule.

    Raises:
        RunError: its metrics cannot be read.
    """
    if not run.metrics.exists():
        return Found([], [Skip(check, _NO_METRICS) for check in CURVE_CHECKS if checks is None or check in checks], ())
    recipe, data = _recipe(run), _data(run)
    names = data.get("label_names", ())
    classes = len(names) if isinstance(names, list | tuple) and len(names) > 1 else None
    return examine_curve(
        read_metrics(run.metrics),
        classes=classes,
        reference=_reference(recipe, data),
        settings=_settings(run, recipe),
        checks=checks,
    )


def _is_of_a_run(path: Path) -> bool:
    """Whether a curve may be empty still: that of a run has its header from the start."""
    folder = path if path.is_dir() else path.parent
    return path.name in (folder.name, "metrics.csv") and (folder / "recipe.yaml").exists()


_NO_METRICS = Text("the run has no metrics.csv yet", "この学習にはまだmetrics.csvがありません")


def _recipe(run: RunFolder) -> Mapping[str, Any]:
    """The recipe's own words; nothing where there are none: a curve can be judged without."""
    try:
        value = yaml.safe_load(run.read_recipe_text())
    except (VitscopeError, yaml.YAMLError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _data(run: RunFolder) -> Mapping[str, Any]:
    """What the run knew of its data, or the label names of its configuration."""
    for read in (lambda: run.read_environment().get("data"), run.read_config):
        try:
            value = read()
        except VitscopeError:
            continue
        if isinstance(value, Mapping) and value.get("label_names"):
            return value
    return {}


def _reference(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> ReferenceCurve | None:
    """The recipe's reference, where the run is measured on what the reference was measured on."""
    name = recipe.get("reference")
    if not isinstance(name, str):
        return None
    try:
        reference = load_reference(name)
    except VitscopeError:
        return None
    return reference if reference.applies_to(tuple(data.get("label_names", ())), data.get("val_images", 0)) else None


def _settings(run: RunFolder, recipe: Mapping[str, Any]) -> Settings:
    sections = recipe.get("augment"), recipe.get("train")
    if not (isinstance(sections[0], Mapping) and isinstance(sections[1], Mapping)):
        return Settings()
    try:
        augment, train = AugmentSpec.parse(sections[0]), TrainSpec.parse(sections[1])
    except VitscopeError:
        return Settings()
    try:
        is_finished = run.state().status == "finished"
    except VitscopeError:
        is_finished = None
    steps = augment.model_dump(exclude={"switch_probability", "mix_probability"})
    return Settings(
        mixes=augment.mixes,
        augments=any(map(bool, steps.values())),
        smoothing=train.label_smoothing,
        schedule=train.schedule,
        warms_up=train.warmup.amount > 0,
        is_finished=is_finished,
    )
