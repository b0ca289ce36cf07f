"""How a probe of training images reads validation images. In go both with their labels, out comes which training class each validation class looks
like. Which is which is told by one half of the validation images and tried on the other, so that chance finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from vitscope.doctor.data.assignment import assigned
from vitscope.doctor.data.probe import (
    FEWEST_OF_A_CLASS,
    MOST_CLASSES,
    MOST_IMAGES,
    SIDE,
    TOO_ALIKE,
    filtered,
    gaussian,
    linear,
    ridge,
    shrunk,
    strength_of,
)
from vitscope.doctor.data.seen import tally
from vitscope.doctor.finding import Skipped

ASKED = 1_000
"""Validation images that are asked at most."""
SURE = 6.0
"""Standard deviations above chance, from which on validation images are read by a probe of training images."""
READ = 3.0
"""And from which on they are read as they are numbered."""
LEFT = 1 / 3
"""As numbered, the accuracy of renumbered classes is at most this share of what it is when they are renumbered."""
AS_WITHIN = 0.8
"""Renumbered, validation is read as well from training as from itself, or nearly: images of another domain are not."""
AS_CLEAR = 0.75
"""And look as much like their classes as training images do, or nearly: images of none of them fall to some class too, all of a kind to the same."""
ABOVE = 0.15
"""Of the way from chance to no mistake, the least."""


@dataclass(frozen=True)
class Across:
    """One probe's reading of the validation images. Accuracies are means over the classes that look like another one; over all where none does."""

    pairs: dict[int, int]
    """Of each validation class that looks like another training class, which."""
    as_numbered: float
    renumbered: float
    within: float
    """Of a probe of the validation images themselves, each left out in its turn."""
    images: int
    is_sure: bool
    """Whether these classes are numbered otherwise, as far as this probe can tell."""
    is_read: bool
    """Whether more than chance is right as numbered."""


@dataclass(frozen=True)
class _Side:
    images: Tensor
    labels: Tensor
    classes: list[int]

    @property
    def truth(self) -> Tensor:
        """N Y, a one for the class of each image."""
        return (self.labels[:, None] == torch.tensor(self.classes)).float()


