"""What `vitscope doctor TARGET` does, without its screen: a target by its name in, an `Examination` out.

A target is a built-in name, a YAML file, a run folder (its curve is examined too), `package.module:callable`, or a metrics CSV (its curve alone).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitscope._core.errors import UsageError, VitscopeError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.data import DataSpec, open_data
from vitscope.doctor.arguments import ArgumentError, checks_given
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.curve.examine import CURVE_CHECKS, examine_metrics_file, examine_run
from vitscope.doctor.data.blank import cannot_be_read
from vitscope.doctor.data.examine import DATA_CHECKS, examine_table
from vitscope.doctor.examination import Examination, in_order
from vitscope.doctor.examine import Progress, diagnose
from vitscope.doctor.finding import Finding, Skip
from vitscope.lens.randomness import seeded
from vitscope.model.create import build
from vitscope.recipes.code import model_from_code
from vitscope.recipes.naming import is_curve, kind_of
from vitscope.recipes.pictures import pictures_of
from vitscope.recipes.subject import Subject, only_for_code, open_subject
from vitscope.runs import RunFolder, read_log_notes


@dataclass(frozen=True)
class Question:
    """What the user told the doctor."""

    kwargs: Mapping[str, Any] | None = None
    image_size: int | None = None
    channels: int | None = None
    classes: int | None = None
    data: str | None = None
    loss: str | None = None
    lr: float | None = None
    batch_size: int | None = None
    reference: str | None = None
    deep: bool = False
    checks: Sequence[str] | None = None


def examine_target(target: str, question: Question, progress: Progress | None = None) -> Examination:
    """Examines what a word on the command line names.

    Raises:
        VitscopeError: whatever keeps it from being examined, in one sentence.
    """
    checks_given(question.checks, (*CHECKS, *CURVE_CHECKS, *DATA_CHECKS))
    if is_curve(target):
        _refuse_checks_of_models(target, question.checks or ())
        return _of_curve(Path(target), question)
    if question.reference is not None:
        raise UsageError(
            Text(
                f"--reference is for a metrics CSV; {target} is none, and a run has its recipe's own",
                f"--referenceはメトリクスのCSV用ですが、{target}はCSVではありません（結果フォルダではレシピの基準曲線を使います）",
            )
        )
    kind = kind_of(target)
    _refuse_checks_of_nothing(target, kind, question)
    if kind != "code" and question.classes is not None:
        raise only_for_code("--classes", target)
    batches = (1, 2, *((question.batch_size,) if question.batch_size else ()), 8, 16, 32, 64, 128)
    subject = open_subject(
        target,
        kwargs=question.kwargs,
        image_size=question.image_size,
        channels=question.channels,
        batches=batches,
        needs_pictures=question.data is not None,
    )
    images, labels, notes = _pictures(subject, question)
    found = diagnose(
        subject.model,
        image_size=subject.preprocessing.image_size,
        channels=subject.preprocessing.channels,
        num_classes=question.classes,
        images=images,
        labels=labels,
        loss=question.loss or ("cross-entropy" if kind == "run" else None),
        lr=question.lr,
        batch_size=question.batch_size,
        deep=question.deep,
        checks=_among(question.checks, CHECKS),
        factory=_factory(target, kind, subject, question.kwargs or {}),
        is_trained=kind == "run",
        target=target,
        progress=progress,
    )
    if kind == "code" and question.image_size is None:
        notes = (_on_images(subject), *notes)
    found = replace(found, notes=(*notes, *found.notes))
    if kind == "run":
        found = _with(found, *examine_run(RunFolder.open(target), checks=_among(question.checks, CURVE_CHECKS)))
    if question.data is not None:
        splits = _splits(question.data, subject.preprocessing)
        found = _with_data(found, subject, splits, question, progress)
    return found


def _refuse_checks_of_models(file: str, asked: Sequence[str]) -> None:
    """Refuses checks that a learning curve says nothing of.

    Raises:
        UsageError: one was asked for.
    """
    for check in asked:
        if check not in CURVE_CHECKS:
            raise ArgumentError(
                Text(
                    f"--checks {check} examines a model or its data, and {file} is a learning curve; choose among {', '.join(CURVE_CHECKS)}, or "
                    "give the model",
                    f"--checks {check}はモデルまたはデータのチェックですが、{file}は学習曲線です。{'、'.join(CURVE_CHECKS)}から選ぶか、モデルを"
                    "指定してください",
                )
            )


def _refuse_checks_of_nothing(target: str, kind: str, question: Question) -> None:
    """Refuses checks that were asked for by name where what they examine is not there.

    Raises:
        UsageError: one was asked for.
    """
    for check in question.checks or ():
        if check in DATA_CHECKS and question.data is None:
            raise ArgumentError(
                Text(
                    f"--checks {check} examines images and labels, and none were given; add --data SOURCE (digits, cifar10, a folder, …)",
                    f"--checks {check}は画像とラベルのチェックですが、データが指定されていません。--data SOURCE（digits、cifar10、フォルダなど）を"
                    "追加してください",
                )
            )
        if check == "learning-rate" and question.lr is None:
            raise ArgumentError(
                Text(
                    "--checks learning-rate holds a learning rate against the stable range, and none was given; add --lr LR, the one you train with",
                    "--checks learning-rateは学習率を安定な範囲と比べるチェックですが、学習率が指定されていません。学習に使う値を--lr LRで追加して"
                    "ください",
                )
            )
        if check in CURVE_CHECKS and kind != "run":
            raise ArgumentError(
                Text(
                    f"--checks {check} examines a learning curve, and {target} has none; give a run folder or a metrics CSV",
                    f"--checks {check}は学習曲線のチェックですが、{target}には学習曲線がありません。結果フォルダかメトリクスのCSVを指定してください",
                )
            )


def _of_curve(file: Path, question: Question) -> Examination:
    """Examines a learning curve by itself: that of a run with what its folder tells.

    Raises:
        UsageError: what was asked needs the model.
    """
    only_models = ("kwargs", "image_size", "channels", "data", "loss", "lr", "batch_size", "deep")
    given = [f"--{name.replace('_', '-')}" for name in only_models if getattr(question, name) not in (None, False)]
    if given:
        raise UsageError(
            Text(
                f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} for models, and {file} is a learning curve; "
                "it takes --classes, --reference and --checks",
                f"{'、'.join(given)}はモデル用ですが、{file}は学習曲線です。学習曲線で使えるのは--classes、--reference、--checksです",
            )
        )
    chosen = None if question.checks is None else checks_given(question.checks, CURVE_CHECKS)
    is_told = question.classes is not None or question.reference is not None
    if file.name == "metrics.csv" and (file.parent / "recipe.yaml").exists() and not is_told:
        findings, skipped, done = examine_run(RunFolder.open(file.parent), checks=chosen)
    else:
        findings, skipped, done = examine_metrics_file(
            file, classes=question.classes, reference=question.reference, checks=chosen
        )
    return Examination(str(file), in_order(findings, done), done, tuple(skipped), {}, {}, read_log_notes(file))


def _on_images(subject: Subject) -> Text:
    """What somebody's model was examined on, where nobody told."""
    how = subject.preprocessing
    shape = f"{how.channels}×{how.image_size[0]}×{how.image_size[1]}"
    if subject.is_size_tried:
        return Text(
            f"Examined on images of {shape} (guessed: the first size of several that it takes; give its own with --image-size).",
            f"{shape}の画像で検査しました（推測：試した中で最初に受け付けたサイズです。--image-sizeで指定できます）。",
        )
    return Text(
        f"Examined on images of {shape} (as the model itself says; another with --image-size).",
        f"{shape}の画像で検査しました（モデル自身の設定による。--image-sizeで変更できます）。",
    )


