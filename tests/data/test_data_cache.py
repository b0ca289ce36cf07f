"""The cache: keyed by content, whole or not there, quick the second time, and clear about a disk that does not take it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from data_samples import SHARED_CIFAR, class_folders, encode, picture

from vitscope._core.errors import CorruptImageError, DataError
from vitscope._core.preprocessing import Preprocessing
from vitscope.data import DataSpec, DataSplits, mean_std, open_data, open_split, peek
from vitscope.data import cache as cache_module
from vitscope.data import decode as decode_module
from vitscope.data.sources.base import Record

OPEN = """
import sys, time, json
import vitscope.data.decode as decode
from vitscope.data import DataSpec, open_data
slow = float(sys.argv[2])
fit = decode.fit
def slowly(record, how):
    time.sleep(slow)
    return fit(record, how)
decode.fit = slowly
splits = open_data(DataSpec(source=sys.argv[1]), image_size=(8, 8))
print(json.dumps([splits.content_key, int(splits.train.images.astype('int64').sum())]))
"""


def opened(root: Path | str, size: tuple[int, int] = (8, 8), **settings: Any) -> DataSplits:
    return open_data(DataSpec(source=str(root), **settings), image_size=size)


def caches(cache: Path) -> list[str]:
    """Names in the cache's image folder, locks left out."""
    folder = cache / "images"
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock")) if folder.exists() else []


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it, and from then on decoding fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr(cache_module, "decode_all", refuse)


def test_images_of_the_right_size_are_stored_untouched(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    splits = opened(root)
    everything = cache_module.np.load(next((Path(os.environ["VITSCOPE_CACHE"]) / "images").glob("*/images.npy")))
    np.testing.assert_array_equal(everything.transpose(0, 2, 3, 1), [picture(i) for i in range(10)])
    assert splits.train.images.base is not None  # a view of the file, not a copy


def test_a_second_start_decodes_nothing_and_a_moved_folder_is_recognised(
    tmp_path: Path, cache: Path, no_decoding: Any
) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    first = opened(root)
    no_decoding()
    assert opened(root).content_key == first.content_key
    shutil.move(root, tmp_path / "moved")
    again = opened(tmp_path / "moved")
    assert again.content_key == first.content_key
    np.testing.assert_array_equal(again.train.rows(np.arange(8)), first.train.rows(np.arange(8)))
    assert len(caches(cache)) == 1


def test_the_key_follows_content_size_channels_and_fitting(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    keys = {opened(root).content_key, opened(root, (4, 4)).content_key, opened(root, resize="squash").content_key}
    keys.add(open_data(DataSpec(source=str(root)), image_size=(8, 8), channels=1).content_key)
    before = (root / "a" / "0.png").stat()
    (root / "a" / "0.png").write_bytes(encode(picture(999)))
    os.utime(
        root / "a" / "0.png", ns=(before.st_atime_ns, before.st_mtime_ns)
    )  # same size or not: the data are young, so read again
    keys.add(opened(root).content_key)
    (root / "a" / "0.png").rename(root / "b" / "9.png")
    keys.add(opened(root).content_key)
    assert len(keys) == 6
    assert len(caches(cache)) == 6
    assert opened(root, val_fraction=0.4).content_key != opened(root, val_fraction=0.5).content_key
    assert len(caches(cache)) == 6  # a division costs no decoding


def test_remembered_digests_spare_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitscope.data import digests

    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    time.sleep(0.05)
    first = opened(root)
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail(f"{path} read again"))
    assert opened(root).content_key == first.content_key


def test_a_file_that_is_younger_than_its_time_says_is_read_again(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    for file in root.rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    opened(root)
    manifest = next((Path(os.environ["VITSCOPE_CACHE"]) / "manifests").iterdir())
    assert json.loads(manifest.read_text()) == {}  # as a copied or unpacked file it may still be growing


@pytest.mark.parametrize("by", ["written over", "put in its place"])
def test_a_file_exchanged_for_another_of_its_size_and_time_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    from vitscope.data import digests

    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"before")
    time.sleep(0.05)

    def digest() -> str:
        return digests.RememberedDigests(tmp_path / "cache", tmp_path)([file])[0]

    before, stat = digest(), file.stat()
    if by == "written over":
        file.write_bytes(b"after!")
    else:
        other.write_bytes(b"after!")
        other.replace(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert digest() != before


def test_digests_remembered_without_inode_and_time_of_status_are_made_anew(tmp_path: Path) -> None:
    from vitscope.data import digests

    (tmp_path / "file").write_bytes(b"content")
    stat = (tmp_path / "file").stat()
    remembered = digests.RememberedDigests(tmp_path / "cache", tmp_path)
    remembered._manifest.parent.mkdir(parents=True)
    remembered._manifest.write_text(json.dumps({str(tmp_path / "file"): [stat.st_size, stat.st_mtime_ns, "wrong"]}))
    assert remembered([tmp_path / "file"]) == [hashlib.sha256(b"content").hexdigest()]


def test_another_pillow_decodes_anew_and_the_training_stays_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened("digits")
    made = caches(cache)
    monkeypatch.setattr(PIL, "__version__", "999.0")
    assert opened("digits").content_key == first.content_key
    assert len(caches(cache)) == 2 * len(made)


def test_a_content_key_is_what_it_was_when_the_first_checkpoints_were_written() -> None:
    assert opened("digits").content_key == "700f533305a5c707de4603b8bf3a59fd"


def test_a_training_is_another_one_when_another_image_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    (root / "a" / "x.jpg").write_text("this is text")
    first = opened(root, skip_corrupt=True)
    monkeypatch.setattr(PIL, "__version__", "999.0")
    assert opened(root, skip_corrupt=True).content_key == first.content_key
    monkeypatch.setattr(PIL, "__version__", "1000.0")
    fit = decode_module.fit

    def reads_less(record: Record, how: Preprocessing) -> np.ndarray:
        if record.name == "a/1.png":
            raise CorruptImageError("a/1.png cannot be decoded (by this Pillow); remove or replace it")
        return fit(record, how)

    monkeypatch.setattr(decode_module, "fit", reads_less)
    later = opened(root, skip_corrupt=True)
    assert later.skipped == ("a/1.png", "a/x.jpg")
    assert later.content_key != first.content_key


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "images.npy").open("r+b").truncate(1000),
        lambda folder: (folder / "images.npy").open("r+b").truncate(10),
        lambda folder: (folder / "images.npy").open("ab").write(b"more"),
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "labels.npy").write_bytes(b""),
        lambda folder: np.save(folder / "labels.npy", np.zeros(10, np.int64)),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text(json.dumps({"format": 0, "key": "x"})),
    ],
)
def test_a_damaged_cache_is_built_again(tmp_path: Path, cache: Path, damage: Any) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    before = opened(root).train.rows(np.arange(8))
    damage(cache / "images" / caches(cache)[0])
    np.testing.assert_array_equal(opened(root).train.rows(np.arange(8)), before)
    assert len(caches(cache)) == 1


