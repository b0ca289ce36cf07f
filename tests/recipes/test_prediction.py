"""What a loaded model takes for pictures: one or several, decoded or by their paths."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitscope._core.errors import DataError
from vitscope._core.preprocessing import Preprocessing
from vitscope.model.create import build
from vitscope.model.spec import ViTSpec
from vitscope.recipes.trained import TrainedModel


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    spec = ViTSpec(image_size=8, patch_size=4, classes=3, dim=16, depth=1, heads=2)
    return TrainedModel(build(spec).eval(), spec, Preprocessing(image_size=8), ("a", "b", "c"))


def picture(shade: int) -> Image.Image:
    return Image.fromarray(np.full((9, 12, 3), shade, dtype=np.uint8))


def test_one_picture_is_a_batch_of_one(trained: TrainedModel, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    picture(40).save(file)
    expected = trained.predict([picture(40)])
    assert expected.shape == (1, 3)
    for one in (picture(40), file, str(file), [file], (str(file),)):
        assert torch.equal(trained.predict(one), expected)
    assert trained.predict([picture(1), str(file)]).shape == (2, 3)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "there are no images to classify; give one or more"),
        ("nowhere.png", "nowhere.png does not exist; give the path of an image file"),
        ([3], "a picture is of type int, expected a Pillow image or the path of an image file"),
        (np.zeros((8, 8, 3)), "a picture is of type ndarray, expected a Pillow image or the path of an image file"),
        (None, "a picture is of type NoneType, expected a Pillow image or the path of an image file"),
    ],
)
def test_what_is_no_picture(trained: TrainedModel, given: Any, sentence: str) -> None:
    with pytest.raises(DataError) as error:
        inspect.unwrap(TrainedModel.inputs)(trained, given)
    assert str(error.value) == sentence
