"""Whether a source is greyscale, for certain. In goes a source, out come its channels and the size of its images.

Colour among a source's samples settles it. Samples that are all grey do not: the first colour image behind them would lose its colour
without a word. Then the header of every image is read, once, and the answer is remembered under the digests of the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vitscope._core.errors import RunError
from vitscope._core.files import write_text
from vitscope.data.cache import cache_root
from vitscope.data.digests import RememberedDigests
from vitscope.data.sources.base import Progress, Source, look_at

Look = tuple[int, tuple[int, int] | None]
"""Channels (1 only where every image is greyscale) and the common (height, width), if there is one."""


def look(source: Source, progress: Progress | None = None) -> Look:
    """Channels and size of a source's images; after the first time from memory.

    Raises:
        DataError: a file cannot be read.
    """
    channels, size = source.look()
    if not source.sampled or channels == 3:
        return channels, size
    digest = RememberedDigests(cache_root(), source.files_root or Path(), progress)
    content = json.dumps([split.key(digest) for split in source.splits.values()])
    memory = cache_root() / "looks" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        held = json.loads(memory.read_text(encoding="utf-8"))
        return int(held["channels"]), tuple(held["native_size"]) if held["native_size"] else None
    channels, size = look_at(_images(source, progress))
    with suppress(RunError):  # not remembering only costs time
        write_text(memory, json.dumps({"channels": channels, "native_size": size}))
    return channels, size


def _images(source: Source, progress: Progress | None) -> Iterator[Path | bytes]:
    """Every image of every split, not decoded."""
    total, done = sum(len(split) for split in source.splits.values()), 0
    for split in source.splits.values():
        for record in split.records():
            assert isinstance(
                record.image, (Path, bytes)
            )  # a source that holds pixels knows its channels and is not sampled
            yield record.image
            done += 1
            if progress and (done % 256 == 0 or done == total):
                progress(done, total)