def _among(asked: Sequence[str] | None, checks: Container[str]) -> list[str] | None:
    """Those of the asked checks that are of one kind; None, which means all, where none was asked for."""
    return None if asked is None else [each for each in asked if each in checks]


def _with(found: Examination, findings: Sequence[Finding], skipped: Sequence[Skip], done: Sequence[str]) -> Examination:
    """An examination and what else was examined."""
    checks = (*found.checks_run, *done)
    return replace(
        found,
        findings=in_order([*found.findings, *findings], (*CHECKS, *done)),
        checks_run=checks,
        skipped=(*found.skipped, *skipped),
    )


def _with_data(
    found: Examination, subject: Subject, splits: Any, question: Question, progress: Progress | None
) -> Examination:
    """An examination and that of data: what each of its checks took is told by when the next began."""
    begun: list[tuple[str, float]] = []

    def tell(check: str, number: int, total: int) -> None:
        begun.append((check, time.monotonic()))
        if progress is not None:
            progress(check, number, total)

    more = examine_table(
        splits.train,
        splits.val,
        classes=found.facts.get("classes"),
        augment=subject.augment,
        unreadable=splits.skipped,
        checks=_among(question.checks, DATA_CHECKS),
        progress=tell,
    )
    ends = [*(when for _, when in begun[1:]), time.monotonic()]
    seconds = {check: end - when for (check, when), end in zip(begun, ends, strict=False)}
    return _with(replace(found, seconds={**found.seconds, **seconds}), *more)


def _factory(target: str, kind: str, subject: Subject, kwargs: Mapping[str, Any]) -> Callable[[], nn.Module] | None:
    """Makes the model once more, where that is possible: a name or code does, a finished module does not."""
    if kind == "code":
        with seeded():
            is_one = model_from_code(target, kwargs) is model_from_code(target, kwargs)
        return None if is_one else lambda: model_from_code(target, kwargs).cpu()
    spec = subject.spec
    return None if spec is None else lambda: build(spec)


def _pictures(subject: Subject, question: Question) -> tuple[Tensor | None, Tensor | None, tuple[Text, ...]]:
    """Real images of the data that the model belongs to, if there are any."""
    said = question.data
    if said is None and subject.data is None:
        return None, None, ()
    try:
        splits = (
            _splits(said, subject.preprocessing)
            if said is not None
            else open_data(
                subject.data or DataSpec.parse({}),
                image_size=subject.preprocessing.image_size,
                channels=subject.preprocessing.channels,
            )
        )
    except VitscopeError as error:
        if said is not None:
            raise
        return None, None, (_NO_DATA.format(why=first_line(error)),)
    images, labels, notes = pictures_of(splits.train, subject.preprocessing)
    if question.checks is not None and "data-normalisation" not in question.checks and splits.skipped:
        notes = (cannot_be_read(splits.skipped).summary, *notes)
    return images, labels, notes


_NO_DATA = Text(
    "The data of this run could not be opened, so it was examined with noise for images ({why}).",
    "この学習のデータを開けなかったため、画像の代わりにノイズで検査しました（{why}）。",
)


def _splits(source: str, preprocessing: Preprocessing) -> Any:
    return open_data(
        DataSpec.parse({"source": source, "skip_corrupt": True}),
        image_size=preprocessing.image_size,
        channels=preprocessing.channels,
    )
