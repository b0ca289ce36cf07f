"""The built-in digits, and single images by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import class_folders, encode, parquet, picture
from sklearn.datasets import load_digits, load_sample_image

from vitscope._core.errors import CorruptImageError, DataError
from vitscope.data import DataSpec, is_item, open_data, open_item, peek


def sentence(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


def test_digits_are_scikit_learns_with_a_fixed_division() -> None:
    splits = open_data(DataSpec(source="digits"), image_size=(8, 8))
    assert (len(splits.train), len(splits.val), splits.val_name, splits.train.channels) == (1437, 360, "test", 1)
    assert splits.label_names == tuple("0123456789")
    original = load_digits()
    both = np.concatenate([t.images for t in (splits.train, splits.val)]).reshape(1797, 64)
    wanted = np.rint(original.images * 255 / 16).astype(np.uint8).reshape(1797, 64)
    assert sorted(map(bytes, both)) == sorted(map(bytes, wanted))
    counts, whole = np.bincount(splits.val.labels), np.bincount(original.target)
    assert (abs(counts - whole * 360 / 1797) < 1).all()
    assert splits.to_dict()["classes"] == 10
    facts = peek(DataSpec(source="digits"))
    assert (facts.channels, facts.native_size, facts.splits) == (1, (8, 8), {"train": 1437, "test": 360})


def test_digits_held_out_leave_the_test_split_alone() -> None:
    splits = open_data(DataSpec(source="digits", val_fraction=0.1), image_size=(8, 8))
    assert (len(splits.train), len(splits.val), splits.val_name) == (1293, 144, "held-out")


def test_digits_in_colour_and_larger() -> None:
    splits = open_data(DataSpec(source="digits"), image_size=(16, 16), channels=3)
    assert splits.train.images.shape[1:] == (16, 16, 3)


def test_a_digit_by_its_place_in_scikit_learns_order() -> None:
    image, label, description = open_item("digits:17")
    assert (label, description, image.size) == (str(load_digits().target[17]), "digits, image 17", (8, 8))
    np.testing.assert_array_equal(np.asarray(image), np.rint(load_digits().images[17] * 255 / 16))
    splits = open_data(DataSpec(source="digits"), image_size=(8, 8))
    np.testing.assert_array_equal(np.asarray(open_item("digits:test:5").image), splits.val.item(5)[0][:, :, 0])
    assert open_item("digits:test:5").label == str(splits.val.labels[5])


def test_items_of_folders_and_parquet(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 2})
    item = open_item(f"{root}:3")
    assert (item.label, item.description) == ("dog", "pets train, image 3")
    np.testing.assert_array_equal(np.asarray(item.image), picture(3))
    for split, first in (("train", 0), ("test", 40)):
        cells: list[bytes | None] = [encode(picture(first + i)) for i in range(7)]
        parquet(tmp_path / "d" / f"{split}.parquet", cells, [0, 1, 0, 1, 0, 1, 1], ["x", "y"])
    for text, seed in ((f"{tmp_path}/d:4", 44), (f"{tmp_path}/d:test:6", 46), (f"{tmp_path}/d:train:5", 5)):
        np.testing.assert_array_equal(np.asarray(open_item(text).image), picture(seed))
    assert open_item(f"{tmp_path}/d:train:5").label == "y"
    of_the_run = open_item("d:test:6", spec=DataSpec(source=f"{tmp_path}/d"))
    np.testing.assert_array_equal(np.asarray(of_the_run.image), picture(46))


def test_items_that_do_not_exist(tmp_path: Path) -> None:
    assert sentence(lambda: open_item("digits:1797")) == "digits all has no image 1797; expected 0 to 1796"
    assert sentence(lambda: open_item("digits:test:360")) == "digits test has no image 360; expected 0 to 359"
    assert sentence(lambda: open_item("digits:-1")) == "digits all has no image -1; expected 0 to 1796"
    assert sentence(lambda: open_item("digits:tets:1")) == (
        "digits has no split 'tets' (did you mean 'test'?); it has train, test, all"
    )
    assert sentence(lambda: open_item("digit:1")).startswith("unknown data source 'digit' (did you mean 'digits'?)")
    assert sentence(lambda: open_item("digits")) == (
        "'digits' does not name an image; expected SOURCE:split:index (e.g. cifar10:test:3), sample:china or sample:flower"
    )
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 2})
    (root / "cat" / "0.png").write_text("text")
    with pytest.raises(CorruptImageError) as caught:
        open_item(f"{root}:0")
    assert str(caught.value) == "cat/0.png is not an image that Pillow can read; give another"


@pytest.mark.parametrize("name", ["china", "flower"])
def test_the_photographs_that_scikit_learn_ships_have_no_label(name: str) -> None:
    item = open_item(f"sample:{name}")
    assert (item.label, item.description) == (None, f"scikit-learn's photograph {name}.jpg")
    np.testing.assert_array_equal(np.asarray(item.image), load_sample_image(f"{name}.jpg"))


def test_samples_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_item("sample:chian")
    assert sentence(lambda: open_item("sample:chian")) == (
        "no sample image 'chian' (did you mean 'china'?); expected sample:china or sample:flower"
    )
    assert sentence(lambda: open_item("sample:")) == "no sample image ''; expected sample:china or sample:flower"
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "sample", {"cat": 2, "dog": 2})
    for text in ("sample:3", "sample:train:3"):
        assert open_item(text).description == "sample train, image 3"


def test_what_looks_like_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_item("cifar10:test:3")
    assert is_item("digits:17")
    assert is_item("hub:a/b:test:3")
    assert is_item("sample:china")
    assert not is_item("photo.jpg")
    (tmp_path / "photo:3").write_bytes(b"")
    assert not is_item(str(tmp_path / "photo:3"))
    (tmp_path / "sample:china").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert not is_item("sample:china")
