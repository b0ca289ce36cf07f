"""Which of a table's images a model is examined with. In goes a table, out come a few that show something, normalised, and their labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.data import ImageTable

PICTURES, TRIED = 8, 100
"""Images that a model is examined with, and rows that are gone through for each, until one is not of a single colour."""
NOTHING_SHOWN = Text(
    "The training images that were looked at are blank or all the same, so the model was examined with noise for images.",
    "調べた学習画像がすべて無地または同じ画像のため、モデルは画像の代わりにノイズで検査しました。",
)


def pictures_of(
    table: ImageTable, preprocessing: Preprocessing
) -> tuple[Tensor | None, Tensor | None, tuple[Text, ...]]:
    """Images from all over a table and their labels, without blank ones, which show a model nothing; none, and a note of it, where no two differ."""
    step = max(1, len(table) // PICTURES)
    starts = range(0, min(step * PICTURES, len(table)), step)
    found = [number for start in starts if (number := _first_with_content(table, start, step)) is not None]
    rows = [table.item(number) for number in found]
    if not any((image != rows[0][0]).any() for image, _ in rows):
        return None, None, (NOTHING_SHOWN,)
    pixels = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image, _ in rows])
    return preprocessing.normalise(pixels), torch.tensor([label for _, label in rows]), ()


def _first_with_content(table: ImageTable, start: int, step: int) -> int | None:
    """The first row from one on that is not of a single colour."""
    for number in range(start, min(start + min(step, TRIED), len(table))):
        image = table.item(number)[0]
        if np.any(image != image[:1, :1]):
            return number
    return None
