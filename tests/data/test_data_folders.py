"""Folders of class folders: every kind of picture, every layout, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import bomb, class_folders, encode, picture
from PIL import Image

from vitscope._core.errors import CorruptImageError, DataError
from vitscope.data import DataSpec, DataSplits, open_data, open_split, peek


def opened(root: Path | str, size: tuple[int, int] = (8, 8), **settings: Any) -> DataSplits:
    return open_data(DataSpec(source=str(root), **settings), image_size=size)


def sentence(call: Any) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


def test_every_kind_of_picture_becomes_colour_of_the_asked_size(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for name in ("red", "other"):
        (root / name).mkdir(parents=True)
    red = Image.new("RGB", (40, 30), (200, 0, 0))
    for kind, options in (
        ("jpg", {"quality": 95}),
        ("png", {}),
        ("webp", {"lossless": True}),
        ("gif", {}),
        ("bmp", {}),
        ("tiff", {}),
    ):
        red.save(root / "red" / f"x.{kind}", **options)  # type: ignore[arg-type]
    red.convert("CMYK").save(root / "red" / "cmyk.jpg", quality=95)
    red.convert("P").save(root / "red" / "palette.png")
    clear = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    clear.save(root / "other" / "transparent.png")
    indexed = Image.new("P", (40, 30), 0)
    indexed.putpalette([200, 0, 0] + [0] * 765)
    indexed.save(root / "other" / "transparent_palette.png", transparency=0)
    Image.fromarray(np.full((30, 40), 65535, np.uint16)).save(root / "other" / "sixteen_bit.png")
    Image.new("1", (40, 30), 1).save(root / "other" / "one_bit.png")
    Image.new("LA", (40, 30), (0, 0)).save(root / "other" / "grey_alpha.png")
    table = open_split(DataSpec(source=str(root)), "train", image_size=(16, 12))
    assert table.images.shape == (13, 16, 12, 3)
    for image, label in (table.item(i) for i in range(len(table))):
        expected = (200, 0, 0) if table.label_names[label] == "red" else (255, 255, 255)
        np.testing.assert_allclose(image.reshape(-1, 3).astype(int), [expected] * 192, atol=12)


def test_turned_photographs_stand_upright_and_crop_keeps_proportions(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 1, "b": 1})
    half = Image.new("L", (20, 10), 0)
    half.paste(255, (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down: to be turned clockwise
    for file in root.rglob("*.png"):
        half.save(file, exif=exif)
    squash = open_split(DataSpec(source=str(root), resize="squash"), "train", image_size=(10, 10), channels=1).item(0)[
        0
    ]
    assert squash[0].mean() > 250
    assert squash[-1].mean() < 5


def test_a_folder_with_splits(tmp_path: Path) -> None:
    root = tmp_path / "d"
    class_folders(root / "Train", {"cat": 3, "dog": 2})
    class_folders(root / "val", {"dog": 1, "cat": 2}, first_seed=50)
    class_folders(root / "test", {"cat": 4}, first_seed=90)
    splits = opened(root)
    assert (splits.val_name, len(splits.train), len(splits.val)) == ("validation", 5, 3)
    assert splits.label_names == ("cat", "dog")
    assert splits.val.labels.tolist() == [0, 0, 1]
    assert len(opened(root, val_split="test").val) == 4
    held_out = opened(root, val_fraction=0.4)
    assert (held_out.val_name, len(held_out.train), len(held_out.val)) == ("held-out", 3, 2)
    assert sentence(lambda: opened(root, val_split="tset")) == (
        "d has no split 'tset' (did you mean 'test'?); it has train, test, validation"
    )


def test_without_a_test_folder_a_fifth_of_each_class_is_held_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 20, "b": 10})
    splits = opened(root)
    assert splits.val_name == "held-out"
    assert np.bincount(splits.val.labels).tolist() == [4, 2]
    assert np.bincount(splits.train.labels).tolist() == [16, 8]
    both = {row.tobytes() for t in (splits.train, splits.val) for row in t.rows(np.arange(len(t)))}
    assert len(both) == 30
    assert opened(root, split_seed=1).content_key != splits.content_key
    assert len(opened(root, limit=5).train) == 5
    assert len(opened(root, limit=5).val) == 6


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    assert opened(class_folders(tmp_path / "d", {"bus": 5, "train": 5, "car": 5})).label_names == (
        "bus",
        "car",
        "train",
    )


def test_hidden_and_foreign_files_are_passed_over_and_nested_folders_and_links_are_read(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5, "__MACOSX": 1, ".cache": 1})
    for name in ("Thumbs.db", "notes.txt", ".DS_Store", "._0.png"):
        (root / "a" / name).write_text("x")
    (root / "readme.md").write_text("x")
    class_folders(root / "a", {"deeper": 2}, first_seed=70)
    class_folders(tmp_path, {"elsewhere": 3}, first_seed=80)
    (root / "c").symlink_to(tmp_path / "elsewhere")
    splits = opened(root)
    assert splits.label_names == ("a", "b", "c")
    assert len(splits.train) + len(splits.val) == 15
    assert splits.ignored == 3
    assert splits.first_ignored == "a/Thumbs.db"
    assert splits.to_dict()["ignored"] == 3
    assert splits.to_dict()["first_ignored"] == "a/Thumbs.db"


def test_photographs_in_a_format_that_pillow_does_not_read_and_files_without_extension_are_counted(
    tmp_path: Path,
) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    assert (opened(root).ignored, opened(root).first_ignored) == (0, None)
    (root / "b" / "IMG_0001.HEIC").write_bytes(b"x")
    (root / "b" / "noextension").write_bytes(encode(picture(0)))
    (root / "loose.png").write_bytes(encode(picture(0)))  # no class folder holds it
    assert (opened(root).ignored, opened(root).first_ignored) == (3, "b/IMG_0001.HEIC")


def test_a_dangling_link_is_told_and_a_pipe_is_passed_over(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"a": 5, "b": 5})
    os.mkfifo(root / "a" / "pipe.png")
    assert len(opened(root).train) == 8
    (root / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert sentence(lambda: opened(root)) == (
        f"{root}/a/gone.png cannot be read (No such file or directory); it may have been removed meanwhile"
    )


def test_names_that_are_no_unicode_and_japanese_ones_are_read(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"犬": 2, "猫": 2})
    (Path(str(root)) / "犬" / b"bad\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"text")
    splits = opened(root, skip_corrupt=True)
    assert splits.label_names == ("犬", "猫")
    assert splits.skipped == ("犬/bad\\xff.png",)


def test_facts_are_cheap_and_greyscale_is_seen(tmp_path: Path) -> None:
    grey = tmp_path / "grey"
    for name in ("a", "b"):
        (grey / name).mkdir(parents=True)
        (grey / name / "0.png").write_bytes(encode(picture(0, (9, 7), 1)))
    facts = peek(DataSpec(source=str(grey)))
    assert (facts.channels, facts.native_size, facts.label_names, facts.splits) == (1, (9, 7), ("a", "b"), {"train": 2})
    (grey / "a" / "1.png").write_bytes(encode(picture(0, (8, 8))))
    facts = peek(DataSpec(source=str(grey)))
    assert (facts.channels, facts.native_size) == (3, None)
    assert facts.to_dict()["splits"] == {"train": 3}


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("text.jpg", b"this is text", "is not an image that Pillow can read"),
        ("empty.png", b"", "is not an image that Pillow can read"),
        ("bomb.png", bomb(), "claims more than 89,478,485 pixels and may be a decompression bomb"),
        ("dot.png", encode(picture(0, (1, 1))), "is 1×1 pixels, expected at least 2×2"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_unusable_images_are_named_with_the_reason(tmp_path: Path, file: str, content: bytes, why: str) -> None:
    root = class_folders(tmp_path / "d", {"a": 4, "b": 4})
    (root / "a" / file).write_bytes(content)
    with pytest.raises(CorruptImageError) as caught:
        opened(root)
    assert str(caught.value) == (
        f"1 of 9 images cannot be used: a/{file} {why}; remove or replace them, or leave them out with data.skip_corrupt=true"
    )
    assert opened(root, skip_corrupt=True).skipped == (f"a/{file}",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_truncated_images_are_corrupt(tmp_path: Path, kind: str) -> None:
    root = class_folders(tmp_path / "d", {"a": 4, "b": 4})
    data = encode(picture(0, (64, 64)), kind)
    (root / "b" / "half.jpg").write_bytes(data[: len(data) // 2])
    assert sentence(lambda: opened(root)).startswith("1 of 9 images cannot be used: b/half.jpg ")


def test_bad_images_of_both_splits_are_counted_together(tmp_path: Path) -> None:
    class_folders(tmp_path / "d" / "train", {"a": 2, "b": 2})
    class_folders(tmp_path / "d" / "test", {"a": 2, "b": 2})
    (tmp_path / "d" / "train" / "a" / "0.png").write_text("x")
    (tmp_path / "d" / "test" / "b" / "1.png").write_text("x")
    why = "is not an image that Pillow can read"
    assert f"2 of 8 images cannot be used: train/a/0.png {why}, test/b/1.png {why};" in sentence(
        lambda: opened(tmp_path / "d")
    )


def test_layouts_that_cannot_be_used(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 2})
    (root / "horse").mkdir()
    (root / "horse" / "readme.txt").write_text("x")
    assert (
        sentence(lambda: opened(root)) == f"class folder {root}/horse holds no images; add images or remove the folder"
    )
    assert sentence(lambda: peek(DataSpec(source=str(root)))) == sentence(lambda: opened(root))
    one = class_folders(tmp_path / "one", {"cat": 2})
    assert (
        sentence(lambda: opened(one))
        == f"{one} has only one class folder, 'cat', expected at least two; add another class"
    )
    outer = tmp_path / "outer"
    class_folders(outer / "inner", {"cat": 2, "dog": 2})
    assert sentence(lambda: opened(outer)) == (
        f"{outer} has only one class folder, 'inner', expected at least two; the classes may be one level down: give {outer}/inner"
    )
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "1.png").write_bytes(encode(picture(0)))
    assert sentence(lambda: opened(loose)) == (
        f"{loose} has no class folders; expected a folder of images for each class, e.g. {loose}/cat/1.jpg"
    )
    split = tmp_path / "split"
    class_folders(split / "train", {"cat": 2, "dog": 2})
    class_folders(split / "test", {"cat": 2, "dogs": 2})
    assert sentence(lambda: opened(split)) == (
        f"{split}/test has the class 'dogs' (did you mean 'dog'?), which the training folder has not; rename or remove it, or add "
        "it to the training folder"
    )
    few = class_folders(tmp_path / "few", {"cat": 1, "dog": 1})
    assert sentence(lambda: opened(few)) == (
        "few has 2 training images, too few to hold out a part of 0.2 for validation; add images or a test/ folder"
    )


def test_sources_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 2})
    assert sentence(lambda: opened(tmp_path / "pest")) == (
        f"folder {tmp_path}/pest does not exist (did you mean '{root}'?); give an existing folder"
    )
    assert sentence(lambda: opened(tmp_path / "no" / "such" / "place")) == (
        f"folder {tmp_path}/no/such/place does not exist (already {tmp_path}/no is missing); give an existing folder"
    )
    monkeypatch.chdir(tmp_path)
    expected = "; expected digits, cifar10, cifar100, hub:owner/name or an existing folder"
    assert sentence(lambda: opened("cifr10")) == f"unknown data source 'cifr10' (did you mean 'cifar10'?){expected}"
    assert sentence(lambda: opened("pest")) == f"unknown data source 'pest' (did you mean 'pets'?){expected}"
    assert sentence(lambda: opened("zzzz")) == f"unknown data source 'zzzz'{expected}"
    assert len(opened("pets", val_fraction=0.5).train) == 2
    (tmp_path / "file.tar.gz").write_bytes(b"")
    assert sentence(lambda: opened("file.tar.gz")) == (
        "file.tar.gz is a file, expected a folder; for the binary CIFAR archive write cifar10:file.tar.gz or cifar100:file.tar.gz"
    )
    assert sentence(lambda: open_data(DataSpec(source="digits"), image_size=(8, 8), channels=2)) == (
        "channels is 2, expected 1 (greyscale) or 3 (colour)"
    )
