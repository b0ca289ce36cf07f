"""Attentions without a fault that lie otherwise: positions, windows and masks inside, heads and axes in other places."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from healthy_attentions import case_of
from healthy_case import Healthy
from healthy_hosts import SIDE, MeanHost, N, Split
from torch import Tensor, nn


class Rotary(Split):
    """Two-dimensional, half of each head for the rows and half for the columns."""

    def prepare(self, dim: int, heads: int) -> None:
        quarter = self.head_dim // 4
        speed = 100.0 ** -(torch.arange(quarter) / quarter)
        rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        angle = torch.cat([rows.reshape(-1, 1) * speed, columns.reshape(-1, 1) * speed], dim=-1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def turn(self, t: Tensor) -> Tensor:
        patches = t[..., -N:, :]
        a, b = patches.chunk(2, dim=-1)
        cos, sin = self.cos.to(t.dtype), self.sin.to(t.dtype)
        return torch.cat([t[..., :-N, :], torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)], dim=-2)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(self.turn(q), self.turn(k))


class RelativeBias(Split):
    def prepare(self, dim: int, heads: int) -> None:
        place = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")).flatten(1)
        apart = (place[:, :, None] - place[:, None, :]).permute(1, 2, 0) + SIDE - 1
        self.register_buffer("index", apart[..., 0] * (2 * SIDE - 1) + apart[..., 1])
        self.table = nn.Parameter(torch.zeros((2 * SIDE - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(q, k) + self.table[self.index].permute(2, 0, 1)


class Distance(Split):
    """Two-dimensional ALiBi; the far are heard less, the slopes do not learn."""

    def prepare(self, dim: int, heads: int) -> None:
        at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()
        slopes = 2.0 ** -torch.arange(1, heads + 1)
        self.register_buffer("far", -slopes[:, None, None] * torch.cdist(at, at))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(q, k) + self.far.to(q.dtype)


class Neighbours(Split):
    """Only the 5 × 5 patches around each are attended to."""

    def prepare(self, dim: int, heads: int) -> None:
        at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
        near = (at[:, None] - at[None]).abs().amax(dim=-1) <= 2
        self.register_buffer("mask", torch.zeros(N, N).masked_fill(~near, float("-inf")))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask.to(q.dtype)))


class Windows(Split):
    """4 × 4 windows; in every other layer rolled by two, without a mask at the seam."""

    shift = 0

    def forward(self, x: Tensor) -> Tensor:
        grid = x.unflatten(1, (SIDE, SIDE)).roll((-self.shift, -self.shift), (1, 2))
        inside = rearrange(grid, "b (h p) (w q) d -> (b h w) (p q) d", p=4, q=4)
        out = rearrange(super().forward(inside), "(b h w) (p q) d -> b (h p) (w q) d", h=2, w=2, p=4)
        return out.roll((self.shift, self.shift), (1, 2)).flatten(1, 2)


class PooledKeys(Split):
    """PVT: keys and values of a grid half as fine."""

    def forward(self, x: Tensor) -> Tensor:
        coarse = F.avg_pool2d(x.mT.unflatten(-1, (SIDE, SIDE)), 2).flatten(2).mT
        q, (_, k, v) = self.split(x)[0], self.split(coarse)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Grouped(nn.Module):
    """Fewer heads of keys and values than of queries; with one, multi-query attention."""

    def __init__(self, dim: int, heads: int, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, self.e = heads, groups, dim // heads
        self.to_q, self.to_kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * groups * self.e, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q = self.to_q(x).view(*x.shape[:2], self.heads, self.e).transpose(1, 2)
        k, v = self.to_kv(x).view(*x.shape[:2], 2, self.groups, self.e).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.to_out(y.transpose(1, 2).reshape(x.shape))


class Masked(Split):
    """A mask that hides nothing, of truths or of zeros, and dropout while training only."""

    of_truths, p = True, 0.1

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(x), 1, x.shape[1], x.shape[1])
        mask = torch.ones(shape, dtype=torch.bool) if self.of_truths else x.new_zeros(shape)
        dropout = self.p if self.training else 0.0
        return self.merge(F.scaled_dot_product_attention(*self.split(x), attn_mask=mask, dropout_p=dropout))


class MaskedByZeros(Masked):
    of_truths = False


class Interleaved(nn.Module):
    """q, k and v of one head beside each other in one projection (DeepViT's and Megatron's order)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], self.heads, -1).chunk(3, dim=-1)
        dots = einsum(q, k, "b i h e, b j h e -> b h i j") / math.sqrt(q.shape[-1])
        return self.proj(einsum(dots.softmax(-1), v, "b h i j, b j h e -> b i h e").flatten(2))