def start(root: Path, slow: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(root), str(slow)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_a_cache(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 100, "b": 100})
    process = start(root, 0.02)
    deadline = time.monotonic() + 30
    while not any(".building-" in name for name in caches(cache)) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [".building-" in name for name in caches(cache)] == [True]
    splits = opened(root)
    assert len(splits.train) + len(splits.val) == 200
    assert [".building-" in name for name in caches(cache)] == [False]  # what was left behind is gone


@pytest.mark.parametrize("locks", [True, False])
def test_two_builders_at_once_agree(tmp_path: Path, cache: Path, locks: bool) -> None:
    root = class_folders(tmp_path / "d", {"a": 100, "b": 100})
    code = (
        OPEN if locks else OPEN.replace("import sys, time, json", "import sys, time, json\nsys.modules['fcntl'] = None")
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(root), "0.002"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1]
    assert len(caches(cache)) == 1


def test_a_full_disk_gets_one_sentence_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 100, "b": 100})
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000));"
        "from vitscope.data import DataSpec, open_data; from vitscope._core.errors import DataError\n"
        "try: open_data(DataSpec(source=sys.argv[1]), image_size=(8, 8))\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f"cannot write the image cache {cache}: File too large; free some space or set VITSCOPE_CACHE to another folder"
    )
    assert caches(cache) == []


def test_a_cache_that_cannot_be_made_gets_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VITSCOPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError) as caught:
        opened("digits")
    assert str(caught.value) == (
        f"cannot write the image cache {tmp_path}/file/cache: Not a directory; set VITSCOPE_CACHE to another folder"
    )


def test_too_little_space_is_told_before_the_decoding(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, no_decoding: Any
) -> None:
    root = class_folders(tmp_path / "d", {"a": 2, "b": 2})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
    no_decoding()
    with pytest.raises(DataError) as caught:
        opened(root, (1000, 1000))
    assert str(caught.value) == (
        f"the image cache {cache} needs 12 MB and its disk has 3 MB free; free some space there or set VITSCOPE_CACHE to "
        "another folder"
    )
    assert caches(cache) == []


