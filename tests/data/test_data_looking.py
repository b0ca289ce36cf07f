"""Colour is not thrown away without a word: one colour image anywhere makes a source a colour source."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from data_samples import encode, parquet, picture
from PIL import Image

from vitscope._core.errors import DataError
from vitscope.data import DataSpec, open_data, peek
from vitscope.data.sources.base import evenly


def images(grey: int, colour: int = 0, more_grey: int = 0) -> list[bytes | None]:
    """Encoded noise of 8×8 pixels: grey, colour, and grey again."""
    channels = [1] * grey + [3] * colour + [1] * more_grey
    return [encode(picture(i, channels=count)) for i, count in enumerate(channels)]


def folder(root: Path, cells: list[bytes | None]) -> Path:
    """Class folders `a` and `b`, in turn."""
    for name in "ab":
        (root / name).mkdir(parents=True)
    for i, cell in enumerate(cells):
        (root / "ab"[i % 2] / f"{i:04}.png").write_bytes(cell or b"")
    return root


def table(root: Path, cells: list[bytes | None], row_group: int = 40) -> Path:
    """A parquet file of two classes."""
    parquet(root / "train.parquet", cells, [i % 2 for i in range(len(cells))], ["a", "b"], row_group=row_group)
    return root


def channels(root: Path) -> int:
    spec = DataSpec(source=str(root))
    opened = open_data(spec, image_size=(8, 8)).train.channels
    assert peek(spec).channels == opened
    return opened


@pytest.mark.parametrize("source", [folder, table])
@pytest.mark.parametrize("cells", [images(64, 300), images(99, 28), images(151, 1, 50)], ids=["300", "28", "one"])
def test_colour_behind_the_first_grey_images_is_kept(tmp_path: Path, source: Any, cells: list[bytes | None]) -> None:
    assert channels(source(tmp_path / "d", cells)) == 3


@pytest.mark.parametrize("source", [folder, table])
def test_only_grey_images_make_a_grey_source(tmp_path: Path, source: Any) -> None:
    assert channels(source(tmp_path / "d", images(200))) == 1


def test_colour_in_the_test_split_alone_is_kept(tmp_path: Path) -> None:
    table(tmp_path / "d", images(70))
    parquet(tmp_path / "d" / "test.parquet", images(9, 1), [0, 1] * 5, ["a", "b"])
    assert channels(tmp_path / "d") == 3


def test_who_asks_for_one_channel_gets_one(tmp_path: Path) -> None:
    spec = DataSpec(source=str(folder(tmp_path / "d", images(5, 5))))
    assert open_data(spec, image_size=(8, 8), channels=1).train.channels == 1


def test_all_headers_are_read_once_and_again_when_an_image_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "d", images(150))
    told: list[tuple[int, int]] = []
    first = peek(DataSpec(source=str(root)), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (150, 150)
    with monkeypatch.context() as patch:
        patch.setattr("vitscope.data.looking.look_at", lambda _: pytest.fail("read again"))
        assert peek(DataSpec(source=str(root))) == first
    assert (first.channels, first.native_size) == (1, (8, 8))
    (root / "b" / "0150.png").write_bytes(encode(picture(1, (9, 7))))
    assert peek(DataSpec(source=str(root))).channels == 3


def test_a_header_that_the_system_would_not_read_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "d", images(150, 1))  # the samples pass over the one colour image
    real = Image.open

    def not_the_colour_image(file: Any) -> Any:
        if isinstance(file, Path) and file.name == "0150.png":
            raise OSError(errno.EIO, "Input/output error")
        return real(file)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", not_the_colour_image)
        with pytest.raises(DataError, match=r"0150\.png cannot be read \(Input/output error\)"):
            peek(DataSpec(source=str(root)))
    assert peek(DataSpec(source=str(root))).channels == 3


def test_damaged_images_say_nothing_about_colour(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", [*images(20), b"text", encode(picture(0))[:20], b"II*\0\xff\xff\xff\xff"])
    assert peek(DataSpec(source=str(root))).channels == 1


@pytest.mark.parametrize(("length", "count"), [(0, 8), (1, 8), (64, 64), (127, 64), (1000, 8)])
def test_samples_are_spread_over_all_items(length: int, count: int) -> None:
    taken = evenly(range(length), count)
    assert len(set(taken)) == len(taken) == min(length, count)
    gaps = [after - before for before, after in pairwise([*taken, length])]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