class OneByOne(nn.Module):
    """A list of single heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(dim, 3 * dim // heads, bias=False) for _ in range(heads))
        self.proj, self.dropout = nn.Linear(dim, dim), nn.Dropout(0.1)

    def one(self, part: nn.Module, x: Tensor) -> Tensor:
        query, key, value = part(x).chunk(3, dim=-1)
        weights = F.softmax(torch.bmm(query, key.transpose(-2, -1)) * key.size(-1) ** -0.5, dim=-1)
        return torch.bmm(self.dropout(weights), value)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([self.one(part, x) for part in self.parts], dim=-1))


class FoldedHeads(Split):
    """Heads folded into the batch, scaled queries, baddbmm, and softmax by hand."""

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (t.reshape(B * self.heads, T, self.head_dim) for t in self.split(x))
        raw = torch.baddbmm(x.new_zeros(1, T, T), q * self.head_dim**-0.5, k.transpose(1, 2))
        raised = (raw - raw.max(-1, keepdim=True).values).exp()
        y = torch.bmm(raised / raised.sum(-1, keepdim=True), v)
        return self.merge(y.view(B, self.heads, T, self.head_dim))


class KeysDown(Split):
    """The map lies on its side, keys down and queries across, and so does the softmax."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        side = torch.softmax(k @ q.mT / math.sqrt(self.head_dim), dim=-2)
        return self.merge((v.mT @ side).mT)


class HeadsLast(Split):
    """Scores B Q J K, heads last: the keys are the dimension before it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.q, self.k, self.v))
        scores = torch.einsum("bqhe,bkhe->bqkh", q, k) * self.head_dim**-0.5
        return self.out(torch.einsum("bqkh,bkhe->bqhe", F.softmax(scores, dim=2), v).flatten(2))


class SomeQueriesAtATime(Split):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        parts = [self.weights(self.scores(part, k)) @ v for part in q.split(16, dim=2)]
        return self.merge(torch.cat(parts, dim=2))


class Torchs(nn.Module):
    """torch's own, either way round, told that nothing is padding."""

    def __init__(self, dim: int, heads: int, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.mha = nn.MultiheadAttention(dim, heads, dropout=0.1, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        t = x if self.batch_first else x.transpose(0, 1)
        y: Tensor = self.mha(t, t, t, key_padding_mask=padding, need_weights=self.batch_first)[0]
        return y if self.batch_first else y.transpose(0, 1)


def _windows() -> nn.Module:
    model = MeanHost(Windows)
    model.layers[1][1].shift = 2
    return model


CASES = [
    case_of("rotary", Rotary, True),
    case_of("relative bias", RelativeBias, False),
    case_of("distance bias", Distance, False),
    case_of("neighbours", Neighbours, False),
    case_of("pooled keys", PooledKeys, False),
    case_of("grouped queries", Grouped, True),
    case_of("one head of keys", partial(Grouped, groups=1), False),
    case_of("a mask of truths", Masked, True),
    case_of("a mask of zeros", MaskedByZeros, False),
    case_of("heads interleaved", Interleaved, True),
    case_of("a list of heads", OneByOne, True),
    case_of("heads in the batch, softmax by hand", FoldedHeads, True),
    case_of("the map on its side", KeysDown, True, quick=True),
    case_of("heads last", HeadsLast, False),
    case_of("some queries at a time", SomeQueriesAtATime, True),
    case_of("torch's, batch first", Torchs, True),
    case_of("torch's, sequence first", partial(Torchs, batch_first=False), True),
    Healthy("by hand: attention, windows", "by hand", _windows, quick=True),
]
