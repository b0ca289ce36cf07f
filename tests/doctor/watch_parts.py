"""A small ViT, images that can be learned, and what the loops of the tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES, BATCH, IMAGES = 10, 16, 160


class ViT(nn.Module):
    """Pre-norm, a class token; what is wrong with a loop needs no more than one block, most of the time."""

    def __init__(
        self,
        width: int = 32,
        dropout: float = 0.1,
        final: nn.Module | None = None,
        classes: int = CLASSES,
        depth: int = 1,
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.final = final or nn.Identity()

    def features(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.head(self.features(x)))


class DictSet(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def images_of(count: int = IMAGES, *, seed: int = 0, by_class: bool = False) -> tuple[Tensor, Tensor]:
    """A colour for each class, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    if by_class:
        labels = labels.sort().values
    colours = torch.randn(CLASSES, 3, 1, 1, generator=torch.Generator().manual_seed(9))
    return colours[labels] + 0.5 * torch.randn(count, 3, 16, 16, generator=generator), labels


def loader_of(
    count: int = IMAGES, *, seed: int = 0, shuffle: bool = True, by_class: bool = False, drop_last: bool = False
) -> DataLoader[tuple[Tensor, ...]]:
    data = TensorDataset(*images_of(count, seed=seed, by_class=by_class))
    return DataLoader(data, batch_size=BATCH, shuffle=shuffle, drop_last=drop_last)


@dataclass
class Parts:
    """What a loop has at hand."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: DataLoader[tuple[Tensor, ...]]
    val: DataLoader[tuple[Tensor, ...]] | None = None
    loss: nn.Module | None = None
    scheduler: object | None = None


def parts(
    model: nn.Module | None = None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    **others: object,
) -> Parts:
    """A healthy set, with what is given in its place."""
    torch.manual_seed(0)
    model = model or ViT()
    make = optimizer or (lambda m: torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=0.0))
    known: dict[str, object] = {"loader": loader_of(), "loss": nn.CrossEntropyLoss()}
    return Parts(model, make(model), **(known | others))  # type: ignore[arg-type]


def step(p: Parts, images: Tensor, labels: Tensor) -> None:
    """As it should be."""
    assert p.loss is not None
    p.optimizer.zero_grad()
    p.loss(p.model(images), labels).backward()
    p.optimizer.step()


def train(p: Parts, epochs: int = 3, each: Callable[[Parts, Tensor, Tensor], None] = step) -> None:
    for _ in range(epochs):
        p.model.train()
        for images, labels in p.loader:
            each(p, images, labels)


@torch.no_grad()
def evaluate(p: Parts, model: nn.Module | None = None, *, mode: bool = False) -> float:
    """As it should be, but for the mode, where that is said."""
    assert p.val is not None
    judged = model or p.model
    judged.train(mode)
    right = total = 0
    for images, labels in p.val:
        right += int((judged(images).argmax(-1) == labels).sum())
        total += len(labels)
    judged.train()
    return right / total


class Pooled(nn.Module):
    """No class token, no dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 4, 4)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))
