"""Decoded images and their labels. In goes what a source or the cache decoded, out come rows, subsets and channel statistics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class ImageTable:
    """N images of one size with their labels.

    `images` is uint8 [M, H, W, C], resident or memory-mapped (from the cache: a view of [M, C, H, W], which batches want).
    `labels` is int64 [N], positions in `label_names`. `index` is None when M = N; else row i of the table is
    `images[index[i]]`, so that a subset of a large memory map costs N numbers and no copy. `split` names the split that the
    images are of, and `places` [M] where each stood in it (None: in this order, none left out); `files` are those of the whole
    split, where each image has one.
    """

    images: UInt8[np.ndarray, "M H W C"]
    labels: Int64[np.ndarray, " N"]
    label_names: tuple[str, ...]
    name: str
    index: Int64[np.ndarray, " N"] | None = None
    split: str = ""
    places: Int64[np.ndarray, " M"] | None = None
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def channels(self) -> int:
        """1 for greyscale, 3 for colour."""
        return int(self.images.shape[3])

    def subset(self, indices: NDArray[np.integer[Any]], *, name: str | None = None) -> ImageTable:
        """The rows at `indices`, in that order, sharing the pixels with this table."""
        rows = np.asarray(indices, dtype=np.int64)
        index = rows if self.index is None else self.index[rows]
        return replace(self, labels=self.labels[rows], index=index, name=name or self.name)

    def rows(self, indices: NDArray[np.integer[Any]]) -> UInt8[np.ndarray, "B H W C"]:
        """A copy of the images at `indices`."""
        return self.images[indices if self.index is None else self.index[indices]]

    def item(self, i: int) -> tuple[UInt8[np.ndarray, "H W C"], int]:
        """Image and label of row `i`."""
        return self.images[i if self.index is None else self.index[i]], int(self.labels[i])

    def place(self, i: int) -> int:
        """Where row `i` stands in its split: `SOURCE:split:place` names the same image."""
        row = i if self.index is None else int(self.index[i])
        return row if self.places is None else int(self.places[row])

    def called(self, i: int) -> str:
        """Row `i` by its file, or by its split and its place there."""
        place = self.place(i)
        return self.files[place] if self.files else f"{self.split or self.name}:{place}"

    def chunks(self) -> Iterator[UInt8[np.ndarray, "B H W C"]]:
        """All images in order, some 16 MB at a time."""
        pixels = int(np.prod(self.images.shape[1:]))
        step = max(1, CHUNK_BYTES // max(1, pixels))
        for start in range(0, len(self), step):
            yield self.rows(np.arange(start, min(start + step, len(self))))


@dataclass(frozen=True, eq=False)
class DataSplits:
    """What a run trains on and what it is measured on.

    `val_name` says what `val` is: `test` or `validation` for a split of the source's own, `held-out` for a part of the training
    split. `content_key` changes when any image, label or the division changes, or what had to be left out; not with the version of
    Pillow, so that a training can be resumed after an update. `skipped` names unusable images that were left
    out, `ignored` counts files that were passed over because their extension is no image's or no class folder holds them, and
    `first_ignored` names one.
    """

    train: ImageTable
    val: ImageTable
    val_name: str
    label_names: tuple[str, ...]
    content_key: str
    skipped: tuple[str, ...] = ()
    ignored: int = 0
    first_ignored: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Counts, names and the key; no pixels."""
        height, width = self.train.image_size
        return {
            "train_images": len(self.train),
            "val_images": len(self.val),
            "val_name": self.val_name,
            "image_size": [height, width],
            "channels": self.train.channels,
            "classes": len(self.label_names),
            "label_names": list(self.label_names),
            "content_key": self.content_key,
            "skipped": list(self.skipped),
            "ignored": self.ignored,
            "first_ignored": self.first_ignored,
        }


def mean_std(table: ImageTable) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the 0 to 1 scale, over all pixels; read in chunks, summed exactly."""
    counts = np.zeros((table.channels, 256), dtype=np.int64)
    for chunk in table.chunks():
        for channel in range(table.channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    return tuple(mean.tolist()), tuple(np.sqrt(variance.clip(0)).tolist())
