"""What a loader gives, made one thing. In goes whatever came out of it (pairs, dictionaries, PIL images, arrays, tensors), out comes a `Batch`.

Shapes: images B C H W, as they are (uint8 stays uint8), labels B, soft labels B Y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitscope._core.errors import DataError

IMAGE_KEYS = ("pixel_values", "image", "images", "img", "imgs", "x", "input", "inputs", "data")
LABEL_KEYS = ("labels", "label", "target", "targets", "y", "fine_label", "coarse_label", "class", "cls")
CHANNELS = (1, 3, 4)
_AS_THEY_ARE = ("L", "RGB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
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
    spare: Tensor | None
    """B, the whole numbers that come after the labels: the labels, where the first turn out to number the images."""
    is_one: bool
    """Whether it is one image of a data set and no batch."""

    def __len__(self) -> int:
        return len(self.images)


def as_batch(value: Any, which: str) -> Batch:
    """One thing that a loader or a data set gave.

    Raises:
        DataError: it holds no images, or labels that belong to none.
    """
    image, candidates = _parts(value, which)
    label, others = _numeric(candidates)
    given = _labels(label, which)
    pixels = _tensor(_one_view(image, given), which)
    is_one = _is_one(pixels, given)
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
    return Batch(pixels, labels, soft, _spare(others, len(pixels), which), is_one)


def _is_one(pixels: Tensor, given: Tensor | None) -> bool:
    """Whether this is one image and its label, and no batch of grey images without channels."""
    if pixels.ndim != 3 or given is None or given.ndim != 1 or len(given) != len(pixels):
        return pixels.ndim in (2, 3) and (
            pixels.ndim == 2 or given is None or given.ndim != 1 or len(given) != len(pixels)
        )
    if len(pixels) not in CHANNELS or pixels.shape[-1] <= 4:
        return False
    one_hot = len(given) > 1 and bool((given >= 0).all()) and abs(float(given.double().sum()) - 1) < 1e-2
    return given.is_floating_point() or one_hot  # as many classes as channels


def holds_images(value: Any) -> bool:
    """Whether a mapping is a batch and not a collection of data sets."""
    return isinstance(value, Mapping) and any(key in value for key in IMAGE_KEYS)


def _parts(value: Any, which: str) -> tuple[Any, list[Any]]:
    """The images, and what may be their labels, the likeliest first."""
    if isinstance(value, Mapping):
        image = next((value[key] for key in IMAGE_KEYS if key in value), None)
        if isinstance(image, Mapping):  # what a processor gave, beside the labels
            image = next((image[key] for key in IMAGE_KEYS if key in image), None)
        if image is None:
            raise DataError(
                f"the {which} loader gives dictionaries with {', '.join(map(str, list(value)[:6]))}; {_EXPECTED}"
            )
        return image, [value[key] for key in LABEL_KEYS if key in value]
    if isinstance(value, Tensor | np.ndarray | Image.Image):
        return value, []
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value):
        place = next((place for place, each in enumerate(value) if is_pixels(each)), 0)
        return value[place], [*value[place + 1 :], *value[:place]]
    for name in ("pixel_values", "image", "images"):
        if hasattr(value, name):
            return getattr(value, name), [getattr(value, "labels", getattr(value, "label", None))]
    raise DataError(f"the {which} loader gives {type(value).__name__}; {_EXPECTED}")


def is_pixels(value: Any) -> bool:
    """Whether this is an image, or some."""
    if isinstance(value, list | tuple) and len(value):
        return is_pixels(value[0])
    return isinstance(value, Image.Image) or (isinstance(value, Tensor | np.ndarray) and value.ndim >= 2)


def _numeric(candidates: list[Any]) -> tuple[Any, list[Any]]:
    """The first that is no text, such as the name of a file, and what comes after it; the first of all where there is no such."""
    for place, each in enumerate(candidates):
        first = each[0] if isinstance(each, list | tuple) and len(each) else each
        if first is not None and not isinstance(first, str | bytes | PathLike):
            return each, candidates[place + 1 :]
    return (candidates[0] if candidates else None), []


def _one_view(image: Any, given: Tensor | None) -> Any:
    """The first of several views: of a batch, or of the one image that one label belongs to."""
    if not isinstance(image, list | tuple) or not image or not isinstance(image[0], Tensor | np.ndarray | Image.Image):
        return image
    is_batch = getattr(image[0], "ndim", 3) >= 4
    return image[0] if is_batch or (given is not None and given.ndim == 0) else image


def _spare(others: list[Any], count: int, which: str) -> Tensor | None:
    """The next whole numbers, one an image."""
    for each in others:
        try:
            numbers = _labels(each, which)
        except DataError:
            continue
        if numbers is not None and numbers.ndim <= 1 and numbers.numel() == count and not numbers.is_floating_point():
            return numbers.reshape(-1).long()
    return None


def _tensor(image: Any, which: str) -> Tensor:
    """Pixels as a tensor on the CPU, uint8 or float32."""
    if isinstance(image, list | tuple) and len(image) and not isinstance(image[0], int | float):
        parts = [_tensor(each, which) for each in image]
        if len({part.shape for part in parts}) > 1:
            raise DataError(f"the {which} loader gives images of several sizes in one batch; resize them to one size")
        return torch.stack(parts)
    if isinstance(image, Image.Image):
        plain = "L" if image.mode in ("1", "LA", "La") else "RGB"
        image = np.asarray(image if image.mode in _AS_THEY_ARE else image.convert(plain))
    if isinstance(image, Tensor) and image.is_meta:
        raise DataError(f"the {which} images are on the meta device and hold no pixels; give them on the CPU")
    try:
        tensor = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(_native(np.array(image)))
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"the {which} loader gives {type(image).__name__} for images; {_EXPECTED}") from None
    if tensor.is_complex():
        raise DataError(f"the {which} images are {tensor.dtype}, expected numbers of pixels; {_EXPECTED}")
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def _native(array: np.ndarray) -> np.ndarray:
    """Numbers as torch knows them: 16 and 32 bits without a sign, or in another order of bytes, are wider here."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="))


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
        how = "; number the names of the classes: number = {name: i for i, name in enumerate(sorted(names))}"
        raise DataError(
            f"the {which} labels are {kind}, expected numbers from 0: one a class{how if kind == 'str' else ''}"
        ) from None
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
