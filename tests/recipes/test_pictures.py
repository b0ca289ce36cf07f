"""Which images of a data source a model is examined with: blank ones show nothing, and do not keep the model from being examined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitscope._core.preprocessing import Preprocessing
from vitscope.cli.main import main
from vitscope.data import ImageTable
from vitscope.recipes.pictures import PICTURES, pictures_of

HOW = Preprocessing(image_size=(8, 8), channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


def _table(images: np.ndarray) -> ImageTable:
    return ImageTable(images, np.arange(len(images)) % 4, ("a", "b", "c", "d"), "made")


def _noise(count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=0)).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def _folder(root: Path, images: np.ndarray) -> str:
    for number, image in enumerate(images):
        file = root / "train" / "abcd"[number % 4] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return str(root)


def _examined(folder: str, checks: str, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit):
        main(["doctor", "bad-vit:none", "--data", folder, "--checks", checks, "--json", "--lang", "en"])
    return json.loads(capsys.readouterr().out)


def test_blank_images_are_passed_over() -> None:
    images = _noise(80)
    images[[0, 1, 10, 45, 70]] = (255, 200, 7)
    pictures, labels, notes = pictures_of(_table(images), HOW)
    assert pictures is not None
    assert labels is not None
    expected = [2, 11, 20, 30, 40, 50, 60, 71]
    assert labels.tolist() == [number % 4 for number in expected]
    assert len(pictures) == PICTURES
    assert not notes
    assert bool((pictures != pictures[..., :1, :1]).flatten(1).any(1).all())


@pytest.mark.parametrize("images", [np.full((40, 8, 8, 3), 255, np.uint8), np.repeat(_noise(1), 40, 0)])
def test_where_no_image_shows_anything_there_are_none(images: np.ndarray) -> None:
    pictures, labels, notes = pictures_of(_table(images), HOW)
    assert pictures is None
    assert labels is None
    assert "examined with noise" in notes[0].en
    assert "ノイズ" in notes[0].ja


def test_one_blank_image_does_not_end_the_examination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = _noise(60)
    images[0] = 255
    found = _examined(_folder(tmp_path, images), "forward,data-normalisation", capsys)
    assert "forward" in found["checks_run"]
    assert not found["notes"]


def test_a_black_folder_gets_its_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _examined(_folder(tmp_path, 0 * _noise(60)), "forward,data-normalisation", capsys)
    assert [each["id"] for each in found["findings"]] == ["images-all-the-same"]
    assert "noise" in found["notes"][0]


def test_images_that_cannot_be_read_are_passed_over_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _folder(tmp_path, _noise(60))
    for name in ("train/a/damaged.png", "train/c/empty.png"):
        (tmp_path / name).write_bytes(b"no image")
    found = _examined(folder, "forward,data-normalisation", capsys)
    assert [(each["id"], each["severity"]) for each in found["findings"]] == [("images-cannot-be-read", "warning")]
    assert found["findings"][0]["summary"] == "2 images cannot be read: train/a/damaged.png, train/c/empty.png."
    assert not found["notes"]
    assert "forward" in found["checks_run"]
    assert found["healthy"] is True
    found = _examined(folder, "data-balance", capsys)
    assert found["notes"] == ["2 images cannot be read: train/a/damaged.png, train/c/empty.png."]
