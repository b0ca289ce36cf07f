"""The policy as a whole: order, determinism, independence of images, types and shapes."""

from __future__ import annotations

import torch

from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import Augmentation, AugmentSpec

NORMALISE = Preprocessing(image_size=32).normalise


def test_crop_and_flip_keep_shape_and_labels() -> None:
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(5)
    augmentation = Augmentation(AugmentSpec(crop=4, flip=0.5), 10, normalise=NORMALISE)
    out, targets = augmentation(images, labels, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert torch.equal(targets, labels)
