"""Data sets of the hub: the real loading code of `datasets` over local files, and what is said when the hub cannot help."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_samples import encode, parquet, picture
from datasets.exceptions import DatasetNotFoundError

from vitscope._core.errors import CorruptImageError, DataError
from vitscope.data import DataSpec, open_data, peek
from vitscope.data.sources.cifar_names import CIFAR10

REAL_LOAD = datasets.load_dataset


def images(first: int, count: int) -> list[bytes | None]:
    return [encode(picture(first + i)) for i in range(count)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the hub was asked for; it always answers that it is there."""
    calls: list[Any] = []

    def answer(self: object, repo: str, **settings: object) -> None:
        calls.append((repo, settings["revision"]))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", answer)
    return calls


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> Path:
    """A folder that stands for the repository: every load_dataset reads its parquet files."""
    folder = tmp_path / "repository"

    def load(repo: str, config: str | None = None, *, revision: str | None = None) -> Any:
        files = {p.stem.partition("-")[0]: str(p) for p in sorted(folder.glob("*.parquet"))}
        return REAL_LOAD("parquet", data_files=files, cache_dir=str(tmp_path / "hf"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    datasets.disable_progress_bars()
    return folder


def sentence(**settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_data(DataSpec(**settings), image_size=(8, 8))
    return str(caught.value)


def test_a_hub_data_set_is_read_through_datasets(hub: Path, asked: list[Any]) -> None:
    parquet(hub / "train-0.parquet", images(0, 10), [0, 1] * 5, ["cat", "dog"], image_column="image")
    parquet(hub / "valid-0.parquet", images(50, 4), [1, 0, 0, 1], ["cat", "dog"], image_column="image")
    splits = open_data(DataSpec(source="hub:someone/pets", revision="abc"), image_size=(8, 8))
    assert (splits.val_name, splits.label_names) == ("validation", ("cat", "dog"))
    np.testing.assert_array_equal(splits.train.images, [picture(s) for s in range(10)])
    assert splits.val.labels.tolist() == [1, 0, 0, 1]
    assert set(asked) == {("someone/pets", "abc")}


def test_a_second_start_asks_nobody(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(hub / "train-0.parquet", images(0, 10), [0, 1] * 5, ["cat", "dog"])
    spec = DataSpec(source="hub:someone/pets")
    first = open_data(spec, image_size=(8, 8))
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert open_data(spec, image_size=(8, 8)).content_key == first.content_key
    assert peek(spec).splits == {"train": 10}
    assert peek(spec).native_size == (8, 8)


def test_cifar10_has_its_names_and_columns(hub: Path, asked: list[Any]) -> None:
    parquet(hub / "train-0.parquet", images(0, 20), list(range(10)) * 2, list(CIFAR10))
    parquet(hub / "test-0.parquet", images(30, 10), list(range(10)), list(CIFAR10))
    facts = peek(DataSpec(source="cifar10"))
    assert (facts.name, facts.label_names, facts.splits) == ("cifar10", CIFAR10, {"train": 20, "test": 10})
    assert asked == [("uoft-cs/cifar10", None)]


@pytest.mark.parametrize(("grey", "colour"), [(64, 300), (150, 1)])
def test_colour_behind_the_first_grey_rows_is_kept(hub: Path, grey: int, colour: int) -> None:
    cells: list[bytes | None] = [encode(picture(i, channels=1)) for i in range(grey)]
    parquet(hub / "train-0.parquet", [*cells, *images(grey, colour)], [i % 2 for i in range(grey + colour)], ["a", "b"])
    assert peek(DataSpec(source="hub:someone/pets")).channels == 3


def test_only_grey_rows_make_a_grey_source(hub: Path) -> None:
    parquet(hub / "train-0.parquet", [encode(picture(i, channels=1)) for i in range(90)], [0, 1] * 45, ["a", "b"])
    assert peek(DataSpec(source="hub:someone/pets")).channels == 1


def test_channels_remembered_when_they_were_not_certain_are_looked_at_again(hub: Path, cache: Path) -> None:
    parquet(hub / "train-0.parquet", images(0, 10), [0, 1] * 5, ["cat", "dog"])
    spec = DataSpec(source="hub:someone/pets")
    peek(spec)
    memory = next((cache / "hub").iterdir())
    held = {**json.loads(memory.read_text()), "format": 1}
    memory.write_text(json.dumps({**held, "channels": 1}))
    assert peek(spec).channels == 3
    memory.write_text(json.dumps({**held, "repository": "kept"}))  # colour was certain, so nobody is asked
    assert peek(spec).channels == 3
    assert json.loads(memory.read_text())["repository"] == "kept"


def test_unusable_rows_are_named(hub: Path) -> None:
    parquet(hub / "train-0.parquet", [*images(0, 9), b"text"], [0, 1] * 5, ["cat", "dog"])
    with pytest.raises(
        CorruptImageError, match=r"1 of 10 images cannot be used: someone/pets train row 9 is not an image"
    ):
        open_data(DataSpec(source="hub:someone/pets"), image_size=(8, 8))


def test_a_repository_cannot_point_at_files_of_this_machine(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(encode(picture(1)))
    cells = pa.array(
        [{"bytes": None, "path": str(private)}] * 4, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    hub.mkdir()
    pq.write_table(pa.table({"img": cells, "label": [0, 1, 0, 1]}), hub / "train-0.parquet")
    assert sentence(source="hub:someone/pets").startswith(
        "4 of 4 images cannot be used: someone/pets train row 0 is not an image"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert len(open_data(DataSpec(source="hub:someone/pets", val_fraction=0.5), image_size=(8, 8)).train) == 2


def test_a_change_on_the_hub_is_noticed(hub: Path) -> None:
    parquet(hub / "train-0.parquet", images(0, 10), [0, 1] * 5, ["cat", "dog"])
    spec = DataSpec(source="hub:someone/pets")
    peek(spec)
    parquet(hub / "train-0.parquet", images(70, 12), [0, 1] * 6, ["cat", "dog"])
    assert sentence(source="hub:someone/pets") == (
        "someone/pets has changed on the hub since it was last used; start again to use the new version"
    )
    splits = open_data(spec, image_size=(8, 8))
    assert len(splits.train) + len(splits.val) == 12


def test_no_labels_or_no_training_split(hub: Path) -> None:
    path = parquet(hub / "train-0.parquet", images(0, 4), None, image_column="image")
    assert sentence(source="hub:someone/pets") == (
        "someone/pets has no label column (columns: image); name it with data.label_column"
    )
    path.unlink()
    for name in ("test", "valid"):
        parquet(hub / f"{name}-0.parquet", images(0, 4), [0, 1, 0, 1], ["a", "b"])
    assert sentence(source="hub:someone/pets") == (
        "someone/pets has no training split (found: test, validation); choose another data set"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError("no route"), "the hub cannot be reached for a/b; connect to the network, or {otherwise}"),
        (DatasetNotFoundError("x"), "a/b does not exist on the hub, or is not public; check the name, or {otherwise}"),
        (
            ValueError("Config name is missing.\nPlease pick one among ['x', 'y']"),
            "a/b cannot be loaded from the hub (Config name is missing. Please pick one among ['x', 'y']); "
            "name one with data.config",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found b.py"),
            "a/b cannot be loaded from the hub (Dataset scripts are no longer supported, but found b.py); {otherwise}",
        ),
    ],
)
def test_what_goes_wrong_on_the_hub_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any], error: Exception, expected: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert sentence(source="hub:a/b") == expected.format(otherwise="give a local folder as the source instead")


def test_offline_one_sentence_points_to_the_archive_and_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    before = datasets.config.HF_HUB_OFFLINE
    assert sentence(source="cifar10") == (
        "the hub cannot be reached for uoft-cs/cifar10; connect to the network, or give the official binary archive with "
        "data.archive, or give a local folder as the source instead"
    )
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["hub:", "hub:mnist", "hub:a/b/c", "hub:../x y"])
def test_a_name_that_is_none_is_refused_before_anyone_is_asked(name: str) -> None:
    assert (
        sentence(source=name)
        == f"'{name}' does not name a data set of the hub; expected hub:owner/name, e.g. hub:uoft-cs/cifar10"
    )
