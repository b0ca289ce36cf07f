"""Two images in one: in go float images, labels and a partner for each, out come mixed images and soft targets.

One weight and one rectangle for the whole batch, as in the papers' own code.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Mixed = tuple[Float[Tensor, "B C H W"], Float[Tensor, "B Y"]]


def soft_targets(labels: Int64[Tensor, " B"], classes: int) -> Float[Tensor, "B Y"]:
    """A row for each label: 1 at its class, 0 elsewhere."""
    return torch.zeros(len(labels), classes, device=labels.device).scatter_(1, labels[:, None], 1.0)


def mixup(
    images: Float[Tensor, "B C H W"], targets: Float[Tensor, "B Y"], *, partner: Int64[Tensor, " B"], weight: float
) -> Mixed:
    """`weight` times the image plus 1 - `weight` times its partner, targets likewise (Zhang et al. 2018, equation 1).

    Args:
        images: normalised images; mixing is linear, so it does not matter that they are.
        targets: probabilities of the classes.
        partner: for each image the index of the one that is mixed in.
        weight: 0 to 1, drawn from Beta(α, α).
    """
    return images.lerp(images[partner], 1 - weight), targets.lerp(targets[partner], 1 - weight)


def cutmix(
    images: Float[Tensor, "B C H W"],
    targets: Float[Tensor, "B Y"],
    *,
    partner: Int64[Tensor, " B"],
    weight: float,
    centre: tuple[float, float],
) -> Mixed:
    """Replaces a rectangle by the partner's and weighs the targets by what is left (Yun et al. 2019, section 3.1).

    The rectangle has the image's proportions and 1 - `weight` of its area before it is clipped at the borders; the targets
    are weighed by the pixels really replaced.

    Args:
        images: normalised images.
        targets: probabilities of the classes.
        partner: for each image the index of the one that is cut in.
        weight: 0 to 1, drawn from Beta(α, α).
        centre: where the middle of the rectangle lies, as fractions of height and width.
    """
    top, bottom, left, right = rectangle(images.shape[-2], images.shape[-1], weight=weight, centre=centre)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right][partner]
    share = (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    return mixed, targets.lerp(targets[partner], share)


def rectangle(height: int, width: int, *, weight: float, centre: tuple[float, float]) -> tuple[int, int, int, int]:
    """First row, row after the last, first column, column after the last of CutMix's rectangle."""
    side = math.sqrt(1 - weight)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(height * centre[0]), int(width * centre[1])
    return (
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )
