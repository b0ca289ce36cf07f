"""scikit-learn's 1,797 handwritten digits of 8×8 pixels: built in, no download. Out comes a greyscale source with a fixed division.

The original's levels 0..16 become 0..255. 1,437 images are for training, 360 for testing, every digit in proportion.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Int64, UInt8

from vitscope.data.sources.base import Digester, Record, Source, Split
from vitscope.data.splitting import stratified

COUNT, TEST_COUNT = 1797, 360
NAMES = tuple(str(digit) for digit in range(10))


def open_digits() -> Source:
    """The digits; reading them waits until they are asked for."""
    splits = {"train": DigitsSplit("train"), "test": DigitsSplit("test")}
    return Source("digits", NAMES, splits, look=lambda: (1, (8, 8)))


class DigitsSplit(Split):
    """`train`, `test`, or `all` in scikit-learn's order."""

    def __init__(self, part: str) -> None:
        self.part = part

    def __len__(self) -> int:
        return {"train": COUNT - TEST_COUNT, "test": TEST_COUNT}.get(self.part, COUNT)

    def key(self, digest: Digester) -> str:
        return f"scikit-learn digits {self.part} 1"

    def records(self) -> Iterator[Record]:
        images, labels = _arrays()
        for i in positions(self.part):
            yield Record(f"digits image {i}", int(labels[i]), images[i])


def positions(part: str) -> Int64[np.ndarray, " N"]:
    """Places of a part's images in scikit-learn's order."""
    _, labels = _arrays()
    if part == "all":
        return np.arange(len(labels))
    train, test = stratified(labels, TEST_COUNT / COUNT, seed=0)
    return train if part == "train" else test


@cache
def _arrays() -> tuple[UInt8[np.ndarray, "N 8 8 1"], Int64[np.ndarray, " N"]]:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, loaded.target.astype(np.int64)
