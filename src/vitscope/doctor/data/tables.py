"""vitscope's own tables, seen. In goes an `ImageTable`, out comes a `Seen`: all labels, digests of up to 100,000 images, pixels of 2,000."""

from __future__ import annotations

import time

import numpy as np
import torch

from vitscope._core.text import Text
from vitscope.data.table import ImageTable
from vitscope.doctor.data.seen import DIGESTED, KEPT, PICKED, Seen, picked, short_hash

MOST, SECONDS = 100_000, 20.0
CHUNK = 256


def look_at_table(table: ImageTable, name: Text) -> Seen:
    """A table's images as they are stored, in an order drawn at random."""
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(table))
    sample = np.sort(order[:KEPT])
    images = torch.cat(
        [
            picked(torch.from_numpy(table.rows(part)).permute(0, 3, 1, 2), PICKED).float()
            for part in np.array_split(sample, -(-len(sample) // CHUNK))
        ]
    )
    digests, begun = [], time.monotonic()
    for first in range(0, min(len(order), MOST), CHUNK):
        rows = table.rows(order[first : first + CHUNK])
        for pixels in rows[:, :: -(-rows.shape[1] // DIGESTED), :: -(-rows.shape[2] // DIGESTED)]:
            digests.append(None if pixels.min() == pixels.max() else short_hash(pixels))
        if time.monotonic() - begun > SECONDS:
            break
    # the images' own labels come first, so that pixels and labels stand in one order
    rest = np.setdiff1d(np.arange(len(table)), sample)
    return Seen(
        name=name,
        images=images,
        is_uint8=True,
        labels=torch.from_numpy(np.concatenate([table.labels[sample], table.labels[rest]])),
        width=len(table.label_names),
        batches=(),
        digests=tuple(digests),
        total=len(table),
        is_whole=True,
        is_table=True,
        label_names=table.label_names,
        called=tuple(table.called(row) for row in order[: len(digests)].tolist()),
    )
