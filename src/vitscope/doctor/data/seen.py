"""What was seen of one set of images. In go batches one after the other, out comes a `Seen`: a sample of pixels, all labels, a digest of each image.

Memory stays bounded: of each image at most 64 by 64 of its pixels are kept (picked, not averaged: values stay what they are), of 2,000 images.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.batches import Batch

KEPT = 2_000
"""Images of which pixels are kept."""
READ = 10_000
"""Images that are read at most: for labels and digests."""
FEW, MANY = 8, 64
"""Images, from which on labels of which no two are alike are taken for the images' numbers: where there are others to take, and where not."""
IGNORED = -100
"""The label that torch's cross-entropy leaves out."""
PICKED, DIGESTED = 64, 16
"""Rows and columns of an image that are kept, and that its digest is made of."""
TRAINING, VALIDATION = Text("training", "学習"), Text("validation", "検証")


def of_set(sentence: Text, name: Text) -> Text:
    """A sentence with the name of a set in it, in both languages."""
    return Text(sentence.en.format(name=name.en), sentence.ja.format(name=name.ja))


@dataclass(frozen=True)
class Again:
    """What came when the same images were asked for a second time."""

    compared: int
    same: int
    """That came back pixel by pixel."""
    expected: float
    """How many would, if nothing were done to images: fewer than were compared where each time others are drawn."""
    same_order: bool | None
    """Whether the labels came in the same order; None where that says nothing."""
    anew: bool | None = None
    """Whether hardly any batch of one pass is a batch of another, in whatever order; None where that is not known."""

    @property
    def share(self) -> float:
        """How many of those that could come back the same did."""
        return min(self.same / self.expected, 1.0) if self.expected else 0.0


@dataclass(frozen=True, eq=False)
class Seen:
    """One set of images, as far as it was read."""

    name: Text
    images: Tensor
    """N C h w float32: picked pixels of the first images that were read."""
    is_uint8: bool
    labels: Tensor | None
    """Of all images that were read, in the order they came; None where there are none."""
    width: int | None
    """Classes that soft labels have room for."""
    batches: tuple[int, ...]
    """Sizes of the batches; empty where a set and no loader was given."""
    digests: tuple[bytes | None, ...]
    """Of all images that were read, the same for images that differ by a normalisation only; None for blank images."""
    total: int | None
    """How many images there are, where known."""
    is_whole: bool
    """Whether all were read."""
    again: Again | None = None
    why_not_again: Text | None = None
    origin: frozenset[Hashable] | None = None
    """Names of all its images, where the data set tells."""
    base: object = None
    """The data set that a subset or a loader stands on."""
    left_out: int = 0
    """Images that a loader drops at the end of each pass."""
    is_table: bool = False
    kept: Tensor | None = None
    """Which of the images that were read have their pixels kept, where it is not the first ones."""
    showing: str = ""
    """Code that shows ten of them with their labels; empty for a table, and where what is given is of no usual make."""
    called: tuple[str, ...] = ()
    """Files or numbers of the images that were read, in the order of the digests; none where that is not known."""
    label_names: tuple[str, ...] = ()
    """Of a table."""

    def __len__(self) -> int:
        return len(self.digests)

    @cached_property
    def numbers(self) -> Tensor | None:
        """Labels as class numbers: -1 and 1, where they are all there is, become 0 and 1."""
        if self.labels is None or not self.is_signed:
            return self.labels
        return (self.labels + 1) // 2

    @cached_property
    def is_signed(self) -> bool:
        """Whether the labels are -1 and 1."""
        return self.labels is not None and set(tally(self.labels)) == {-1, 1}

    def named(self, number: int) -> str:
        """A class by its number, and by its name, where there is one."""
        said = str(2 * number - 1 if self.is_signed else number)
        name = self.label_names[number] if number < len(self.label_names) else said
        return said if name == said else f"{said} ({name})"

    @cached_property
    def sample_labels(self) -> Tensor | None:
        """Class numbers of the images whose pixels were kept."""
        if self.numbers is None:
            return None
        return self.numbers[: len(self.images)] if self.kept is None else self.numbers[self.kept]

    @cached_property
    def frequencies(self) -> dict[int, int]:
        """How often each class came that came at all."""
        assert self.numbers is not None
        return tally(self.numbers[self.numbers >= 0])


@dataclass
class Reading:
    """Gathers batches up to the limits of images and time."""

    name: Text
    seconds: float
    most: int = READ
    begun: float = field(default_factory=time.monotonic)
    images: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    spare: list[Tensor] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Of the images whose pixels are kept, among all that were read."""
    raw: list[bytes] = field(default_factory=list)
    digests: list[bytes | None] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    width: int | None = None
    is_uint8: bool = False
    has_labels: bool = True

    def take(self, batch: Batch) -> bool:
        """Takes a batch; gives whether it wants more."""
        self.is_uint8 = self.is_uint8 or batch.images.dtype == torch.uint8
        if len(self.places) < KEPT:
            part = picked(batch.images[: KEPT - len(self.places)], PICKED).float()
            if not self.images or part.shape[1:] == self.images[0].shape[1:]:
                self.images.append(part)
                self.places += range(len(self.raw), len(self.raw) + len(part))
        pixels = picked(batch.images, DIGESTED)
        self.raw += [short_hash(each) for each in pixels.contiguous().numpy()]
        self.digests += [digest(each) for each in pixels.contiguous().numpy()]
        self.batches.append(len(batch))
        if batch.labels is None:
            self.has_labels = False
        else:
            self.labels.append(batch.labels)
        if batch.spare is not None:
            self.spare.append(batch.spare)
        if batch.soft is not None:
            self.width = batch.soft.shape[1]
        return len(self.raw) < self.most and time.monotonic() - self.begun < self.seconds

    @property
    def all_labels(self) -> Tensor | None:
        """One an image; None where what stands in their place numbers the images."""
        labels = torch.cat(self.labels) if self.has_labels and self.labels else None
        if labels is None or len(labels) < FEW or int(labels.min()) < 0 or len(tally(labels)) < len(labels):
            return labels
        spare = torch.cat(self.spare) if self.spare else labels  # (image, index, label)
        if len(spare) == len(labels) and len(tally(spare)) < len(spare):
            return spare
        return None if len(labels) >= MANY else labels


def tally(labels: Tensor) -> dict[int, int]:
    """How often each number came that came at all, the smallest first."""
    numbers, counts = np.unique(labels.numpy(), return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def picked(images: Tensor, side: int) -> Tensor:
    """At most `side` rows and columns of B C H W, evenly spaced."""
    height, width = images.shape[-2:]
    return images[..., :: -(-height // side), :: -(-width // side)]


def digest(pixels: np.ndarray) -> bytes | None:
    """The same for two images that differ by an affine change of each channel (a normalisation) only; None where there is nothing to tell by.

    Values count by their rank: a normalisation keeps it, to the last bit.
    """
    ranks = [
        np.unique(channel, return_inverse=True)[1].astype(np.uint16) for channel in pixels.reshape(len(pixels), -1)
    ]
    if all(rank.max(initial=0) == 0 for rank in ranks):
        return None
    return short_hash(np.stack(ranks))


def short_hash(values: np.ndarray) -> bytes:
    """Twelve bytes that stand for an array of one shape."""
    return blake2b(np.ascontiguousarray(values).tobytes(), digest_size=12).digest()
