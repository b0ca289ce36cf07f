"""Decode once, map ever after. In goes a split and an image size, out come memory-mapped pixels and labels.

A cache is a folder named by the content it was made from and the Pillow that decoded it: `images.npy` (uint8 [N, C, H, W]),
`labels.npy` (int64 [N]) and `meta.json`. It is built beside its place and renamed when whole, so a process that dies leaves nothing
that is mistaken for a cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from jaxtyping import Int64, UInt8

from vitscope._core.errors import DataError
from vitscope._core.files import room_for
from vitscope._core.preprocessing import Preprocessing
from vitscope.data.decode import Unusable, decode_all
from vitscope.data.sources.base import Digester, Progress, Split

FORMAT = 2
"""Part of every cache's name: a change of layout or of decoding makes old caches unfindable instead of wrong."""

CONTENT = 1
"""Part of every content key. Checkpoints hold content keys, so a change refuses the resume of every training there is."""


@dataclass(frozen=True, eq=False)
class Cached:
    """Pixels [N, H, W, C] (a view of [N, C, H, W]) and labels [N] on the disk, and what had to be left out.

    `content` is the `content_key` of what was asked for.
    """

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int64[np.ndarray, " N"]
    unusable: tuple[Unusable, ...]
    content: str


def cache_root() -> Path:
    """`VITSCOPE_CACHE`, else `vitscope` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`)."""
    own = os.environ.get("VITSCOPE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vitscope"


def open_cached(
    split: Split, how: Preprocessing, *, digest: Digester, keep_incomplete: bool, progress: Progress | None = None
) -> Cached:
    """The decoded split, from the cache or decoded now.

    Where images are unusable and `keep_incomplete` is false, or none is usable, nothing is kept, and the result carries the names
    of the unusable ones and no pixels.

    Raises:
        DataError: the cache cannot be written, or the source cannot be read.
    """
    root = cache_root()
    content = content_key(split, how, digest)
    place = root / "images" / cache_key(content)
    found = _load(place)
    if found is not None:
        return found
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _only_builder(place) as alone:
            found = _load(place)  # another process may have built it while this one waited
            if found is not None:
                return found
            if alone:
                _clear_remains(place)
            return _build(place, content, split, how, keep_incomplete, progress)
    except OSError as error:
        raise DataError(
            f"cannot write the image cache {root}: {error.strerror or error}; {room_for(error)}set VITSCOPE_CACHE to another folder"
        ) from error


def cache_key(content: str) -> str:
    """Names content, format and the decoder: another Pillow may see other pixels, and read what this one could not."""
    return hashlib.sha256(json.dumps([FORMAT, PIL.__version__, content]).encode()).hexdigest()[:32]


def content_key(split: Split, how: Preprocessing, digest: Digester) -> str:
    """Names content, size, channels and fitting; where the files lie and who decodes them does not matter."""
    settings = json.dumps([CONTENT, list(how.image_size), how.channels, how.resize])
    return hashlib.sha256(f"{settings}\n{split.key(digest)}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _build(
    place: Path, content: str, split: Split, how: Preprocessing, keep_incomplete: bool, progress: Progress | None
) -> Cached:
    _check_space(place.parent, len(split) * how.channels * math.prod(how.image_size))
    temporary = place.with_name(f"{place.name}.building-{os.getpid()}-{os.urandom(4).hex()}")
    temporary.mkdir()
    try:
        labels, unusable = _write_images(temporary / "images.npy", split, how, keep_incomplete, progress)
        if not len(labels) or (unusable and not keep_incomplete):
            return Cached(np.empty((0, *how.image_size, how.channels), np.uint8), labels[:0], tuple(unusable), content)
        with (temporary / "labels.npy").open("wb") as handle:
            np.save(handle, labels, allow_pickle=False)
            _to_disk(handle)
        meta = {
            "format": FORMAT,
            "key": place.name,
            "content": content,
            "pillow": PIL.__version__,
            "shape": [len(labels), how.channels, *how.image_size],
            "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
            "unusable": [[u.name, u.why, u.place] for u in unusable],
        }
        with (temporary / "meta.json").open("wb") as handle:
            handle.write(json.dumps(meta).encode())
            _to_disk(handle)
        _put_in_place(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _load(place)
    if found is None:
        raise DataError(f"the image cache {place} is damaged right after it was written; check the disk")
    return found


def _write_images(
    path: Path, split: Split, how: Preprocessing, keep_incomplete: bool, progress: Progress | None
) -> tuple[Int64[np.ndarray, " N"], list[Unusable]]:
    """Writes usable images one after the other; once one is unusable and that is not accepted, only looks for more of them.

    Ordinary writes, not a memory map: on a full disk a write raises an error, a memory map kills the process.
    """
    labels: list[int] = []
    unusable: list[Unusable] = []
    total = len(split)
    with path.open("wb") as handle, closing(decode_all(split.records(), how)) as stream:
        _write_header(handle, total, how)
        for decoded in stream:
            first = len(labels) + len(unusable)
            unusable.extend(replace(image, place=first + image.place) for image in decoded.unusable)
            labels.extend(decoded.labels)
            if keep_incomplete or not unusable:
                handle.write(decoded.images.data)
            if progress:
                progress(len(labels) + len(unusable), total)
        handle.flush()
        _write_header(handle, len(labels), how)
        _to_disk(handle)
    return np.asarray(labels, dtype=np.int64), unusable


def _check_space(folder: Path, needed: int) -> None:
    """Stops before an hour of decoding that cannot be kept."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the image cache {cache_root()} needs {needed / 1e6:,.0f} MB and its disk has {free / 1e6:,.0f} MB free; free some space "
            "there or set VITSCOPE_CACHE to another folder"
        )


def _write_header(handle: BinaryIO, count: int, how: Preprocessing) -> None:
    """The .npy header for `count` images; numpy pads it, so that a smaller count fits in the same place."""
    handle.seek(0)
    shape = (count, how.channels, *how.image_size)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(handle, header)


def _to_disk(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _put_in_place(temporary: Path, place: Path) -> None:
    """Renames; where another process was quicker its cache stays, and a damaged one goes."""
    for _ in range(2):
        try:
            temporary.rename(place)
            return
        except OSError:
            if not place.exists() or _load(place) is not None:
                if place.exists():
                    return
                raise
            broken = place.with_name(f"{place.name}.broken-{os.urandom(4).hex()}")
            with suppress(OSError):
                place.rename(broken)
            shutil.rmtree(broken, ignore_errors=True)


def _load(place: Path) -> Cached | None:
    """The cache at `place`, or None where there is none or it is damaged."""
    try:
        meta = json.loads((place / "meta.json").read_bytes())
        if meta["format"] != FORMAT or meta["key"] != place.name:
            return None
        labels = np.load(place / "labels.npy", allow_pickle=False)
        if hashlib.sha256(labels.tobytes()).hexdigest() != meta["labels_sha256"]:
            return None
        if len(labels) == 0:
            return None
        images = np.lib.format.open_memmap(place / "images.npy", mode="c")
        if list(images.shape) != meta["shape"] or len(images) != len(labels) or images.dtype != np.uint8:
            return None
        if (place / "images.npy").stat().st_size != images.offset + images.nbytes:
            return None
        unusable = tuple(Unusable(name, why, place) for name, why, place in meta["unusable"])
        content = str(meta["content"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Cached(images.view(np.ndarray).transpose(0, 2, 3, 1), labels, unusable, content)


@contextmanager
def _only_builder(place: Path) -> Iterator[bool]:
    """Lets one process build at a time, where the file system has locks; a process that dies frees its lock.

    Gives whether the lock is held. Without it two processes build side by side, and the first to finish wins.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with place.with_name(f"{place.name}.lock").open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            held = True
        except OSError:
            held = False
        yield held


def _clear_remains(place: Path) -> None:
    """Removes what processes that were killed while building left behind."""
    for remains in (*place.parent.glob(f"{place.name}.building-*"), *place.parent.glob(f"{place.name}.broken-*")):
        shutil.rmtree(remains, ignore_errors=True)
