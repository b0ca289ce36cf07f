"""What a review found of data and curves: blank images, pixels of another scale in both sets, arguments that are none, logs without a row."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitscope._core.errors import RunError, UsageError
from vitscope.cli.main import main
from vitscope.data import DataSpec, ImageTable, open_data
from vitscope.doctor.curve.examine import examine_metrics_file, examine_run
from vitscope.doctor.data import examine_data
from vitscope.doctor.examination import Found, in_order
from vitscope.report.doctoring.evidence import called
from vitscope.runs import RunFolder

pytestmark = pytest.mark.e2e  # whole examinations

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
Pair = tuple[Tensor, Tensor]
unchecked = inspect.unwrap(examine_data)  # without the annotations' own check, which only tests have


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    """Pixels of 0 to 1 in three channels, with their labels: for training and for validation."""
    splits = open_data(DataSpec.parse({"source": "digits"}), image_size=(8, 8))
    return _pair(splits.train), _pair(splits.val)


def _pair(table: ImageTable) -> Pair:
    images = torch.from_numpy(np.ascontiguousarray(table.rows(np.arange(600 if len(table) > 600 else len(table)))))
    images = images.permute(0, 3, 1, 2).float() / 255
    tint = torch.tensor([1.0, 0.9, 0.8])[:, None, None]
    return images[:, :1] * tint, torch.from_numpy(table.labels[: len(images)].copy())


def _ids(found: Found) -> dict[str, str]:
    return {finding.id: finding.severity for finding in found.findings}


def _changed(pairs: tuple[Pair, Pair], change: Any) -> Found:
    sets = [(change(images), labels) for images, labels in pairs]
    return examine_data(*sets, classes=10, checks=["data-normalisation"])


def _normalised(images: Tensor) -> Tensor:
    return (images - MEAN) / STD


def test_pixels_divided_by_255_twice_are_found(pairs: Any) -> None:
    found = _changed(pairs, lambda x: x / 255)
    assert _ids(found) == {"pixels-hardly-differ": "warning"}
    assert "run from 0 to 0.0039" in found.findings[0].summary.en
    assert "Dividing by 255 twice" in found.findings[0].summary.en


def test_pixels_that_hardly_differ_are_found_wherever_they_lie(pairs: Any) -> None:
    found = _changed(pairs, lambda x: _normalised(x / 255))
    assert _ids(found) == {"pixels-hardly-differ": "warning"}
    assert "apart" in found.findings[0].summary.en
    assert "twice" not in found.findings[0].summary.en
    alone = examine_data((pairs[0][0] / 255, pairs[0][1]), checks=["data-normalisation"])
    assert _ids(alone) == {"pixels-hardly-differ": "warning"}


def test_images_normalised_twice_are_found(pairs: Any) -> None:
    found = _changed(pairs, lambda x: _normalised(_normalised(x)))
    assert _ids(found) == {"pixels-spread-wide": "warning"}
    assert "Normalising twice" in found.findings[0].summary.en
    assert found.findings[0].evidence["spread"] > 3


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: 2 * x - 1,
        _normalised,
        lambda x: (x - 0.1307) / 0.3081,
        lambda x: 0.15 * x,
        lambda x: 0.3 * x.mean(1, keepdim=True),
        lambda x: (x - x.mean()) / x.std(),
        lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
        lambda x: x.half(),
        lambda x: (x > 0.5).float(),
    ],
)
def test_pixels_of_any_usual_scale_are_left_alone(pairs: Any, change: Any) -> None:
    assert _ids(_changed(pairs, change)) == {}


def test_whole_numbers_are_a_note_as_before_and_small_ones_nothing(pairs: Any) -> None:
    assert _ids(_changed(pairs, lambda x: (x * 255).to(torch.uint8))) == {"pixels-not-scaled": "note"}
    assert _ids(_changed(pairs, lambda x: (x * 16).to(torch.uint8))) == {}


def test_strong_augmentation_of_training_images_is_not_called_normalised_twice(pairs: Any) -> None:
    (images, labels), validation = pairs
    wild = _normalised(images) * 4
    assert "pixels-spread-wide" not in _ids(
        examine_data((wild, labels), (_normalised(validation[0]), validation[1]), checks=["data-normalisation"])
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -2.1])
def test_blank_images_are_an_error_and_no_label_is_probed(pairs: Any, value: float) -> None:
    found = examine_data(*[(torch.full_like(x, value), y) for x, y in pairs], classes=10)
    (blank,) = [finding for finding in found.findings if finding.id == "images-all-the-same"]
    assert blank.severity == "error"
    assert f"is {value:g}." in blank.summary.en
    first = in_order(found.findings, found.checks_run)[0]
    assert first.id == "images-all-the-same"
    _says_no_internals(found)
    assert "data-labels" in {skip.check for skip in found.skipped}


def test_black_images_are_blank_behind_a_normalisation_too(pairs: Any) -> None:
    found = _changed(pairs, lambda x: _normalised(torch.zeros_like(x)))
    assert "every pixel that was looked at is (-2.12, -2.04, -1.8)" in found.findings[0].summary.en


def test_one_image_for_every_index_is_an_error(pairs: Any) -> None:
    found = examine_data(*[(x[:1].expand_as(x).clone(), y) for x, y in pairs], classes=10)
    assert _ids(found)["images-all-the-same"] == "error"
    assert "pixel by pixel" in next(f.summary.en for f in found.findings if f.id == "images-all-the-same")
    _says_no_internals(found)


def test_blank_validation_images_are_named_alone(pairs: Any) -> None:
    (images, labels), (other, others) = pairs
    found = examine_data((images, labels), (torch.zeros_like(other), others), checks=["data-normalisation"])
    assert _ids(found) == {"images-all-the-same": "error"}
    assert "training" not in found.findings[0].summary.en


def test_some_blank_images_and_blank_colours_are_left_alone(pairs: Any) -> None:
    (images, labels), validation = pairs
    some = images.clone()
    some[::2] = 0
    assert "images-all-the-same" not in _ids(examine_data((some, labels), validation, classes=10))
    colours = (labels / 10.0)[:, None, None, None].expand_as(images).clone()
    found = examine_data((colours, labels), classes=10, checks=["data-normalisation", "data-labels"])
    assert _ids(found) == {}, "one colour a class is a picture"
    assert "data-labels" in found.checks_run


def test_images_that_differ_too_little_to_probe_are_skipped_in_words(pairs: Any) -> None:
    images, labels = pairs[0]
    nearly = torch.zeros_like(images)
    nearly[0, 0, 0, 0] = 1e-30
    _says_no_internals(examine_data((nearly, labels), classes=10))


def _says_no_internals(found: Found) -> None:
    for skip in found.skipped:
        assert "Error" not in skip.why.en, skip.why.en
        assert "linalg" not in skip.why.en, skip.why.en


@pytest.mark.parametrize("classes", ["x", "10", -1, 0, 2.5, float("nan"), True, [10], {"a": 1}, torch.ones(3)])
def test_classes_that_are_none_are_refused(pairs: Any, classes: Any) -> None:
    with pytest.raises(UsageError, match=r"classes is .*, expected how many scores .*; give it, or leave"):
        unchecked(pairs[0], classes=classes)


@pytest.mark.parametrize("classes", [10, 10.0, np.int64(10), torch.tensor(10), None])
def test_whole_numbers_of_any_make_are_classes(pairs: Any, classes: Any) -> None:
    assert _ids(unchecked(pairs[0], classes=classes, checks=["data-labels"])) == {}


@pytest.mark.parametrize("seconds", ["x", -1, 0, float("nan"), None])
def test_seconds_that_are_none_are_refused(pairs: Any, seconds: Any) -> None:
    with pytest.raises(UsageError, match=r"seconds is .*, expected"):
        unchecked(pairs[0], seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "epoch,train_loss,val_acc\n",
        "epoch;val_acc\n\n",
        "epoch,step,seconds,train_loss,train_acc,val_loss,val_acc,lr,images_per_second\n",
    ],
)
def test_a_log_without_a_row_is_one_sentence(tmp_path: Path, text: str) -> None:
    log = tmp_path / "h.csv"
    log.write_text(text)
    with pytest.raises(RunError, match="no rows, expected a row an epoch"):
        examine_metrics_file(log)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["doctor", str(log), "--json"])


def test_a_run_that_has_just_begun_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,seconds,train_loss,train_acc,val_loss,val_acc,lr,images_per_second\n"
    )
    assert not examine_run(RunFolder.open(tmp_path)).findings
    assert not examine_metrics_file(tmp_path / "metrics.csv", classes=10).findings
    assert not examine_metrics_file(tmp_path, classes=10).findings


def test_new_evidence_has_a_japanese_name(pairs: Any) -> None:
    changes = (lambda x: x / 255, lambda x: _normalised(_normalised(x)), torch.zeros_like)
    for finding in [finding for change in changes for finding in _changed(pairs, change).findings]:
        assert json.dumps(finding.to_dict("ja"))
        for name in finding.evidence:
            assert called(name).ja != called(name).en, name
