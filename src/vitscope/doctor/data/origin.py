"""Where the images of a data set come from. In goes a data set, maybe a subset of a subset, out come names of its images that another set over the
same files or arrays gives too: whatever is done to the images on the way.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset

from vitscope.doctor.data.drawing import places_drawn
from vitscope.doctor.data.twins import are_twins

MOST_ROWS, MOST_BYTES = 100_000, 1 << 30


def base_of(dataset: Any) -> Any:
    """The data set that a subset stands on."""
    return _unwrapped(dataset)[0]


def names_of(dataset: Any, drawn: Sequence[int] | None = None) -> frozenset[Hashable] | None:
    """A name for each image: its file, its pixels as they are stored, or its number in the data set that all this stands on.

    Args:
        dataset: anything that can be asked by number.
        drawn: only these places of it; all where left out.
    """
    base, places = _unwrapped(dataset)
    if places is None:
        return None
    if drawn is not None:
        places = [places[place] for place in drawn]
    if isinstance(base, ConcatDataset):
        return _names_of_parts(base, places)
    files = _files(base)
    if files is not None:
        return frozenset(files[place] for place in places)
    data = getattr(base, "data", None)
    if _is_stored(data, base):
        rows = data.numpy() if isinstance(data, Tensor) else np.asarray(data)
        return frozenset(
            blake2b(np.ascontiguousarray(rows[place]).tobytes(), digest_size=12).digest() for place in places
        )
    return frozenset((id(base), place) for place in places)


def _names_of_parts(base: ConcatDataset[Any], places: Sequence[int]) -> frozenset[Hashable] | None:
    """Of data sets in a row, each by itself; None where one of them cannot be followed."""
    drawn: list[list[int]] = [[] for _ in base.datasets]
    for place in places:
        place += len(base) if place < 0 else 0
        part = bisect_right(base.cumulative_sizes, place)
        drawn[part].append(place - (base.cumulative_sizes[part - 1] if part else 0))
    names = [names_of(part, of) for part, of in zip(base.datasets, drawn, strict=True) if of]
    return None if None in names else frozenset[Hashable]().union(*(each for each in names if each is not None))


def names_of_loader(loader: Any) -> frozenset[Hashable] | None:
    """A name for each image that a loader draws."""
    drawn = places_drawn(loader)
    return None if drawn is None else names_of(loader.dataset, drawn)


def in_common(one: frozenset[Hashable], of_one: Any, other: frozenset[Hashable], of_other: Any) -> int:
    """How many of the other's images are the first's, by their names and by the data sets that they stand on."""
    return len(names_in_common(one, of_one, other, of_other))


def names_in_common(
    one: frozenset[Hashable], of_one: Any, other: frozenset[Hashable], of_other: Any
) -> frozenset[Hashable]:
    """Those that are in both, by the names that the other has for them."""
    both = one & other
    if both or of_one is of_other:
        return both
    shared: set[Hashable] = set()
    for a, b in product(_bases(of_one), _bases(of_other)):
        common = _numbers(one, a) & _numbers(other, b) if a is not b else set()
        if common and are_twins(a, b):
            shared |= {(id(b), number) for number in common}
    return frozenset(shared)


def called_in(dataset: Any, places: Sequence[int]) -> tuple[str, ...]:
    """The images at these places of a data set: their files, else the places."""
    base, of_base = _unwrapped(dataset)
    files = _files(base)
    if files is None or of_base is None:
        return tuple(map(str, places))
    return tuple(files[of_base[place]] for place in places)


def told(names: frozenset[Hashable], base: Any, most: int) -> list[str]:
    """A few of the images with these names: their files, else their numbers in the data set that they stand on."""
    files = sorted(each for each in names if isinstance(each, str))
    numbers = sorted(each[1] for each in names if isinstance(each, tuple) and each[0] == id(base))
    if files or numbers:
        return [*files, *map(str, numbers)][:most]
    data = getattr(base, "data", None)
    if not any(isinstance(each, bytes) for each in names) or not _is_stored(data, base):
        return []
    return [str(place) for place, each in enumerate(_stored(data)) if each in names][:most]


def _stored(data: Any) -> list[bytes]:
    """A name for each image of an array: its pixels in short."""
    rows = data.numpy() if isinstance(data, Tensor) else np.asarray(data)
    return [blake2b(np.ascontiguousarray(row).tobytes(), digest_size=12).digest() for row in rows]


def _bases(base: Any) -> list[Any]:
    """The data sets in a row of them, each once; else itself."""
    if not isinstance(base, ConcatDataset):
        return [base]
    every = [inner for part in base.datasets for inner in _bases(base_of(part))]
    return list({id(each): each for each in every}.values())


def _numbers(names: frozenset[Hashable], base: Any) -> set[Hashable]:
    """Of the images that are known by their number in a data set."""
    return {each[1] for each in names if isinstance(each, tuple) and each[0] == id(base)}


def _files(base: Any) -> list[str] | None:
    """The file of each image, where `samples` begin with one that can be told apart anywhere: not a number, a video of many frames, or a name that
    another folder may hold too."""
    samples = getattr(base, "samples", None)
    if samples is None:
        samples = getattr(base, "imgs", None)
    if not isinstance(samples, list) or not samples or len(samples) != len(base):
        return None
    first = [each[0] if isinstance(each, tuple | list) and each else None for each in samples]
    files = [os.fspath(each) for each in first if isinstance(each, str | os.PathLike)]
    if len(files) < len(first) or len(set(files)) < len(files):
        return None
    return [str(each) for each in files] if all(_is_place(str(each)) for each in (files[0], files[-1])) else None


def _is_place(file: str) -> bool:
    return Path(file).is_absolute() or "://" in file or Path(file).exists()


def _is_stored(data: Any, base: Any) -> bool:
    if not isinstance(data, Tensor | np.ndarray) or data.ndim < 3 or len(data) != len(base) or len(data) > MOST_ROWS:
        return False
    size = data.nbytes if isinstance(data, np.ndarray) else data.numel() * data.element_size()
    return size <= MOST_BYTES and (isinstance(data, np.ndarray) or data.device.type == "cpu")


def _unwrapped(dataset: Any) -> tuple[Any, Sequence[int] | None]:
    """The innermost data set and the places in it; None for places that cannot be followed."""
    try:
        places: Sequence[int] = range(len(dataset))
    except TypeError:
        return dataset, None
    for _ in range(16):
        inner = next((getattr(dataset, n) for n in ("dataset", "subset") if _is_set(getattr(dataset, n, None))), None)
        if inner is None:
            break
        indices = getattr(dataset, "indices", None)
        if indices is not None:
            try:
                table = [int(each) for each in indices]
                places = [table[place] for place in places]
            except (TypeError, ValueError, IndexError):
                return dataset, None
        elif len(inner) != len(dataset):
            return dataset, None
        dataset = inner
    return dataset, places


def _is_set(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | bytes | dict)
