"""The official *binary* archives of CIFAR-10 and CIFAR-100. In goes the archive (checksum verified) or its unpacked folder, out comes
a source. Nothing is unpacked to the disk and nothing is unpickled: the records are bytes, a label (or two) before 3,072 pixels.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vitscope._core.errors import DataError
from vitscope._core.suggest import nearest
from vitscope.data.sources.base import Digester, Record, Source, Split
from vitscope.data.sources.cifar_names import CIFAR10, CIFAR100

PIXELS = 32 * 32 * 3
PYTHON_MD5 = {"c58f30108f718f92721af3b95e74349a", "eb9058c3a382ffc7106e4002c42a8d85"}


@dataclass(frozen=True)
class Layout:
    """What a binary archive holds: files by split, records a file by split, label bytes before the pixels (the last one counts)."""

    archive: str
    md5: str
    label_bytes: int
    names: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    records: dict[str, int]


LAYOUTS = {
    "cifar10": Layout(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        label_bytes=1,
        names=CIFAR10,
        files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        records={"train": 10_000, "test": 10_000},
    ),
    "cifar100": Layout(
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        label_bytes=2,
        names=CIFAR100,
        files={"train": ("train.bin",), "test": ("test.bin",)},
        records={"train": 50_000, "test": 10_000},
    ),
}


def open_cifar_archive(name: str, path: Path) -> Source:
    """CIFAR-10 or CIFAR-100 (fine labels) from a local archive or folder.

    Raises:
        DataError: it does not exist, is the Python (pickle) archive, has another checksum, or lacks records.
    """
    layout = LAYOUTS[name]
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        best = nearest(path.name, siblings)
        hint = f" (did you mean '{path.parent / best}'?)" if best else ""
        raise DataError(f"archive {path} does not exist{hint}; give the file {layout.archive}")
    if path.is_dir():
        folder = _folder_with(path, layout)
        splits: dict[str, Split] = {split: CifarSplit(layout, split, folder, None) for split in layout.files}
    else:
        _verify(path, name, layout)
        splits = {split: CifarSplit(layout, split, path, layout.md5) for split in layout.files}
    return Source(name, layout.names, splits, look=lambda: (3, (32, 32)), files_root=path)


@dataclass(frozen=True, eq=False)
class CifarSplit(Split):
    """The records of some files, in the files' order. `md5` is the archive's, None for a folder."""

    layout: Layout
    split: str
    path: Path
    md5: str | None

    def __len__(self) -> int:
        return self.layout.records[self.split] * len(self.layout.files[self.split])

    def key(self, digest: Digester) -> str:
        files = self.layout.files[self.split]
        content = [self.md5] if self.md5 else digest([self.path / file for file in files])
        return " ".join([self.layout.archive, self.split, *content])

    def records(self) -> Iterator[Record]:
        size = self.layout.label_bytes + PIXELS
        for file, data in self._files():
            rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
            for i, row in enumerate(rows):
                label = int(row[self.layout.label_bytes - 1])
                if label >= len(self.layout.names):
                    raise DataError(
                        f"{self.path} is damaged: record {i} of {file} has the label {label}; download it again"
                    )
                pixels = row[self.layout.label_bytes :].reshape(3, 32, 32).transpose(1, 2, 0)
                yield Record(f"{file} record {i}", label, pixels)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        files = self.layout.files[self.split]
        if self.md5 is None:
            for file in files:
                try:
                    yield file, (self.path / file).read_bytes()
                except OSError as error:
                    raise DataError(
                        f"{self.path / file} cannot be read ({error.strerror}); check its permissions"
                    ) from None
            return
        held = _read_members(self.path, files, self.layout.records[self.split] * (self.layout.label_bytes + PIXELS))
        for file in files:
            yield file, held[file]


def _read_members(path: Path, files: tuple[str, ...], size: int) -> dict[str, bytes]:
    """The bytes of the named members, each of which must have exactly `size`."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                file = member.name.rpartition("/")[2]
                if file in files and member.isfile() and member.size == size:
                    handle = archive.extractfile(member)
                    if handle is not None:
                        found[file] = handle.read(size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an archive ({error}); download it again") from None
    for file in files:
        if len(found.get(file, b"")) != size:
            raise DataError(f"{path} does not hold {file} with {size} bytes; download it again")
    return found


def _folder_with(path: Path, layout: Layout) -> Path:
    """The folder itself or the one in it that holds the binary files, each of its full size."""
    wanted = {file: layout.records[split] for split, files in layout.files.items() for file in files}
    for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
        if (folder / next(iter(wanted))).exists():
            for file, records in wanted.items():
                expected = records * (layout.label_bytes + PIXELS)
                size = (folder / file).stat().st_size if (folder / file).exists() else 0
                if size != expected:
                    raise DataError(
                        f"{folder / file} has {size} bytes, expected {expected}; unpack {layout.archive} again"
                    )
            return folder
        if (folder / "data_batch_1").exists() or (folder / "batches.meta").exists() or (folder / "meta").exists():
            raise DataError(_pickle_sentence(folder, layout))
    raise DataError(
        f"{path} does not hold {next(iter(wanted))}; give the file {layout.archive} or the folder it unpacks to"
    )


def _verify(path: Path, name: str, layout: Layout) -> None:
    stat = path.stat()
    md5 = _md5(path, stat.st_size, stat.st_mtime_ns)
    if md5 == layout.md5:
        return
    if md5 in PYTHON_MD5 or re.fullmatch(r"cifar-100?-python\.tar\.gz", path.name):
        raise DataError(_pickle_sentence(path, layout))
    other = next((n for n, candidate in LAYOUTS.items() if candidate.md5 == md5), None)
    if other:
        raise DataError(f"{path} is the archive of {other}, not of {name}; write {other} for {name}")
    raise DataError(f"{path} has the MD5 checksum {md5}, expected {layout.md5} of {layout.archive}; download it again")


def _pickle_sentence(path: Path, layout: Layout) -> str:
    return (
        f"{path} is the Python version of the data set, a pickle, which can run any code when it is read; "
        f"give the binary version, {layout.archive}"
    )


@lru_cache(maxsize=8)
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    """The MD5 of a file; size and time are there so that a changed file is read again."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
