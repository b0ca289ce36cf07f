"""Attentions with a wrong softmax or a missing scale (M7 to M9), each in a ViT that is sound otherwise."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from sound_hosts import ConvHost, LinearHost, RegisterHost
from torch import Tensor, nn


class ImplicitSoftmax(nn.Module):
    """F.softmax without a dimension: of four axes PyTorch takes the second, the heads."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = F.softmax((q @ k.transpose(-2, -1)) * self.scale)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class QuerySoftmax(nn.Module):
    """einsum scores whose softmax runs over the queries."""

    def __init__(self, emb: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.toqueries, self.tokeys, self.tovalues = (nn.Linear(emb, emb, bias=False) for _ in range(3))
        self.unify = nn.Linear(emb, emb)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(f(x), "b t (h s) -> b h t s", h=self.heads) for f in (self.toqueries, self.tokeys, self.tovalues)
        )
        dot = torch.einsum("bhqs,bhks->bhqk", q, k) / math.sqrt(q.shape[-1])
        dot = F.softmax(dot, dim=-2)
        return self.unify(rearrange(torch.einsum("bhqk,bhks->bhqs", dot, v), "b h t s -> b t (h s)"))


class HeadsLast(nn.Module):
    """Scores laid out with the heads last; dim=-1 by habit is then the heads."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.n_heads = n_heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.in_proj(x).unflatten(-1, (3, self.n_heads, -1)).unbind(2)
        scores = torch.einsum("ibhd,jbhd->bijh", q, k) * q.size(-1) ** -0.5
        weights = torch.softmax(scores, dim=-1)
        return self.out_proj(torch.einsum("bijh,jbhd->ibhd", weights, v).flatten(2))


class Head(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(width, size, bias=False) for _ in range(3))
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        return torch.bmm(self.softmax(torch.bmm(q, k.transpose(1, 2)) / k.shape[2] ** 0.5), v)


class HeadList(nn.Module):
    """One module a head; dim=1 of (B, N, N) is the queries."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(width, width // heads) for _ in range(heads)])
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.cat([head(x) for head in self.heads], dim=2))


class UnusedScale(nn.Module):
    """Defines its scale and forgets it."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        attn = self.drop(torch.matmul(q, k.mT).softmax(dim=-1))
        return self.o(torch.matmul(attn, v).transpose(1, 2).flatten(2))


class UnitScale(nn.Module):
    """Hands PyTorch's own attention a scale of one."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_kv, self.to_out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = rearrange(self.to_q(x), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.to_kv(x), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        return self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v, scale=1.0), "b h n d -> b n (h d)"))


class FoldedHeads(nn.Module):
    """Heads folded into the batch, sequence first, baddbmm; `alpha` left at one."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.weight = nn.Parameter(torch.empty(3, d_model, d_model))
        nn.init.xavier_uniform_(self.weight.view(3 * d_model, d_model))
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        n, b, d = x.shape
        q, k, v = (
            F.linear(x, w).contiguous().view(n, b * self.n_heads, self.d_head).transpose(0, 1) for w in self.weight
        )
        scores = torch.baddbmm(x.new_zeros(1, n, n), q, k.transpose(1, 2), alpha=1.0)
        return self.out(torch.bmm(F.softmax(scores, dim=2), v).transpose(0, 1).reshape(n, b, d))


class FullDimScale(nn.Module):
    """Scales by the width of the model."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, dim**-0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(x.permute(0, 2, 1, 3).reshape(B, N, C))


class HeadCountScale(nn.Module):
    """Scales by the number of heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.keys, self.queries, self.values, self.projection = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        queries = rearrange(self.queries(x), "b n (h d) -> b h n d", h=self.num_heads)
        keys = rearrange(self.keys(x), "b n (h d) -> b h n d", h=self.num_heads)
        values = rearrange(self.values(x), "b n (h d) -> b h n d", h=self.num_heads)
        energy = torch.einsum("bhqd, bhkd -> bhqk", queries, keys) * self.num_heads**-0.5
        out = torch.einsum("bhal, bhlv -> bhav", energy.softmax(dim=-1), values)
        return self.projection(rearrange(out, "b h n d -> b n (h d)"))


class EmbedRoot(nn.Module):
    """Divides by the square root of the embedding, sequence first."""

    def __init__(self, embed_size: int, heads: int) -> None:
        super().__init__()
        self.embed_size, self.heads, self.head_dim = embed_size, heads, embed_size // heads
        self.values, self.keys, self.queries = (nn.Linear(embed_size, embed_size) for _ in range(3))
        self.fc_out = nn.Linear(embed_size, embed_size)

    def forward(self, x: Tensor) -> Tensor:
        n, b, _ = x.shape
        values = self.values(x).reshape(n, b, self.heads, self.head_dim)
        keys = self.keys(x).reshape(n, b, self.heads, self.head_dim)
        queries = self.queries(x).reshape(n, b, self.heads, self.head_dim)
        energy = torch.einsum("qbhd,kbhd->bhqk", queries, keys)
        attention = torch.softmax(energy / (self.embed_size ** (1 / 2)), dim=3)
        return self.fc_out(torch.einsum("bhqk,kbhd->qbhd", attention, values).reshape(n, b, self.embed_size))


CASES: tuple[Case, ...] = (
    Case("implicit-softmax", "M7", "attention", "error", lambda: ConvHost(ImplicitSoftmax)),
    Case("query-softmax", "M7", "attention", "error", lambda: LinearHost(QuerySoftmax)),
    Case("heads-last", "M7", "attention", "error", lambda: RegisterHost(HeadsLast, heads=4)),
    Case("head-list", "M7", "attention", "error", lambda: ConvHost(HeadList, dim=32, heads=2, depth=3)),
    Case("unused-scale", "M8", "attention", "warning", lambda: ConvHost(UnusedScale)),
    Case("unit-scale", "M8", "attention", "warning", lambda: LinearHost(UnitScale)),
    Case("folded-heads", "M8", "attention", "warning", lambda: RegisterHost(FoldedHeads)),
    Case("full-dim-scale", "M9", "attention", "note", lambda: ConvHost(FullDimScale)),
    Case("head-count-scale", "M9", "attention", "note", lambda: LinearHost(HeadCountScale)),
    Case(
        "head-count-scale-wide",
        "M9",
        "attention",
        "warning",
        lambda: LinearHost(HeadCountScale, dim=96, heads=2, depth=2),
    ),
    Case("embed-root", "M9", "attention", "note", lambda: RegisterHost(EmbedRoot, heads=4)),
)
