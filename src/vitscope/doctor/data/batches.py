"""What a loader gives, made one thing. In goes whatever came out of it (pairs, dictionaries, PIL images, arrays, tensors), out comes a `Batch`.

Shapes: images B C H W, as they are (uint8 stays uint8), labels B, soft labels B Y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitscope._core.errors import DataError

IMAGE_KEYS = ("pixel_values", "image", "images", "img", "imgs", "x", "input", "inputs", "data")
LABEL_KEYS = ("labels", "label", "target", "targets", "y", "fine_label", "coarse_label", "class", "cls")
CHANNELS = (1, 3, 4)
_EXPECTED = "expected (images, labels) or a dictionary with 'image' or 'pixel_values' and 'label' or 'labels'"


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images and what is known of their classes."""

    images: Tensor
    """B C H W, uint8 or float32."""
    labels: Tensor | None
    """B, whole numbers; of soft labels the class with the most weight; None where there are none of one class an image."""
    soft: Tensor | None
    """B Y, a row of weights for each image, where labels are soft."""
    is_one: bool
    """Whether it is one image of a data set and no batch."""

    def __len__(self) -> int:
        return len(self.images)


def as_batch(value: Any, which: str) -> Batch:
    """One thing that a loader or a data set gave.

    Raises:
        DataError: it holds no images, or labels that belong to none.
    """
    image, label = _parts(value, which)
    pixels = _tensor(image, which)
    given = _labels(label, which)
    is_one = pixels.ndim == 2 or (pixels.ndim == 3 and (given is None or given.ndim == 0 or len(given) != len(pixels)))
    if pixels.ndim == 3 and given is not None and given.ndim == 1 and len(given) == len(pixels) in CHANNELS:
        is_one = pixels.shape[-1] > 4 and bool(given.is_floating_point())  # one image and a row of weights
    if pixels.ndim == 2:
        pixels = pixels[None, None]
    elif pixels.ndim == 3:
        pixels = pixels[None] if is_one else pixels[:, None]
    if pixels.ndim != 4 or not len(pixels):
        raise DataError(
            f"the {which} images are of shape {tuple(pixels.shape)}, expected batches B×C×H×W or single images C×H×W"
        )
    if pixels.shape[1] not in CHANNELS and pixels.shape[-1] in CHANNELS:
        pixels = pixels.permute(0, 3, 1, 2)
    if given is not None and is_one:
        given = given[None]
    labels, soft = _hard_and_soft(given, len(pixels), which)
    return Batch(pixels, labels, soft, is_one)


def holds_images(value: Any) -> bool:
    """Whether a mapping is a batch and not a collection of data sets."""
    return isinstance(value, Mapping) and any(key in value for key in IMAGE_KEYS)


def _parts(value: Any, which: str) -> tuple[Any, Any]:
    if isinstance(value, Mapping):
        image = next((value[key] for key in IMAGE_KEYS if key in value), None)
        label = next((value[key] for key in LABEL_KEYS if key in value), None)
        if image is None:
            raise DataError(
                f"the {which} loader gives dictionaries with {', '.join(map(str, list(value)[:6]))}; {_EXPECTED}"
            )
        return image, label
    if isinstance(value, Tensor | np.ndarray | Image.Image):
        return value, None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value):
        return value[0], value[1] if len(value) > 1 else None
    for name in ("pixel_values", "image", "images"):
        if hasattr(value, name):
            return getattr(value, name), getattr(value, "labels", getattr(value, "label", None))
    raise DataError(f"the {which} loader gives {type(value).__name__}; {_EXPECTED}")


def _tensor(image: Any, which: str) -> Tensor:
    """Pixels as a tensor on the CPU, uint8 or float32."""
    if isinstance(image, list | tuple) and len(image) and not isinstance(image[0], int | float):
        parts = [_tensor(each, which) for each in image]
        if len({part.shape for part in parts}) > 1:
            raise DataError(f"the {which} loader gives images of several sizes in one batch; resize them to one size")
        return torch.stack(parts)
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB") if image.mode in ("P", "CMYK", "RGBA") else image)
    try:
        tensor = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"the {which} loader gives {type(image).__name__} for images; {_EXPECTED}") from None
    if tensor.is_complex():
        raise DataError(f"the {which} images are {tensor.dtype}, expected numbers of pixels; {_EXPECTED}")
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def _labels(label: Any, which: str) -> Tensor | None:
    if isinstance(label, tuple | list) and len(label) and isinstance(label[0], Tensor | np.ndarray):
        if all(each.ndim == 0 for each in label):
            label = [each.item() for each in label]
        else:
            label = label[0]  # mixed: (labels, partners' labels, weight)
    if label is None or isinstance(label, Mapping):
        return None
    try:
        tensor = label.detach().cpu() if isinstance(label, Tensor) else torch.from_numpy(np.asarray(label))
    except (TypeError, ValueError, RuntimeError):
        kind = type(label[0]).__name__ if isinstance(label, Sequence) and len(label) else type(label).__name__
        raise DataError(f"the {which} labels are {kind}, expected numbers from 0: one a class") from None
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    return tensor


def _hard_and_soft(given: Tensor | None, count: int, which: str) -> tuple[Tensor | None, Tensor | None]:
    """Class numbers and, where labels are weights of classes, these weights; several labels an image count as none."""
    if given is None or given.ndim > 2:
        return None, None
    if len(given) != count:
        raise DataError(
            f"the {which} loader gives {count} images and {len(given)} labels in one batch; give one an image"
        )
    if given.ndim == 1:
        whole = given.is_floating_point() and not bool((given == given.round()).all())
        return (None, None) if whole else (given.long(), None)
    weights = given.float()
    if bool((weights < -1e-4).any()) or bool(((weights.sum(1) - 1).abs() > 1e-2).any()):
        return None, None
    return weights.argmax(1), weights
