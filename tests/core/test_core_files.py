"""Files are written whole or not at all: an error on the way leaves what was there, and nothing beside it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from vitscope._core.errors import RunError
from vitscope._core.files import write_json, write_text, written_whole


def test_content_takes_the_place_of_the_old_at_one_stroke(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("old")
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "日本語")
    assert (tmp_path / "a" / "b" / "c.txt").read_text(encoding="utf-8") == "日本語"


@pytest.mark.parametrize("error", [ValueError("mid-write"), KeyboardInterrupt()])
def test_an_error_mid_write_leaves_the_old_file_and_no_part(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")

    def write_half() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError, match=r"cannot write .*config\.json: No space left on device; free some space or make its"
    ):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_device_that_is_really_full(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"

    def write_to_full() -> None:
        with written_whole(path) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x" * 100_000)

    with pytest.raises(RunError, match="No space left on device"):
        write_to_full()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        RunError, match=r"cannot write .*out\.txt: (Not a directory|File exists); choose another folder$"
    ):
        write_text(tmp_path / "file" / "out.txt", "new")


def test_a_read_only_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:  # the tests may run as root, whom no mode keeps out
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_text", denied)
    with pytest.raises(RunError, match=r"Permission denied; make its folder writable$"):
        write_text(tmp_path / "out.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_flushed_does_not_undo_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folder_handles(path: Any, *_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "folders cannot be opened on this system", str(path))

    monkeypatch.setattr(os, "open", no_folder_handles)
    write_text(tmp_path / "out.txt", "new")
    assert (tmp_path / "out.txt").read_text() == "new"


def test_a_file_is_flushed_through_a_handle_that_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):  # a folder is opened for reading only
            os.write(handle, b"")  # what Windows asks for; an error on a handle for reading
            flushed.append(True)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "out.txt", "new")
    assert flushed == [True]
    assert (tmp_path / "out.txt").read_text() == "new"


def test_json_is_readable_japanese_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"猫": [1, 2.5, None]})
    assert "猫" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").endswith("\n")
    assert json.loads(path.read_text(encoding="utf-8")) == {"猫": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert "猫" in path.read_text(encoding="utf-8")
