"""Somebody's data, examined. In go loaders, data sets or tables, out come findings, what was skipped, and which checks were run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.data.table import ImageTable
from vitscope.doctor.arguments import checks_given, classes_given
from vitscope.doctor.data.augmentation import data_augmentation
from vitscope.doctor.data.balance import data_balance
from vitscope.doctor.data.evaluation import data_evaluation
from vitscope.doctor.data.generators import drawing_undone
from vitscope.doctor.data.given import seconds_given
from vitscope.doctor.data.labels import data_labels
from vitscope.doctor.data.leak import data_leak
from vitscope.doctor.data.normalisation import data_normalisation
from vitscope.doctor.data.order import data_order
from vitscope.doctor.data.reading import look_at
from vitscope.doctor.data.seen import TRAINING, VALIDATION
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.data.tables import look_at_table
from vitscope.doctor.examination import Found
from vitscope.doctor.examine import Progress, as_it_was
from vitscope.doctor.finding import Finding, Skip, Skipped
from vitscope.doctor.patient import SEED
from vitscope.lens.randomness import seed_cpu

SECONDS = 15.0
"""How long one pass over one set may take."""
DATA_CHECKS: dict[str, Callable[[Sets], Iterator[Finding]]] = {
    "data-labels": data_labels,
    "data-leak": data_leak,
    "data-order": data_order,
    "data-normalisation": data_normalisation,
    "data-augmentation": data_augmentation,
    "data-balance": data_balance,
    "data-evaluation": data_evaluation,
}


def examine_data(
    train: Any,
    validation: Any = None,
    *,
    classes: int | None = None,
    checks: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Found:
    """Examines the images and labels that a training is given.

    Args:
        train: a torch DataLoader, a data set, an iterable of batches, or a pair of arrays; images with class numbers, as pairs or
        dictionaries. It is gone
            through up to 10,000 images, twice where it can be; random states, a loader's own among them, are afterwards as they were.
        validation: the same, for the images that are measured on.
        classes: how many scores the model gives.
        checks: only these, by their ids.
        seconds: about how long one pass over one set may take.

    Raises:
        DataError: a set holds no images, or reading it fails.
        UsageError: there is no such check, or classes or seconds are none.
    """
    chosen = checks_given(checks, DATA_CHECKS)
    classes, seconds = classes_given(classes), seconds_given(seconds)
    with as_it_was(), drawing_undone(train, validation):
        seed_cpu(SEED)
        sets = Sets(
            look_at(train, TRAINING, seconds),
            None if validation is None else look_at(validation, VALIDATION, seconds),
            classes,
        )
        return _run(sets, chosen)


def examine_table(
    train: ImageTable,
    validation: ImageTable | None = None,
    *,
    classes: int | None = None,
    augment: AugmentSpec | None = None,
    unreadable: Sequence[str] = (),
    checks: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Found:
    """Examines vitscope's own tables of images; which checks apply is less than for a loader, as vitscope shuffles and normalises itself.

    Args:
        train: the images to train on.
        validation: the images to measure on.
        classes: how many scores the model gives; the table's own label names where left out.
        augment: what a recipe does to training images.
        unreadable: names of images that both lack, as they cannot be read.
        checks: only these, by their ids.
        progress: told of each check before it begins.

    Raises:
        UsageError: there is no such check, or classes is no number of them.
    """
    chosen = checks_given(checks, DATA_CHECKS)
    classes = classes_given(classes)
    sets = Sets(
        look_at_table(train, TRAINING),
        None if validation is None else look_at_table(validation, VALIDATION),
        len(train.label_names) if classes is None else classes,
        augment,
        tuple(unreadable),
    )
    return _run(sets, chosen, progress)


def _run(sets: Sets, chosen: Sequence[str], progress: Progress | None = None) -> Found:
    findings: list[Finding] = []
    skipped: list[Skip] = []
    in_part: set[str] = set()
    for number, check in enumerate(chosen):
        if progress is not None:
            progress(check, number, len(chosen))
        try:
            for finding in DATA_CHECKS[check](sets):
                findings.append(finding)
        except Skipped as why:
            skipped.append(why.of(check))
            if why.is_part:
                in_part.add(check)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            skipped.append(Skip(check, _FAILED.format(kind=type(error).__name__, said=first_line(error))))
    undone = {skip.check for skip in skipped} - {finding.check for finding in findings} - in_part
    return Found(findings, skipped, tuple(check for check in chosen if check not in undone))


_FAILED = Text(
    "these images could not be examined ({kind}: {said})",
    "この画像では検査できませんでした（{kind}: {said}）",
)
