"""Samplers that lay every batch out alike and draw its images anew, and loaders that do not shuffle although their batches are laid out so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from watch_parts import CLASSES, images_of, parts

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """No image comes twice as it was."""

    def __init__(self, images: Tensor, labels: Tensor, noise: float) -> None:
        self.images, self.labels, self.noise = images, labels, noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return image + self.noise * torch.randn(image.shape), self.labels[index]


class Balanced(Sampler[list[int]]):
    """Some images of each class a batch; drawn anew for each epoch, or once and for all."""

    def __init__(self, labels: Tensor, each: int, *, is_fixed: bool = False) -> None:
        self.labels, self.each, self.is_fixed = labels, each, is_fixed

    def __len__(self) -> int:
        return len(self.labels) // (self.each * CLASSES)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(3) if self.is_fixed else None
        for _ in range(len(self)):
            batch: list[int] = []
            for label in range(CLASSES):
                of = (self.labels == label).nonzero()[:, 0]
                batch += of[torch.randint(len(of), (self.each,), generator=generator)].tolist()
            yield batch


class Rotating(Balanced):
    """Half of the classes in one batch, the other half in the next."""

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            half = len(batch) // 2
            yield from (batch[:half], batch[half:])


def found(make: Callable[..., Balanced], each: int, noise: float, *, first_only: bool = False) -> list[Finding]:
    images, labels = images_of(320)
    loader = DataLoader(Noisy(images, labels, noise), batch_sampler=make(labels, each))
    p = parts(loader=loader)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for _ in range(8 if first_only else 2):
            for x, y in loader:
                p.optimizer.zero_grad()
                F.cross_entropy(p.model(x), y).backward()
                p.optimizer.step()
                if first_only:
                    break
    return [each for each in watched.findings if each.check == "loop-data"]


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("make", [Balanced, Rotating])
@pytest.mark.parametrize("each", [2, 4])
def test_batches_of_one_layout_are_no_fixed_order(make: Callable[..., Balanced], each: int, noise: float) -> None:
    assert not found(make, each, noise)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_first_batches_of_one_layout_are_not_the_same_batch(noise: float) -> None:
    assert not found(Balanced, 2, noise, first_only=True)


@pytest.mark.parametrize("each", [2, 4])
@pytest.mark.parametrize("first_only", [False, True])
def test_the_same_images_in_one_layout_are_found_by_their_pixels(each: int, *, first_only: bool) -> None:
    (finding,) = found(lambda y, n: Balanced(y, n, is_fixed=True), each, 0.0, first_only=first_only)
    assert (finding.id, finding.severity) == ("same-order-in-every-epoch", "warning")
