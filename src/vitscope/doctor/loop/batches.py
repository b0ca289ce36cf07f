"""What a batch of somebody's loader holds: how many samples, and which of it are the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vitscope.doctor.data.seen import DIGESTED, picked, short_hash


def size_of(batch: Any) -> int | None:
    """How many samples a batch, or one tensor of it, has."""
    return next((len(each) for each in tensors(batch) if each.ndim), None)


def labels_of(batch: Any) -> Tensor | None:
    """The class numbers B in a batch: the only vector of whole numbers in it, or the one that is called so."""
    if isinstance(batch, Mapping):
        for name in ("labels", "label", "targets", "target", "y"):
            if isinstance(batch.get(name), Tensor) and _is_classes(batch[name]):
                return batch[name]
    found = [each for each in tensors(batch) if _is_classes(each) and len(each) == size_of(batch)]
    return found[0] if len(found) == 1 else None


def tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for each in batch.values():
            yield from tensors(each)
    elif isinstance(batch, tuple | list):
        for each in batch:
            yield from tensors(each)


def _is_classes(tensor: Tensor) -> bool:
    return tensor.ndim == 1 and tensor.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)


def pixels_of(batch: Any) -> list[bytes]:
    """What stands for the pixels of each image of a batch; nothing where they are on another device, and for images of one colour."""
    images = next((each for each in tensors(batch) if each.ndim == 4), None)
    if images is None or images.device.type != "cpu" or images.is_meta:
        return []
    few = picked(images.detach(), DIGESTED)
    varied = (few != few[..., :1, :1]).flatten(1).any(1).tolist()
    numbers = few.contiguous().view(torch.uint8).flatten(1).numpy() if few.numel() else ()
    return [short_hash(each) for each, is_varied in zip(numbers, varied, strict=True) if is_varied]
