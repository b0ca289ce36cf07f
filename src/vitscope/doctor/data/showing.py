"""Code that shows ten images with their labels. In go what a loader or a data set gave and how, out come lines that work for it: batches or single
images, pairs or dictionaries, tensors, arrays or pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor

from vitscope.doctor.data.batches import CHANNELS, IMAGE_KEYS, LABEL_KEYS, is_pixels

Given = Literal["batches", "images", "one batch"]
"""By a loader, by a data set or another iterable, or as they are: a pair of arrays, a dictionary."""


def code_that_shows(value: Any, given: Given, name: str) -> str:
    """Lines of code for a set of that name.

    Args:
        value: the first batch or image with its label, as it was given.
        given: what a set is made of.
        name: the variable that holds the set.
    """
    keys = None
    if isinstance(value, Mapping):
        keys = [next((key for key in of if key in value), None) for of in (IMAGE_KEYS, LABEL_KEYS)]
        if None in keys or isinstance(value[keys[0]], Mapping):
            return ""
        image = value[keys[0]]
    elif isinstance(value, tuple | list) and len(value) >= 2 and is_pixels(value[0]):
        image = value[0]
    else:
        return ""
    one = image if given == "images" else image[0]
    shown = f"    print(label)\n    plt.imshow(image{_turned(one)})\n    plt.show()"
    if given == "images" and keys:
        named = f'    image, label = item["{keys[0]}"], item["{keys[1]}"]\n'
        return f"for item in itertools.islice({name}, 10):\n{named}{shown}"
    if given == "images":
        return f"for image, label, *_ in itertools.islice({name}, 10):\n{shown}"
    batch = name if given == "one batch" else f"next(iter({name}))"
    parts = f'batch["{keys[0]}"], batch["{keys[1]}"]' if keys else "batch[:2]"
    return f"batch = {batch}\nimages, labels = {parts}\nfor image, label in zip(images[:10], labels[:10]):\n{shown}"


def _turned(image: Any) -> str:
    """What makes of one image what `imshow` takes: H W or H W C."""
    if not isinstance(image, Tensor | np.ndarray) or image.ndim != 3 or image.shape[0] not in CHANNELS:
        return ""
    return ".permute(1, 2, 0)" if isinstance(image, Tensor) else ".transpose(1, 2, 0)"
