"""Divisions of a data set. In go labels and a seed, out come positions; the same seed gives the same division everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

Positions = Int64[np.ndarray, " _"]


def stratified(labels: NDArray[np.integer[Any]], fraction: float, seed: int) -> tuple[Positions, Positions]:
    """Positions that stay and positions that are held out, both ascending.

    ceil(fraction · N) are held out, each class giving its share to within one (largest remainders first); a class never gives
    its last image.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    classes, counts = np.unique(labels, return_counts=True)
    wanted = math.ceil(fraction * len(labels) - 1e-9)
    shares = counts * (wanted / max(1, len(labels)))
    take = np.minimum(np.floor(shares + 1e-9).astype(np.int64), counts - 1)
    for i in np.argsort(take - shares, kind="stable"):
        if take.sum() >= wanted:
            break
        take[i] += take[i] < counts[i] - 1
    held = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), out).astype(np.int64), out.astype(np.int64)


def first_of_shuffle(count: int, limit: int, seed: int) -> Positions:
    """`limit` positions drawn from `count` without replacement, ascending; a larger limit includes a smaller one's."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    return np.sort(rng.permutation(count)[:limit]).astype(np.int64)
