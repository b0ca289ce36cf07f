"""Content digests of files, remembered. In go paths, out come SHA-256 digests.

A file whose path, size, inode and times (of content and of status) have not changed is not read again: a second start costs a `stat`
a file. The time of the content alone can be set back by whoever replaces a file; that of the status cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from vitscope._core.errors import RunError
from vitscope._core.files import write_text
from vitscope._core.preprocessing import cannot_be_read
from vitscope.data.sources.base import Progress

SETTLED_NS = 2_000_000_000
"""A file younger than this may still change without its times changing, so its digest is not remembered."""

Stamp = tuple[int, int, int, int]
"""Size, time of content, time of status (both in nanoseconds) and inode of a file."""


class RememberedDigests:
    """Digests of the files below one folder, kept in `cache/manifests`."""

    def __init__(self, cache: Path, root: Path, progress: Progress | None = None) -> None:
        self._root = root.resolve()
        where = hashlib.sha256(os.fsencode(self._root)).hexdigest()[:24]
        self._manifest = cache / "manifests" / f"{where}.json"
        self._progress = progress
        self._known: dict[str, tuple[Stamp, str]] | None = None

    def __call__(self, files: Sequence[Path | str]) -> list[str]:
        """Hexadecimal SHA-256 of each file's content.

        Raises:
            DataError: a file cannot be read.
        """
        if self._known is None:
            self._known = self._read()
        names, stamps, unknown = [], [], []
        for i, path in enumerate(files):
            stat = _stat(path)
            names.append(os.path.abspath(path))  # noqa: PTH100  cheaper than a Path for each file
            stamps.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
            known = self._known.get(names[-1])
            if known is None or known[0] != stamps[-1]:
                unknown.append(i)
        digests = [known[1] if (known := self._known.get(name)) else "" for name in names]
        if unknown:
            settled = time.time_ns() - SETTLED_NS
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                found = pool.map(_sha256, (files[i] for i in unknown), chunksize=1)
                for done, (i, digest) in enumerate(zip(unknown, found, strict=True), 1):
                    digests[i] = digest
                    if max(stamps[i][1], stamps[i][2]) < settled:
                        self._known[names[i]] = (stamps[i], digest)
                    if self._progress and (done % 256 == 0 or done == len(unknown)):
                        self._progress(done, len(unknown))
            self._write()
        return digests

    def _read(self) -> dict[str, tuple[Stamp, str]]:
        try:
            held = json.loads(self._manifest.read_text(encoding="utf-8"))
            return {
                name: ((size, mtime, ctime, inode), str(digest))
                for name, ((size, mtime, ctime, inode), digest) in held.items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # nothing remembered, or not readable: digests are made anew

    def _write(self) -> None:
        with suppress(RunError):  # a manifest only saves time; the cache itself complains when it cannot be written
            write_text(self._manifest, json.dumps(self._known, ensure_ascii=True))


def _stat(path: Path | str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise cannot_be_read(str(path), error) from None


def _sha256(path: Path | str) -> str:
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise cannot_be_read(str(path), error) from None
