"""Whether two data sets are made of the same images, in the same order. In go two objects, out comes yes or no: people make the training set twice,
to give one of both another transform, and split them by numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

MOST = 1 << 30
"""Bytes of pixels that are held against each other."""
_OTHER = ("transform", "augment", "label", "target", "class")
"""What is done to images, and what they are: it says nothing of which they are."""


def are_twins(one: Any, other: Any) -> bool:
    """Whether each place holds the same image in both, before anything is done to it. In doubt it is no."""
    if one is other:
        return True
    if type(one) is not type(other) or not hasattr(one, "__dict__"):
        return False
    try:
        count = len(one)
        if count != len(other) or not count:
            return False
        if isinstance(one, TensorDataset):
            return _same_pixels(one.tensors[0], other.tensors[0])
        return _alike(_own(one), _own(other), count)
    except Exception:  # whatever a data set of the user's does when it is asked
        return False


def _own(dataset: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(dataset).items() if not any(word in name.lower() for word in _OTHER)}


def _alike(one: dict[str, Any], other: dict[str, Any], count: int) -> bool:
    """By pixels that both hold; or by the names of files, where all other words agree, such as the folder and the split. What differs speaks against
    all the rest."""
    if one.keys() != other.keys():
        return False
    words = [name for name, value in one.items() if isinstance(value, str | os.PathLike)]
    same_words = bool(words) and all(_is_same(one[name], other[name]) for name in words)
    told: list[bool] = []
    for name, value in one.items():
        if not hasattr(value, "__len__") or isinstance(value, str | dict) or len(value) != count:
            continue
        if isinstance(value, Tensor | np.ndarray) and value.ndim >= 2:
            told.append(_same_pixels(value, other[name]))
        elif isinstance(value, list | tuple) and isinstance(value[0], int | float):
            told += [] if value == other[name] else [False]  # numbers alone say nothing of what is the same
        elif isinstance(value, list | tuple):
            told.append(_same_list(value, other[name], same_words=same_words))
    return bool(told) and all(told)


def _same_pixels(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype or one.nbytes > MOST:
        return False
    if isinstance(one, Tensor):
        is_varied = bool((one != one[:1]).any())
        return is_varied and one.device == other.device and torch.equal(one, other)
    return bool((one != one[:1]).any()) and bool(np.array_equal(one, other))


def _same_list(one: Any, other: Any, *, same_words: bool) -> bool:
    """A list of images, or of files in one place, none of them twice."""
    if type(one) is not type(other) or len(one) != len(other):
        return False
    if not isinstance(one[0], str | os.PathLike | tuple | list):
        return len({id(each) for each in one}) == len(one) and all(a is b for a, b in zip(one, other, strict=True))
    files = [each[0] if isinstance(each, tuple | list) and each else each for each in one]
    is_named = all(isinstance(each, str | os.PathLike) for each in files) and len(set(map(str, files))) == len(files)
    return is_named and (same_words or Path(str(files[0])).is_absolute()) and bool(one == other)


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
