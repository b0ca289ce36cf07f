"""Batches to Pillow and back, for tests that hold our operations against Pillow's, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def pictures(channels: int, size: tuple[int, int] = (17, 23)) -> Tensor:
    """Noise, a narrow range, a smooth ramp, two flat colours and a skewed histogram."""
    g = torch.Generator().manual_seed(0)
    shape = (channels, *size)
    ramp = torch.linspace(20, 200, size[0] * size[1]).view(1, *size).expand(shape)
    skewed = 255 * torch.rand(shape, generator=g) ** 6
    noise = torch.randint(0, 256, (3, *shape), generator=g)
    narrow = torch.randint(90, 97, shape, generator=g)
    flat = (torch.full(shape, 7), torch.zeros(shape))
    return torch.stack([t.to(torch.uint8) for t in (*noise, narrow, ramp, *flat, skewed)])


def by_pillow(images: Tensor, op: Callable[[Image.Image], Image.Image]) -> Tensor:
    return torch.stack([to_tensor(op(to_pillow(image))) for image in images])


def to_pillow(image: Tensor) -> Image.Image:
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def to_tensor(image: Image.Image) -> Tensor:
    array = torch.from_numpy(np.array(image))
    return array[None] if array.ndim == 2 else array.permute(2, 0, 1)
