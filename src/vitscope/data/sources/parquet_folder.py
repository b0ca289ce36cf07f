"""A folder of parquet files in the hub's layout, e.g. a downloaded `uoft-cs/cifar10`. In goes the folder, out comes a source.

Columns and label names come from the Hugging Face metadata in the files' schema, else from types and usual names. Files are read
a few hundred rows at a time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitscope._core.errors import DataError
from vitscope.data.sources.base import SPLIT_WORDS, Digester, Record, Source, Split, evenly, look_at
from vitscope.data.sources.columns import Columns, find_columns
from vitscope.data.spec import DataSpec

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS_AT_A_TIME = 256
SAMPLES = 64
SAMPLED_GROUPS = 8
"""Row groups that samples are taken from: a row group is read as a whole for its first row, so they are few."""


def open_parquet_folder(root: Path, files: Sequence[str], spec: DataSpec) -> Source:
    """A source of all parquet files among `files` (paths below `root`).

    Raises:
        DataError: no training file, no image or label column, a damaged file, files that do not agree.
    """
    by_split: dict[str, list[Path]] = {}
    for name in sorted(files):
        by_split.setdefault(split_of(name), []).append(root / name)
    if "train" not in by_split:
        by_split = (
            {"train": [path for paths in by_split.values() for path in paths]} if len(by_split) == 1 else by_split
        )
    if "train" not in by_split:
        raise DataError(f"{root} has no train-*.parquet (found: {', '.join(sorted(by_split))}); add the training split")
    columns = _agreed_columns(by_split, root, spec)
    ordered = sorted(by_split, key=lambda name: (name != "train", name))
    labels = {name: read_labels(by_split[name], columns) for name in ordered}
    names, lookup = columns.label_meaning(labels)
    usable = [name for name in ordered if columns.is_labelled(labels[name]) or name == "train"]
    splits: dict[str, Split] = {
        name: ParquetSplit(root, tuple(by_split[name]), columns, lookup, len(labels[name])) for name in usable
    }
    first = splits["train"]
    assert isinstance(first, ParquetSplit)
    return Source(
        root.name or str(root),
        names,
        splits,
        look=lambda: look_at(first.sample(SAMPLES)),
        files_root=root,
        sampled=True,
    )


@dataclass(frozen=True, eq=False)
class ParquetSplit(Split):
    """The rows of some files, in the files' order."""

    root: Path
    files: tuple[Path, ...]
    columns: Columns
    lookup: dict[Any, int]
    count: int

    def __len__(self) -> int:
        return self.count

    def key(self, digest: Digester) -> str:
        settings = [self.columns.image, self.columns.label, sorted(map(str, self.lookup.items()))]
        return json.dumps([settings, digest(self.files)])

    def records(self) -> Iterator[Record]:
        wanted = [self.columns.image, self.columns.label]
        for path in self.files:
            row = 0
            with opened(path) as file:
                for batch in _batches(file, path, wanted):
                    images = batch.column(0)
                    for image, value in zip(images, batch.column(1).to_pylist(), strict=True):
                        yield self._record(path, row, image.as_py(), value)
                        row += 1

    def record(self, index: int) -> Record:
        for path in self.files:
            with opened(path) as file:
                if index >= file.metadata.num_rows:
                    index -= file.metadata.num_rows
                    continue
                group, start = 0, 0
                while index >= start + file.metadata.row_group(group).num_rows:
                    start += file.metadata.row_group(group).num_rows
                    group += 1
                wanted = [self.columns.image, self.columns.label]
                skip = index - start
                for batch in _batches(file, path, wanted, row_groups=[group]):
                    if skip < batch.num_rows:
                        return self._record(path, index, batch.column(0)[skip].as_py(), batch.column(1)[skip].as_py())
                    skip -= batch.num_rows
        raise IndexError(index)

    def sample(self, count: int) -> list[bytes]:
        """Encoded images: the first rows of row groups spread evenly over the files."""
        found: list[bytes] = []
        files = evenly(self.files, SAMPLED_GROUPS)
        for path in files:
            with opened(path) as file:
                groups = evenly(range(file.num_row_groups), SAMPLED_GROUPS // len(files))
                for group in groups:
                    rows = math.ceil(count / (len(files) * len(groups)))
                    for batch in islice(_batches(file, path, [self.columns.image], rows, [group]), 1):
                        found.extend(image for cell in batch.column(0) if (image := encoded(cell.as_py())))
        return found

    def _record(self, path: Path, row: int, cell: Any, value: Any) -> Record:
        inner = cell.get("path") if isinstance(cell, dict) else None
        name = f"{path.relative_to(self.root).as_posix()} row {row}" + (f" ({inner})" if inner else "")
        label = self.lookup.get(value)
        if label is None:
            raise DataError(
                f"{name} has the label {value!r}, expected one of the {len(self.lookup)} classes; repair the file"
            )
        return Record(name, label, encoded(cell))


def encoded(cell: Any) -> bytes:
    """The bytes of an image cell; empty where there are none (which no decoder takes for an image)."""
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    return bytes(cell) if cell is not None else b""


def split_of(name: str) -> str:
    """The split that a file belongs to by its name, else by its folders (nearest first), else `train`."""
    parts = Path(name).parts
    for part in (Path(parts[-1]).stem, *reversed(parts[:-1])):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return "train"


def opened(path: Path) -> pq.ParquetFile:
    """An open parquet file.

    Raises:
        DataError: it is damaged or no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file ({_first_line(error)}); fetch it again") from None


def read_labels(files: Sequence[Path], columns: Columns) -> list[Any]:
    """The label column of some files, undecoded."""
    found: list[Any] = []
    for path in files:
        with opened(path) as file:
            for batch in _batches(file, path, [columns.label], rows=65536):
                found.extend(batch.column(0).to_pylist())
    return found


def _batches(
    file: pq.ParquetFile,
    path: Path,
    columns: list[str],
    rows: int = ROWS_AT_A_TIME,
    row_groups: list[int] | None = None,
) -> Iterator[Any]:
    import pyarrow as pa

    try:
        for batch in file.iter_batches(batch_size=rows, row_groups=row_groups, columns=columns):
            yield batch.select(columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged ({_first_line(error)}); fetch it again") from None


def _agreed_columns(by_split: dict[str, list[Path]], root: Path, spec: DataSpec) -> Columns:
    found: Columns | None = None
    for path in (path for name in sorted(by_split, key=lambda n: n != "train") for path in by_split[name]):
        with opened(path) as file:
            try:
                mine = find_columns(file.schema_arrow, str(path), spec)
            except DataError:
                if found is not None and split_of(path.relative_to(root).as_posix()) != "train":
                    by_split.pop(split_of(path.relative_to(root).as_posix()), None)  # a test split without labels
                    continue
                raise
        if found is not None and (mine.image, mine.label, mine.names) != (found.image, found.label, found.names):
            raise DataError(
                f"{path} has other columns or label names than the files before it; keep one data set a folder"
            )
        found = found or mine
    assert found is not None
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
