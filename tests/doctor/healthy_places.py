"""Positions of every kind without a fault, and embeddings that do not learn."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from healthy_hosts import DIM, SIDE, Host, N
from healthy_stems import PIXELS, case_of
from torch import Tensor, nn


def sincos(dim: int = DIM) -> Tensor:
    speed = 1000.0 ** -(torch.arange(dim // 4) / (dim // 4))
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    angles = [at.reshape(-1, 1) * speed for at in (down, across)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


class Placed(Host):
    """Positions on the patches only; `table` says which."""

    def prepare(self, dim: int) -> None:
        del self.pos_embed

    def table(self) -> Tensor:
        return sincos().to(self.cls_token)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT + self.table()
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)


class FrozenSinCos(Placed):
    """MAE's way: a parameter that does not learn."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(sincos(), requires_grad=False)

    def table(self) -> Tensor:
        return self.pos_embed


class ZeroPositions(Placed):
    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(torch.zeros(1, N, dim))

    def table(self) -> Tensor:
        return self.pos_embed


class RowsAndColumns(Placed):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.rows, self.columns = (nn.Parameter(0.02 * torch.randn(SIDE, dim)) for _ in range(2))

    def table(self) -> Tensor:
        return (self.rows[:, None] + self.columns[None]).flatten(0, 1)


class Coordinates(Placed):
    """A small network reads where a patch is."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.net = nn.Sequential(nn.Linear(2, dim), nn.GELU(), nn.Linear(dim, dim))

    def table(self) -> Tensor:
        at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).to(self.cls_token)
        return self.net(at / (SIDE - 1) - 0.5)


class SpareRows(Placed):
    """A table for more tokens than there are."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.pos_table = nn.Embedding(100, dim)
        nn.init.normal_(self.pos_table.weight, std=0.02)

    def table(self) -> Tensor:
        return self.pos_table(torch.arange(N, device=self.cls_token.device))


class Resized(Placed):
    """A coarser table, interpolated in each forward as after pre-training on smaller images."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, dim, 6, 6))

    def table(self) -> Tensor:
        return F.interpolate(self.pos_embed, size=(SIDE, SIDE), mode="bicubic").flatten(2).mT


class EveryBlock(Placed):
    """Positions are given again to each block."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1 + N, dim))

    def table(self) -> Tensor:
        return self.pos_embed[1:]

    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens + self.pos_embed)
        return self.norm(tokens)


class Standardised(Host):
    """Pixels are scaled and standardised inside, with buffers."""

    def prepare(self, dim: int) -> None:
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45])[:, None, None])
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26])[:, None, None])

    def embed(self, x: Tensor) -> Tensor:
        return super().embed((x - self.mean) / self.std)


class FrozenPatches(Host):
    """MoCo v3 trains so: the projection of the patches stays at its random start."""

    def prepare(self, dim: int) -> None:
        nn.init.uniform_(self.patch.weight, -math.sqrt(6 / (PIXELS + dim)), math.sqrt(6 / (PIXELS + dim)))
        self.patch.requires_grad_(False)


CASES = [
    case_of("sine and cosine", Placed),
    case_of("frozen sine and cosine", FrozenSinCos),
    case_of("positions that start at zero", ZeroPositions, quick=True),
    case_of("rows and columns", RowsAndColumns),
    case_of("a network of coordinates", Coordinates),
    case_of("spare rows", SpareRows),
    case_of("positions resized", Resized),
    case_of("positions in every block", EveryBlock),
    case_of("standardises inside", Standardised),
    case_of("frozen patch embedding", FrozenPatches),
]
