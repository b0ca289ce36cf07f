"""A folder with one folder of images a class, or `train/` and `test/` (or `val/`) with class folders in each. Out comes a source.

Class folders are read with the folders below them; hidden files are passed over, and files whose extension is no image's are
passed over and counted. A file that claims to be an image and is none is found when it is decoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vitscope._core.errors import DataError
from vitscope._core.suggest import did_you_mean
from vitscope.data.sources.base import SPLIT_WORDS, Digester, Record, Source, Split, evenly, look_at

SAMPLES = 64
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow only recognises, or draws with a program of someone else's."""


def open_image_folder(root: Path, files: Sequence[str]) -> Source:
    """A source of the images among `files` (sorted paths below `root`, with `/`).

    Raises:
        DataError: no class folders, fewer than two, an empty one, or a test class that training has not.
    """
    folders = _split_folders(root)
    names = class_names(root / folders["train"])
    known = image_extensions()
    images = [name for name in files if os.path.splitext(name)[1].lower() in known]  # noqa: PTH122  100,000 of them
    splits: dict[str, FolderSplit] = {}
    for split, folder in folders.items():
        here = names if split == "train" else _classes_of(root / folder, names)
        splits[split] = _collect(root, folder, here, names, images)
    used = {name for split in splits.values() for name in split.files}
    ignored = [name for name in files if name not in used]
    first = splits["train"]
    return Source(
        root.resolve().name,
        names,
        dict(splits),
        look=lambda: look_at(first.sample(SAMPLES)),
        files_root=root,
        sampled=True,
        ignored=len(ignored),
        first_ignored=printable(ignored[0]) if ignored else None,
    )


@dataclass(frozen=True, eq=False)
class FolderSplit(Split):
    """Image files and their labels, by class and then by path."""

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.files)

    def key(self, digest: Digester) -> str:
        base = os.fspath(self.root)
        return json.dumps([self.files, self.labels, digest([f"{base}/{name}" for name in self.files])])

    def records(self) -> Iterator[Record]:
        for i in range(len(self.files)):
            yield self.record(i)

    def record(self, index: int) -> Record:
        name = self.files[index]
        return Record(printable(name), self.labels[index], self.root / name)

    def sample(self, count: int) -> list[Path]:
        """Files spread evenly over the split."""
        return [self.root / name for name in evenly(self.files, count)]


def printable(name: str) -> str:
    """A file's name with what is not Unicode in it written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@cache
def image_extensions() -> frozenset[str]:
    """Lower-case extensions, with the dot, of the formats that Pillow decodes by itself."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(ext for ext, name in known.items() if name in Image.OPEN and name not in NOT_DECODED)


def class_names(folder: Path) -> tuple[str, ...]:
    """The class folders of a folder, in order of name; at least two."""
    names = subfolders(folder)
    if not names:
        raise DataError(
            f"{folder} has no class folders; expected a folder of images for each class, e.g. {folder}/cat/1.jpg"
        )
    if len(names) == 1:
        inner = subfolders(folder / names[0])
        advice = (
            f"the classes may be one level down: give {folder / names[0]}" if len(inner) > 1 else "add another class"
        )
        raise DataError(f"{folder} has only one class folder, '{names[0]}', expected at least two; {advice}")
    return names


def subfolders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, hidden ones left out."""
    with os.scandir(folder) as entries:
        return tuple(
            sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".") and e.name != "__MACOSX")
        )


def _split_folders(root: Path) -> dict[str, str]:
    """Split names and their folders, `train` first; a folder of class folders is one split in the folder itself."""
    tops = subfolders(root)
    found = {
        SPLIT_WORDS[name.lower()]: name for name in tops if name.lower() in SPLIT_WORDS and subfolders(root / name)
    }
    if "train" not in found or (len(found) == 1 and len(tops) > 1):
        return {"train": ""}
    return {"train": found.pop("train")} | dict(sorted(found.items()))


def _classes_of(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    here = subfolders(folder)
    for name in here:
        if name not in names:
            raise DataError(
                f"{folder} has the class '{name}'{did_you_mean(name, names)}, which the training folder has not; "
                "rename or remove it, or add it to the training folder"
            )
    return here


def _collect(
    root: Path, folder: str, here: tuple[str, ...], names: tuple[str, ...], images: Sequence[str]
) -> FolderSplit:
    """The images of one split, by class."""
    base = f"{folder}/" if folder else ""
    by_class: dict[str, list[str]] = {name: [] for name in here}
    for path in images:
        if path.startswith(base):
            name, slash, _ = path[len(base) :].partition("/")
            if slash and name in by_class:
                by_class[name].append(path)
    for name, paths in by_class.items():
        if not paths:
            raise DataError(f"class folder {root / folder / name} holds no images; add images or remove the folder")
    label = {name: i for i, name in enumerate(names)}
    labels = tuple(label[name] for name, paths in by_class.items() for _ in paths)
    return FolderSplit(root, tuple(path for paths in by_class.values() for path in paths), labels)
