"""Batches that are drawn by identity, as metric learning wants them: no sorted order, whether as many images of each are there or not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import Parts, ViT, parts, train

import vitscope
from vitscope.doctor.data import examine_data
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole examinations


class Identities:
    """Batches of P identities with up to K images of each, anew in each epoch; each identity once in an epoch, or any of them in each batch."""

    def __init__(self, labels: Tensor, identities: int, images: int, *, once: bool) -> None:
        self.identities, self.images, self.once = identities, images, once
        self.of = {label: (labels == label).nonzero()[:, 0].tolist() for label in labels.unique().tolist()}

    def __len__(self) -> int:
        return len(self.of) // self.identities if self.once else 20

    def __iter__(self) -> Iterator[list[int]]:
        order = random.sample(list(self.of), len(self.of))
        for number in range(len(self)):
            chosen = order[number * self.identities :][: self.identities]
            if not self.once:
                chosen = random.sample(order, self.identities)
            yield [place for each in chosen for place in self._some(self.of[each])]

    def _some(self, places: list[int]) -> list[int]:
        return random.sample(places, min(len(places), self.images))


def loader(
    identities: int, images: int, *, once: bool, classes: int = 60, fewest: int = 2
) -> DataLoader[tuple[Tensor, ...]]:
    random.seed(0)
    counts = [random.randint(fewest, 20) for _ in range(classes)]
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images_ = torch.randn(len(labels), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images_, labels), batch_sampler=Identities(labels, identities, images, once=once))


LOADERS = [(8, 4, False, 20), (8, 4, True, 20), (8, 6, False, 2), (8, 6, True, 2), (3, 99, True, 4), (2, 16, False, 8)]


@pytest.mark.parametrize(("identities", "images", "once", "fewest"), LOADERS)
def test_batches_of_identities_are_at_most_a_note_of_the_check_of_data(
    identities: int, images: int, once: bool, fewest: int
) -> None:
    source = loader(identities, images, once=once, fewest=fewest)
    (finding,) = examine_data(source, classes=60, checks=["data-order"]).findings
    assert (finding.id, finding.severity) == ("batches-drawn-by-class", "note")


def compared(p: Parts) -> None:
    """Images of one identity near each other: no class is learned."""
    p.model.train()
    for _ in range(2):
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            points = F.normalize(p.model(images), dim=-1)
            alike = (labels[:, None] == labels).float()
            ((points @ points.T - alike) ** 2).mean().backward()
            p.optimizer.step()


def sorted_by(p: Parts, *, classes: bool) -> list[Finding]:
    with vitscope.watch(p.model, p.optimizer, p.loader, loss_fn=p.loss if classes else None) as watched:
        train(p, 2) if classes else compared(p)
    return [finding for finding in watched.findings if finding.check == "loop-data"]


@pytest.mark.parametrize("once", [False, True])
def test_batches_of_one_identity_are_asked_after_where_no_class_is_learned(once: bool) -> None:
    p = parts(ViT(classes=60), loader=loader(1, 16, once=once, fewest=16))
    (finding,) = sorted_by(p, classes=False)
    assert (finding.id, finding.severity) == ("batches-sorted-by-class", "note")
    assert finding.fault.advice.en.startswith("nothing to do where it is meant")
    p = parts(ViT(classes=60), loader=loader(1, 16, once=once, fewest=16))
    (finding,) = sorted_by(p, classes=True)
    assert (finding.id, finding.severity) == ("batches-sorted-by-class", "error")


@pytest.mark.parametrize(("identities", "images", "once", "fewest"), LOADERS)
@pytest.mark.parametrize("classes", [False, True])
def test_batches_of_several_identities_are_left_alone_by_watch(
    identities: int, images: int, once: bool, fewest: int, classes: bool
) -> None:
    p = parts(ViT(classes=60), loader=loader(identities, images, once=once, fewest=fewest))
    assert not sorted_by(p, classes=classes)


def test_a_sorted_set_is_one_whatever_is_learned() -> None:
    labels = torch.arange(10).repeat_interleave(25)
    data = TensorDataset(torch.randn(250, 3, 16, 16, generator=torch.Generator().manual_seed(0)), labels)
    (finding, _) = sorted_by(parts(loader=DataLoader(data, 16)), classes=False)  # and comes in the same order
    assert (finding.id, finding.severity) == ("batches-sorted-by-class", "error")
