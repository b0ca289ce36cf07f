"""Files that are written whole or not at all: to a temporary name beside the target, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from vitscope._core.errors import RunError
from vitscope._core.text import Text

_NO_FOLDER = (errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def _cannot_write(path: Path, error: OSError, way_out: Text) -> RunError:
    """The error of a file that the system does not let be written, and what helps."""
    why, room = error.strerror or error, bool(room_for(error))
    return RunError(
        Text(
            f"cannot write {path}: {why}; {room_for(error)}{way_out.en}",
            f"{path}に書き込めません（{why}）。{'空き容量を増やすか、' if room else ''}{way_out.ja}",
        )
    )


_OTHER_FOLDER = Text("choose another folder", "別のフォルダを指定してください")
_WRITABLE = Text("make its folder writable", "フォルダを書き込み可能にしてください")


def room_for(error: OSError) -> str:
    """The first half of an advice, `free some space or `, where that may help against an error of writing."""
    return "" if error.errno in (*_NO_FOLDER, *_NOT_ALLOWED) else "free some space or "


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on leaving without an error its content takes the place of `path` at one stroke.

    Raises:
        RunError: the folder cannot be written or the disk is full; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as handle:  # Windows flushes only what is open for writing
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error, _OTHER_FOLDER if error.errno in _NO_FOLDER else _WRITABLE) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Says before the work what would keep its result from being written; nothing is left behind.

    Raises:
        RunError: nothing can be written there.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(path, error, _WRITABLE if error.errno in _NOT_ALLOWED else _OTHER_FOLDER) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all (UTF-8)."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON document whole or not at all; Japanese stays readable in it."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
