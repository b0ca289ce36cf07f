"""Where pixels go: in go uint8 images and one set of parameters an image, out come uint8 images of the same size.

Every function moves the whole batch by index arithmetic, without a loop over images.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad


def pick(
    images: UInt8[Tensor, "B C H W"], rows: Int64[Tensor, "B h"], columns: Int64[Tensor, "B w"]
) -> UInt8[Tensor, "B C h w"]:
    """Each image's own rows and columns, in the order given: crop, flip and repeat in one pass."""
    B, C, _, W = images.shape
    h, w = rows.shape[1], columns.shape[1]
    index = (rows[:, :, None] * W + columns[:, None, :]).view(B, 1, h * w).expand(B, C, h * w)
    return images.flatten(2).gather(2, index).view(B, C, h, w)


def crop_and_flip(
    images: UInt8[Tensor, "B C H W"],
    *,
    padding: int,
    top: Int64[Tensor, " B"],
    left: Int64[Tensor, " B"],
    mirrored: Bool[Tensor, " B"],
) -> UInt8[Tensor, "B C H W"]:
    """Pads with black, cuts out a part of the old size at `top`, `left` (0 to 2 × padding pixels), mirrors where told.

    One pass for both steps, because on a CPU each pass over the batch costs as much as the step itself.
    """
    _, _, H, W = images.shape
    across = torch.arange(W, device=images.device)
    columns = left[:, None] + torch.where(mirrored[:, None], W - 1 - across, across)
    rows = top[:, None] + torch.arange(H, device=images.device)
    padded = pad(images, (padding,) * 4) if padding else images
    return pick(padded, rows, columns)
