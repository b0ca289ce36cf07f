"""Images of a batch that the loop puts into another order: with their labels that is honest, without them it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watch_parts import Pooled, ViT, loader_of, parts

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops

Change = Callable[[Tensor], Tensor]
"""From the places of the images of a batch, those that they are put into."""
ORDERS: dict[str, Change] = {
    "drawn": lambda places: places[torch.randperm(len(places))],
    "flipped": lambda places: places.flip(0),
    "rolled": lambda places: places.roll(1),
}


def found(step: Callable[[nn.Module, Tensor, Tensor], Tensor], model: nn.Module | None = None) -> list[Finding]:
    p = parts(model, loader=loader_of(320))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for _ in range(3):
            for images, labels in p.loader:
                p.optimizer.zero_grad()
                step(p.model, images, labels).backward()
                p.optimizer.step()
    return list(watched.findings)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("make", [ViT, Pooled])
def test_images_in_another_order_than_their_labels_are_found(make: Callable[[], nn.Module], order: Change) -> None:
    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images = images[order(torch.arange(len(images)))]
        return F.cross_entropy(model(images), labels)

    (finding,) = found(step, make())
    assert (finding.id, finding.severity) == ("loss-of-other-labels", "error")
    assert "puts the images of each batch into another order, and not the labels" in finding.summary.en
    assert "画像だけが並べ替えられ" in finding.summary.ja


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_images_in_another_order_with_their_labels_are_left_alone(order: Change) -> None:
    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        places = order(torch.arange(len(images)))
        return F.cross_entropy(model(images[places]), labels[places])

    assert not found(step)


@pytest.mark.parametrize("share", [1.0, 0.7, 0.0])
def test_mixed_images_are_left_alone(share: float) -> None:
    """Mixup; with a share of 0 the other image is all there is."""

    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        places = torch.randperm(len(images))
        scores = model(images * share + images[places] * (1 - share))
        return share * F.cross_entropy(scores, labels) + (1 - share) * F.cross_entropy(scores, labels[places])

    assert not found(step)


def test_pasted_images_are_left_alone() -> None:
    """CutMix."""

    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        places, side = torch.randperm(len(images)), int(torch.randint(1, 17, ()))
        mixed, share = images.clone(), 1 - side * side / 256
        mixed[..., :side, :side] = images[places, :, :side, :side]
        scores = model(mixed)
        return share * F.cross_entropy(scores, labels) + (1 - share) * F.cross_entropy(scores, labels[places])

    assert not found(step)