def test_corrupt_images_are_all_counted_the_first_named_and_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    for i in range(7):
        (root / "a" / f"x{i}.jpg").write_text("this is text")
    with pytest.raises(CorruptImageError) as caught:
        opened(root)
    named = ", ".join(f"a/x{i}.jpg is not an image that Pillow can read" for i in range(5))
    assert str(caught.value) == (
        f"7 of 17 images cannot be used: {named} and 2 more; remove or replace them, or leave them out with data.skip_corrupt=true"
    )
    assert caches(cache) == []


def test_skipped_images_are_listed_and_a_later_strict_start_still_stops(tmp_path: Path, no_decoding: Any) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    (root / "a" / "x.jpg").write_text("this is text")
    splits = opened(root, skip_corrupt=True)
    assert splits.skipped == ("a/x.jpg",)
    assert len(splits.train) + len(splits.val) == 10
    no_decoding()
    assert opened(root, skip_corrupt=True).skipped == ("a/x.jpg",)
    with pytest.raises(CorruptImageError, match=r"1 of 11 images cannot be used: a/x\.jpg"):
        opened(root)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "a/3.png cannot be read (Too many open files); mend that"),
        (OSError(errno.EIO, "Input/output error"), "a/3.png cannot be read (Input/output error); mend that"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "a/3.png cannot be read (No such file); it may have been"),
        (MemoryError(), "there is too little memory to decode a/3.png; free some"),
    ],
)
def test_a_fault_of_the_machine_stops_and_the_next_start_has_every_image(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    read = Path.read_bytes

    def read_all_but_one(path: Path) -> bytes:
        if path.name == "3.png" and path.parent.name == "a":
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_all_but_one)
    with pytest.raises(DataError) as caught:
        opened(root, skip_corrupt=True)
    assert str(caught.value).startswith(says)
    assert caches(cache) == []
    monkeypatch.undo()
    monkeypatch.setenv("VITSCOPE_CACHE", str(cache))
    splits = opened(root, skip_corrupt=True)
    assert splits.skipped == ()
    assert len(splits.train) + len(splits.val) == 10


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_a_fault_while_an_image_is_fitted_is_not_kept_as_the_images(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(decode_module, "fit", fail)
    with pytest.raises(DataError, match=r"a/0\.png"):
        opened(root, skip_corrupt=True)
    assert caches(cache) == []


def test_a_class_without_a_usable_image_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 1})
    (root / "b" / "0.png").write_text("this is text")
    with pytest.raises(DataError) as caught:
        opened(root, skip_corrupt=True)
    assert str(caught.value) == "class 'b' of d has no usable image left; add images or remove the class"


def test_progress_is_told_and_ends_at_the_total(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 100, "b": 100})
    told: list[tuple[int, int]] = []
    open_data(DataSpec(source=str(root)), image_size=(8, 8), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert all(0 < done <= total == 200 for done, total in told)


def test_order_survives_many_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "TASK", 3)
    root = class_folders(tmp_path / "d", {"a": 40, "b": 40})
    (root / "a" / "13.png").write_text("text")
    splits = opened(root, skip_corrupt=True, val_fraction=0.01)
    names = sorted(f"a/{i}.png" for i in range(40)) + sorted(f"b/{i}.png" for i in range(40))
    seeds = [int(n[2:-4]) + (40 if n[0] == "b" else 0) for n in names if n != "a/13.png"]
    assert splits.train.index is not None
    for place, image in zip(splits.train.index, splits.train.rows(np.arange(len(splits.train))), strict=True):
        np.testing.assert_array_equal(image, picture(seeds[place]))


@pytest.mark.e2e
@pytest.mark.skipif(not SHARED_CIFAR.exists(), reason="../shared/data/cifar10 is not beside this checkout")
def test_a_second_opening_of_cifar10_decodes_nothing_and_leaves_the_cache_untouched(
    cache: Path, no_decoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitscope.data import digests

    spec = DataSpec(source=str(SHARED_CIFAR))
    facts = peek(spec)
    assert (facts.splits, facts.channels, facts.native_size) == ({"train": 50_000, "test": 10_000}, 3, (32, 32))
    first = open_split(spec, "test", image_size=(32, 32))
    files = [file for file in cache.rglob("*") if file.is_file() and file.suffix != ".lock"]
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}
    assert {"images.npy", "labels.npy", "meta.json"} < {file.name for file in files}
    no_decoding()
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail(f"{path} read again"))
    second = open_split(spec, "test", image_size=(32, 32))
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files} == before
    assert len(caches(cache)) == 1
    assert second.label_names[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(second.labels).tolist() == [1000] * 10
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_allclose(mean_std(second)[0], (0.4941, 0.4851, 0.4504), atol=5e-5)  # the data's README says so