def read_across(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> Across | None:
    """The reading by which validation classes are numbered otherwise; None where there is none, or where another probe reads them as they are
    numbered."""
    one, other = _side(*train, MOST_IMAGES), _side(*validation, ASKED)
    if min(len(one.classes), len(other.classes)) < 2 or train[0].shape[1] != validation[0].shape[1]:
        return None
    readings = list[Across]()
    for kernel in _kernels(one.images, other.images):
        with suppress(Skipped):  # too alike for this probe
            readings.append(_reading(kernel, one, other))
            if readings[-1].is_read and not readings[-1].is_sure:
                return None
    sure = [each for each in readings if each.is_sure]
    if not sure or any(each.pairs != sure[0].pairs for each in sure):
        return None
    return max(sure, key=lambda each: each.renumbered)


def _side(images: Tensor, labels: Tensor, most: int) -> _Side:
    """Up to so many images, drawn at random, of classes that have enough of them."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    drawn = drawn[images[drawn].isfinite().flatten(1).all(1) & (labels[drawn] >= 0)][:most]
    counts = tally(labels[drawn])
    classes = sorted(counts, key=lambda c: -counts[c])[:MOST_CLASSES]
    classes = sorted(c for c in classes if counts[c] >= FEWEST_OF_A_CLASS)
    drawn = drawn[torch.isin(labels[drawn], torch.tensor(classes, dtype=torch.long))]
    return _Side(images[drawn], labels[drawn], classes)


def _kernels(train: Tensor, validation: Tensor) -> Iterator[Tensor]:
    """Likenesses of all images, training images first: by colours where they are; by edges in grey, whatever brightness and contrast."""
    size = min(SIDE, train.shape[-2], validation.shape[-2]), min(SIDE, train.shape[-1], validation.shape[-1])
    small = torch.cat([shrunk(train, size), shrunk(validation, size)])  # each set by its own mean and spread
    yield gaussian(small.flatten(1))
    grey = small.mean(1, keepdim=True)
    grey = grey - grey.mean((2, 3), keepdim=True)
    grey = grey / grey.std((2, 3), keepdim=True).clamp_min(1e-3)
    yield linear(filtered(grey, torch.Generator().manual_seed(0)))


def _reading(kernel: Tensor, train: _Side, validation: _Side) -> Across:
    count, room = len(train.images), max(len(train.classes), len(validation.classes))
    truth = validation.truth
    own, half = truth.argmax(1), torch.arange(len(truth)) % 2
    known, taught = kernel[:count, :count], train.truth
    scores = _scores(known, kernel[count:, :count], taught)
    answers = (scores / taught.mean(0)).argmax(1)
    first, second, whole = (_look_like(answers[part], truth[part], room) for part in (half == 0, half == 1, half >= 0))
    places = {c: place for place, c in enumerate(train.classes)}
    same = torch.tensor([places.get(c, -1) for c in validation.classes])
    moved = (same >= 0) & (whole < len(train.classes)) & (whole != same)
    among = moved[own] if bool(moved.any()) else torch.ones_like(own, dtype=torch.bool)

    guess = ridge(kernel[count:, count:]) @ truth
    within = (guess / truth.mean(0)).argmax(1) == own
    numbered = answers == same[own]
    renumbered = answers == torch.where(half == 0, second[own], first[own])

    def share(hits: Tensor, of: Tensor = among) -> float:
        """The mean over classes."""
        each = truth[of].sum(0)
        return float(((hits & of).float() @ truth / each)[each > 0].mean())

    learned = ridge(known) @ taught
    usual = (learned * taught).sum(0) / taught.sum(0)  # of right answers in training, each image left out in its turn
    targets = whole.clamp_max(len(train.classes) - 1)
    here = (scores[:, targets] * truth).sum(0) / truth.sum(0)
    chance, found, everywhere = 1 / len(train.classes), share(renumbered), torch.ones_like(among)
    is_sure = (
        bool(moved.any())
        and _deviations(renumbered[among], chance) >= SURE
        and found >= chance + ABOVE * (1 - chance)
        and all(share(renumbered, of) >= AS_WITHIN * share(within, of) for of in (among, everywhere))
        and share(numbered) <= LEFT * found
        and float(usual[targets[moved]].mean()) > 0
        and bool((here[moved] >= AS_CLEAR * usual[targets[moved]]).all())
    )
    pairs = {validation.classes[k]: train.classes[int(whole[k])] for k in moved.nonzero()[:, 0].tolist()}
    is_read = _deviations(numbered[among], chance) >= READ
    return Across(pairs, share(numbered), found, share(within), int(among.sum()), is_sure, is_read)


def _scores(known: Tensor, asked: Tensor, truth: Tensor) -> Tensor:
    """How much each image that is asked looks like each class, by a ridge regression on those that are known; 0 where it looks like none."""
    mean = known.mean(0)
    middle = known - mean - mean[:, None] + mean.mean()
    shifted = asked - asked.mean(1, keepdim=True) - mean + mean.mean()
    factor, failed = torch.linalg.cholesky_ex(middle + strength_of(middle) * torch.eye(len(middle)))
    if int(failed):
        raise Skipped(TOO_ALIKE)
    return shifted @ torch.cholesky_solve(truth - truth.mean(0), factor)


def _look_like(answers: Tensor, truth: Tensor, room: int) -> Tensor:
    """For each validation class the place of the training class that its images look like, each given once; places beyond the last are none."""
    counts = truth.T @ (answers[:, None] == torch.arange(room)).float()
    return torch.tensor(assigned((counts / truth.sum(0)[:, None].clamp_min(1)).tolist()))


def _deviations(hits: Tensor, chance: float) -> float:
    expected = chance * len(hits)
    return (float(hits.sum()) - expected) / max(sqrt(expected * (1 - chance)), 1e-9)
