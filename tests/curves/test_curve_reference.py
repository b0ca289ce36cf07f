"""The shipped reference is the published one, number for number; others are read from any CSV, or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitscope._core.errors import ConfigError, RunError
from vitscope.curves import Band, load_reference, references

NAME = "vit_patch4_cifar10_200ep"
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "reference_curves"
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published curves beside the checkout (../shared) are absent")
def test_the_shipped_numbers_are_the_published_ones() -> None:
    theirs = sorted(SHARED.glob("*.csv"))
    assert [file.stem for file in theirs] == list(references())
    for file in theirs:
        published = load_reference(file)
        shipped = load_reference(file.stem)
        assert [(r.epoch, r.val_loss, r.val_acc) for r in shipped.rows] == [
            (r.epoch, r.val_loss, r.val_acc) for r in published.rows
        ]


def test_the_facts_of_the_reference() -> None:
    curve = load_reference(NAME)
    assert (curve.seeds, curve.half_width, curve.last_epoch, len(curve.rows)) == (1, 2.0, 200, 200)
    assert [row.val_acc for row in curve.rows[:3]] == [36.7, 47.37, 50.45]
    assert "kentaroy47/vision-transformers-cifar10" in curve.source
    assert curve.rows[-1].val_acc == 79.08
    assert max(row.val_acc for row in curve.rows) == 79.34
    lowest = min(curve.rows, key=lambda row: row.val_loss)
    assert (lowest.epoch, round(lowest.val_loss, 3), round(curve.rows[-1].val_loss, 3)) == (75, 0.686, 0.823)
    assert all(
        number in curve.notes[1].en and number in curve.notes[1].ja for number in ("79.08", "79.34", "0.686", "0.823")
    )
    json.dumps(curve.to_dict(), allow_nan=False)


def test_the_band() -> None:
    curve = load_reference(NAME)
    assert curve.band(1) == Band(34.7, 36.7, 38.7)
    assert curve.band(200) is not None
    assert curve.band(201) is None
    assert curve.band(0) is None


def test_it_applies_to_its_own_data_only() -> None:
    curve = load_reference(NAME)
    assert curve.applies_to(CIFAR10, 10_000)
    assert not curve.applies_to(CIFAR10, 5_000)
    assert not curve.applies_to(CIFAR10[::-1], 10_000)


def test_a_curve_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("epoch,val_acc\n1,30\n2,\n3,50\n")
    curve = load_reference(path)
    assert (curve.name, curve.half_width, curve.seeds) == ("mine", 2.0, None)
    assert curve.band(3) == Band(48.0, 50.0, 52.0)
    assert curve.band(2) is None
    assert curve.applies_to(["a", "b"], 7)
    facts = {"what": {"en": "mine", "ja": "自分の"}, "source": "here", "seeds": 5, "half_width": 0.5}
    path.with_suffix(".json").write_text(json.dumps(facts))
    assert load_reference(str(path)).band(3) == Band(49.5, 50.0, 50.5)
    for broken in ("{", "[]", "{}", json.dumps(facts | {"half_width": -1}), json.dumps(facts | {"what": "x"})):
        path.with_suffix(".json").write_text(broken)
        with pytest.raises(RunError, match=r"mine\.json cannot be understood"):
            load_reference(path)


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_reference("vit_patch4_cifar10")
    assert str(error.value) == (
        f"unknown reference 'vit_patch4_cifar10' (did you mean '{NAME}'?); known: {NAME}; "
        "a CSV file with the columns epoch and val_acc will do too"
    )
    (tmp_path / "loss.csv").write_text("epoch,val_loss\n1,2.0\n")
    with pytest.raises(RunError, match="holds no validation accuracy"):
        load_reference(tmp_path / "loss.csv")
