"""Folders of parquet files in the hub's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_samples import encode, parquet, picture

from vitscope._core.errors import DataError
from vitscope.data import DataSpec, DataSplits, open_data, peek
from vitscope.data.sources.parquet_folder import split_of


def images(first: int, count: int) -> list[bytes | None]:
    return [encode(picture(first + i)) for i in range(count)]


def opened(root: Path, **settings: Any) -> DataSplits:
    return open_data(DataSpec(source=str(root), **settings), image_size=(8, 8))


def sentence(root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        opened(root, **settings)
    return str(caught.value)


def test_the_layout_of_the_hub(tmp_path: Path) -> None:
    for part in range(2):
        path = tmp_path / "d" / "plain_text" / f"train-0000{part}-of-00002.parquet"
        parquet(path, images(10 * part, 7), [0, 1, 1, 0, 1, 0, 1], ["cat", "dog"])
    parquet(tmp_path / "d" / "plain_text" / "test-00000-of-00001.parquet", images(50, 4), [1, 0, 0, 1], ["cat", "dog"])
    splits = opened(tmp_path / "d")
    assert (splits.val_name, splits.label_names, splits.ignored) == ("test", ("cat", "dog"), 0)
    np.testing.assert_array_equal(splits.train.images, [picture(s) for s in [*range(7), *range(10, 17)]])
    assert splits.train.labels.tolist() == [0, 1, 1, 0, 1, 0, 1] * 2
    assert splits.val.labels.tolist() == [1, 0, 0, 1]
    assert (splits.train.called(9), splits.train.files) == ("train:9", ())  # a file of many images names none
    facts = peek(DataSpec(source=str(tmp_path / "d")))
    assert (facts.splits, facts.native_size, facts.channels) == ({"train": 14, "test": 4}, (8, 8), 3)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("default/test/0000.parquet", "test"),
        ("data/validation-00000.parquet", "validation"),
        ("val.parquet", "validation"),
        ("contest.parquet", "train"),
        ("0000.parquet", "train"),
        ("test/train-0.parquet", "train"),
    ],
)
def test_a_split_is_read_from_the_name(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([3, 7, 3, 7, 3], ("3", "7"), [0, 1, 0, 1, 0]),
        (["dog", "cat", "dog", "cat", "cat"], ("cat", "dog"), [1, 0, 1, 0, 0]),
    ],
)
def test_without_metadata_the_values_are_the_names(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...], expected: list[int]
) -> None:
    parquet(tmp_path / "d" / "train.parquet", images(0, 5), labels, image_column="image", label_column="target")
    parquet(tmp_path / "d" / "test.parquet", images(9, 5), labels, image_column="image", label_column="target")
    splits = opened(tmp_path / "d")
    assert splits.label_names == names
    assert splits.train.labels.tolist() == expected


def test_fine_labels_are_preferred_and_another_column_can_be_asked_for(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": data, "path": None} for data in images(0, 6)])
    table = pa.table({"coarse_label": [0, 0, 1, 1, 0, 1], "img": cells, "fine_label": [0, 1, 2, 2, 1, 0]})
    (tmp_path / "d").mkdir()
    pq.write_table(table, tmp_path / "d" / "train.parquet")
    assert opened(tmp_path / "d", val_fraction=0.2).label_names == ("0", "1", "2")
    assert opened(tmp_path / "d", val_fraction=0.2, label_column="coarse_label").label_names == ("0", "1")
    assert sentence(tmp_path / "d", label_column="corse_label") == (
        f"data.label_column: {tmp_path}/d/train.parquet has no column 'corse_label' (did you mean 'coarse_label'?); "
        "columns: coarse_label, img, fine_label"
    )


def test_a_test_split_whose_labels_are_kept_back_is_not_used(tmp_path: Path) -> None:
    parquet(tmp_path / "d" / "train.parquet", images(0, 10), [0, 1] * 5, ["a", "b"])
    parquet(tmp_path / "d" / "test.parquet", images(20, 3), [-1, -1, -1], ["a", "b"])
    splits = opened(tmp_path / "d")
    assert (splits.val_name, len(splits.train)) == ("held-out", 8)


def test_what_cannot_be_used_gets_one_sentence(tmp_path: Path) -> None:
    bare = parquet(tmp_path / "bare" / "train.parquet", images(0, 3), None)
    assert sentence(bare.parent) == f"{bare} has no label column (columns: img); name it with data.label_column"
    blind = tmp_path / "blind" / "train.parquet"
    blind.parent.mkdir()
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), blind)
    assert (
        sentence(blind.parent) == f"{blind} has no image column (columns: text, label); name it with data.image_column"
    )
    listed = tmp_path / "listed" / "train.parquet"
    listed.parent.mkdir()
    cells = pa.array([{"bytes": b"x", "path": None}])
    pq.write_table(pa.table({"img": cells, "boxes": [[1.5]], "words": ["x"], "label": [1]}), listed)
    assert sentence(listed.parent, label_column="boxes") == (
        f"column 'boxes' of {listed} holds list<element: double>, expected integers or words; name another with data.label_column"
    )
    assert sentence(listed.parent, image_column="words") == (
        f"column 'words' of {listed} holds string, expected encoded images; name another with data.image_column"
    )
    assert sentence(listed.parent) == "column 'label' holds only one class, 1, expected at least two; add another class"
    broken = parquet(tmp_path / "broken" / "train.parquet", images(0, 3), [0, 1, 0], ["a", "b"])
    broken.write_bytes(broken.read_bytes()[:-20])
    assert sentence(broken.parent).startswith(f"{broken} is not a readable parquet file (")
    wrong = parquet(tmp_path / "wrong" / "train.parquet", images(0, 3), [0, 5, 1], ["a", "b"])
    assert (
        sentence(wrong.parent)
        == "train.parquet row 1 (1.png) has the label 5, expected one of the 2 classes; repair the file"
    )
    only = parquet(tmp_path / "only" / "a" / "test.parquet", images(0, 3), [0, 1, 0], ["a", "b"])
    parquet(tmp_path / "only" / "val.parquet", images(0, 3), [0, 1, 0], ["a", "b"])
    root = only.parents[1]
    assert sentence(root) == f"{root} has no train-*.parquet (found: test, validation); add the training split"
    parquet(tmp_path / "mixed" / "train-0.parquet", images(0, 3), [0, 1, 0], ["a", "b"])
    other = parquet(tmp_path / "mixed" / "train-1.parquet", images(0, 3), [0, 1, 0], ["a", "c"])
    assert sentence(other.parent) == (
        f"{other} has other columns or label names than the files before it; keep one data set a folder"
    )


def test_bad_rows_are_named_with_file_and_row(tmp_path: Path) -> None:
    cells: list[bytes | None] = [*images(0, 4), b"this is text", None, *images(9, 4)]
    path = parquet(tmp_path / "d" / "train.parquet", cells, [0, 1] * 5, ["a", "b"])
    why = "is not an image that Pillow can read"
    assert sentence(path.parent).startswith(
        f"2 of 10 images cannot be used: train.parquet row 4 (4.png) {why}, train.parquet row 5 (5.png) {why};"
    )
    assert len(opened(path.parent, skip_corrupt=True).skipped) == 2


def test_damage_in_the_middle_is_found(tmp_path: Path) -> None:
    path = parquet(tmp_path / "d" / "train.parquet", images(0, 60), [0, 1] * 30, ["a", "b"])
    data = bytearray(path.read_bytes())
    data[200:260] = b"\0" * 60
    path.write_bytes(data)
    assert str(path) in sentence(path.parent) or "cannot be used" in sentence(path.parent)
