"""Whether labels have anything to do with images. In go images and labels, out comes how far probes are above the same probes on shuffled labels.

Three probes, each a matrix S that guesses an image's class from the others' (its own left out): the nearest neighbours, a kernel ridge regression on
pixels, a ridge regression on random filters, which see edges and textures. None depends on the labels, so that shuffled ones cost one product more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vitscope._core.text import Text
from vitscope.doctor.data.seen import tally
from vitscope.doctor.finding import Skipped

SHUFFLES = 60
NEIGHBOURS = 10
SIDE = 16
MOST_CLASSES = 50
MOST_IMAGES = 1_500
CLEAR = 15.0
"""Standard deviations above shuffled labels, from which on no further probe is asked."""
FEWEST_OF_A_CLASS = 10
TOO_ALIKE = Text(
    "the images differ too little from each other to be probed",
    "画像どうしの違いが小さすぎて、調べられません",
)


@dataclass(frozen=True)
class Probed:
    """What the best of the probes found."""

    best: str
    deviations: float
    """How many standard deviations it is above shuffled labels."""
    accuracy: float
    """Of the nearest neighbours, images of one class weighing as much as those of another."""
    shuffled_accuracy: float
    images: int
    classes: int
    fewest: int
    """Images of the rarest class that was probed."""


def probe(images: Tensor, labels: Tensor) -> Probed | None:
    """Probes up to 1,500 of N images; None where fewer than two classes have enough of them.

    Raises:
        Skipped: images differ so little that nothing can be solved for.
    """
    images, labels = images[:MOST_IMAGES], labels[:MOST_IMAGES]
    counts = tally(labels[labels >= 0])
    largest = sorted(counts, key=lambda c: -counts[c])[:MOST_CLASSES]
    classes = [c for c in largest if counts[c] >= FEWEST_OF_A_CLASS]
    if len(classes) < 2:
        return None
    chosen = torch.isin(labels, torch.tensor(classes))
    images, labels = images[chosen], labels[chosen]
    truth = (labels[:, None] == torch.tensor(classes)).float()
    generator = torch.Generator().manual_seed(0)
    small = shrunk(images, (min(SIDE, images.shape[-2]), min(SIDE, images.shape[-1])))
    makers: dict[str, Callable[[], Tensor]] = {
        "nearest neighbours": lambda: _neighbours(small.flatten(1)),
        "kernel ridge": lambda: ridge(gaussian(small.flatten(1))),
        "random filters": lambda: ridge(linear(filtered(small, generator))),
    }
    shuffles = [torch.randperm(len(truth), generator=generator) for _ in range(SHUFFLES)]
    near = makers["nearest neighbours"]()
    found = {"nearest neighbours": _deviations(near, truth, shuffles)}
    for name in ("random filters", "kernel ridge"):
        if max(found.values()) < CLEAR:  # else one has said enough
            found[name] = _deviations(makers[name](), truth, shuffles)
    best = max(found, key=lambda name: found[name])
    return Probed(
        best=best,
        deviations=found[best],
        accuracy=_balanced_accuracy(near @ truth, truth),
        shuffled_accuracy=_balanced_accuracy(near @ truth[shuffles[0]], truth[shuffles[0]]),
        images=len(truth),
        classes=len(classes),
        fewest=int(truth.sum(0).min()),
    )


def shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Small images, of a mean of 0 in each channel and a spread of 1 in all."""
    small = F.adaptive_avg_pool2d(images.float(), size)
    small = small - small.mean((0, 2, 3), keepdim=True)
    return small / small.std().clamp_min(1e-6)


def _deviations(smoother: Tensor, truth: Tensor, shuffles: list[Tensor]) -> float:
    """The guesses' agreement with the truth, beside its mean and spread over shuffled truths. A class counts by its correlation, not by its size:
    in a set that is nearly all one class, guessing that class agrees with nothing."""
    null = torch.stack([_agreement(smoother, truth[each]) for each in shuffles])
    return float((_agreement(smoother, truth) - null.mean()) / null.std().clamp_min(1e-6))


def _agreement(smoother: Tensor, truth: Tensor) -> Tensor:
    guess = smoother @ truth
    guess, truth = guess - guess.mean(0), truth - truth.mean(0)
    return ((guess * truth).sum(0) / (guess.norm(dim=0) * truth.norm(dim=0)).clamp_min(1e-9)).mean()


def _balanced_accuracy(guess: Tensor, truth: Tensor) -> float:
    answers = (guess / truth.mean(0)).argmax(1)
    hits = (answers == truth.argmax(1)).float()
    return float(((hits[:, None] * truth).sum(0) / truth.sum(0)).mean())


def _neighbours(points: Tensor) -> Tensor:
    distances = _distances(points)
    distances.fill_diagonal_(float("inf"))
    near = distances.topk(min(NEIGHBOURS, len(points) - 1), largest=False).indices
    return torch.zeros_like(distances).scatter_(1, near, 1.0 / near.shape[1])


def gaussian(points: Tensor) -> Tensor:
    """N N, how near points are to each other."""
    distances = _distances(points)
    return torch.exp(-distances / distances.median().clamp_min(1e-6))


def linear(features: Tensor) -> Tensor:
    """N N, products of standardised features."""
    features = features - features.mean(0)
    features = features / features.std(0).clamp_min(1e-3)
    return features @ features.T / features.shape[1]


def _distances(points: Tensor) -> Tensor:
    squares = (points**2).sum(1)
    return (squares[:, None] + squares - 2 * points @ points.T).clamp_min(0)


def ridge(kernel: Tensor) -> Tensor:
    """Ridge regression that guesses each image from all others, in closed form."""
    size = len(kernel)
    middle = torch.eye(size) - 1 / size
    kernel = middle @ kernel.float() @ middle
    strength = strength_of(kernel)
    factor, failed = torch.linalg.cholesky_ex(kernel + strength * torch.eye(size))
    if int(failed):
        raise Skipped(TOO_ALIKE)
    hat = torch.eye(size) - strength * torch.cholesky_inverse(factor)
    own = hat.diagonal().clone()
    hat.fill_diagonal_(0.0)
    return hat / (1 - own).clamp_min(1e-3)[:, None]


def strength_of(kernel: Tensor) -> Tensor:
    """How strongly a ridge regression on centred likenesses is held back."""
    return 0.3 * kernel.diagonal().mean().clamp_min(1e-9)


def filtered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random 3×3 filters, rectified both ways, averaged over a 4×4 grid."""
    filters = torch.randn(32, images.shape[1], 3, 3, generator=generator)
    filters = filters - filters.mean((2, 3), keepdim=True) * (torch.arange(32) % 2)[:, None, None, None]
    filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
    seen = F.conv2d(images, filters, padding=1)
    seen = torch.cat([seen.clamp_min(0.5) - 0.5, (-seen).clamp_min(0.5) - 0.5], 1)
    return F.adaptive_avg_pool2d(seen, 4).flatten(1)
