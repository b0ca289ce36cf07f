"""The binary CIFAR archives, made small: verified, read in memory, and never a pickle."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import cifar_archive, cifar_files, picture, small_layout

from vitscope._core.errors import DataError
from vitscope.data import DataSpec, DataSplits, open_data, open_item, peek
from vitscope.data.sources import cifar
from vitscope.data.sources.cifar_names import CIFAR10, CIFAR100


def opened(source: str, archive: Path | None = None) -> DataSplits:
    return open_data(DataSpec(source=source, archive=str(archive) if archive else None), image_size=(32, 32))


def sentence(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(("name", "names", "training"), [("cifar10", CIFAR10, 20), ("cifar100", CIFAR100, 4)])
def test_an_archive_gives_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, names: Any, training: int
) -> None:
    path = tmp_path / "binary.tar.gz"
    small_layout(monkeypatch, name, cifar_archive(path, name))
    splits = opened(name, path)
    assert (splits.val_name, len(splits.train), len(splits.val), splits.label_names) == ("test", training, 4, names)
    np.testing.assert_array_equal(splits.train.item(1)[0], picture(1, (32, 32)))
    np.testing.assert_array_equal(splits.val.item(3)[0], picture((5 if name == "cifar10" else 1) * 1000 + 3, (32, 32)))
    assert splits.val.labels.tolist() == [0, 1, 0, 1]  # of cifar100 the fine label, the second byte
    assert opened(f"{name}:{path}").content_key == splits.content_key
    facts = peek(DataSpec(source=name, archive=str(path)))
    assert (facts.splits, facts.native_size, facts.channels) == ({"train": training, "test": 4}, (32, 32), 3)
    image, label, description = open_item(f"{name}:test:1", spec=DataSpec(source=name, archive=str(path)))
    assert (label, description) == (names[1], f"{name} test, image 1")
    np.testing.assert_array_equal(np.asarray(image), splits.val.item(1)[0])


def test_the_folder_that_an_archive_unpacks_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_layout(monkeypatch, "cifar10", "unused")
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for file, data in cifar_files("cifar10", 4, 2).items():
        (tmp_path / "cifar-10-batches-bin" / file).write_bytes(data)
    assert len(opened("cifar10", tmp_path).train) == 20
    broken = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert sentence(lambda: opened("cifar10", tmp_path)) == (
        f"{broken} has 12291 bytes, expected 12292; unpack cifar-10-binary.tar.gz again"
    )


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    md5 = cifar_archive(path, "cifar10")
    assert sentence(lambda: opened("cifar10", path)) == (
        f"{path} has the MD5 checksum {md5}, expected c32a1d4ab5d03f1284b67883e8d87530 of cifar-10-binary.tar.gz; download it again"
    )


def test_the_published_checksums() -> None:
    assert cifar.LAYOUTS["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar.LAYOUTS["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"
    assert (len(set(CIFAR10)), len(set(CIFAR100)), list(CIFAR100) == sorted(CIFAR100)) == (10, 100, True)


class Trap:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_python_archive_is_refused_and_not_unpickled(tmp_path: Path, as_folder: bool) -> None:
    data = pickle.dumps(Trap())
    path = tmp_path / "cifar-10-python.tar.gz"
    if as_folder:
        path = tmp_path / "cifar-10-batches-py"
        path.mkdir()
        (path / "data_batch_1").write_bytes(data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert sentence(lambda: opened("cifar10", path)) == (
        f"{path} is the Python version of the data set, a pickle, which can run any code when it is read; "
        "give the binary version, cifar-10-binary.tar.gz"
    )


def test_the_other_data_set_and_a_missing_archive_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cifar-100-binary.tar.gz"
    small_layout(monkeypatch, "cifar100", cifar_archive(path, "cifar100"))
    assert (
        sentence(lambda: opened("cifar10", path))
        == f"{path} is the archive of cifar100, not of cifar10; write cifar100 for cifar10"
    )
    assert sentence(lambda: opened("cifar100", tmp_path / "cifar-100-binry.tar.gz")) == (
        f"archive {tmp_path}/cifar-100-binry.tar.gz does not exist (did you mean '{path}'?); give the file cifar-100-binary.tar.gz"
    )
    assert sentence(lambda: opened("cifar10", tmp_path)) == (
        f"{tmp_path} does not hold data_batch_1.bin; give the file cifar-10-binary.tar.gz or the folder it unpacks to"
    )


def test_archives_with_other_members_write_nothing_and_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (
            ("../../escaped.bin", b"x"),
            ("/data_batch_1.bin", b"x" * 12292),
            ("data_batch_2.bin", b"short"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("data_batch_3.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    small_layout(monkeypatch, "cifar10", cifar._md5(path, 0, 0))
    assert (
        sentence(lambda: opened("cifar10", path))
        == f"{path} does not hold data_batch_2.bin with 12292 bytes; download it again"
    )
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["x.tar.gz"]
    path.write_bytes(b"no archive at all")
    small_layout(monkeypatch, "cifar10", cifar._md5(path, 1, 1))
    assert sentence(lambda: opened("cifar10", path)).startswith(f"{path} cannot be read as an archive (")


def test_a_label_outside_the_classes_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar.gz"
    small_layout(monkeypatch, "cifar10", cifar_archive(path, "cifar10", records=11, classes=11), records=11)
    assert sentence(lambda: opened("cifar10", path)) == (
        f"{path} is damaged: record 10 of data_batch_1.bin has the label 10; download it again"
    )
