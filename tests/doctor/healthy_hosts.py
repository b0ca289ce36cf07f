"""A small ViT without a fault, of which the hand-written healthy models change one piece each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

DIM, HEADS, DEPTH, PATCH, SIDE = 48, 4, 2, 4, 8
N = SIDE * SIDE
Attention = Callable[[int, int], nn.Module]


class Split(nn.Module):
    """Attention in steps, each to be replaced: queries, keys and values B K N E, scores, weights, and the way out."""

    bias = True

    def __init__(self, dim: int = DIM, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=self.bias) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.prepare(dim, heads)

    def prepare(self, dim: int, heads: int) -> None:
        """Further parameters."""

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return q, k, v

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT * self.head_dim**-0.5

    def weights(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def merge(self, y: Tensor) -> Tensor:
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(self.weights(self.scores(q, k)) @ v)


def mlp(dim: int = DIM, dropout: float = 0.0) -> nn.Sequential:
    drops = (nn.Dropout(dropout), nn.Dropout(dropout)) if dropout else (nn.Identity(), nn.Identity())
    return nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), drops[0], nn.Linear(2 * dim, dim), drops[1])


class Block(nn.Module):
    """Pre-norm: x + attn(norm(x)), x + mlp(norm(x))."""

    def __init__(self, attention: Attention = Split, dim: int = DIM, heads: int = HEADS) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = attention(dim, heads), mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Host(nn.Module):
    """Convolution, class token, learned positions, blocks, norm, linear head; `embed`, `encode` and `read` are there to be replaced."""

    def __init__(
        self, block: Callable[[], nn.Module] = Block, *, dim: int = DIM, depth: int = DEPTH, channels: int = 3
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, dim, PATCH, PATCH)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + N, dim))
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)
        self.prepare(dim)

    def prepare(self, dim: int) -> None:
        """Further parameters, or other start values."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed

    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[:, 0])

    def forward(self, x: Tensor) -> Any:
        return self.read(self.encode(self.embed(x)))


class MeanHost(nn.Module):
    """Patches by einops, positions from nn.Embedding, layers in nested lists, the mean of the tokens."""

    def __init__(self, attention: Attention = Split, *, dim: int = DIM, heads: int = HEADS, depth: int = DEPTH) -> None:
        super().__init__()
        self.to_patch_embedding = nn.Linear(PATCH * PATCH * 3, dim)
        self.place = nn.Embedding(N, dim)
        nn.init.normal_(self.place.weight, std=0.02)
        self.register_buffer("ids", torch.arange(N), persistent=False)
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(dim), attention(dim, heads), nn.LayerNorm(dim), nn.Linear(dim, 2 * dim)])
            for _ in range(depth)
        )
        self.down = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(depth))
        self.classifier = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=PATCH, q=PATCH)
        x = self.to_patch_embedding(x) + self.place(self.ids)
        for (before, attend, between, up), down in zip(self.layers, self.down, strict=True):
            x = attend(before(x)) + x
            x = down(F.gelu(up(between(x)))) + x
        return self.classifier(x.mean(dim=1))
