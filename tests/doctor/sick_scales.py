"""Attentions scaled at the wrong place (M10), the wrong way round (M11), or collapsed by their own weights (I5)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from sound_hosts import ConvHost, LinearHost, RegisterHost
from torch import Tensor, nn


class EnergyThenScaling(nn.Module):
    """The attention of a much-copied tutorial: softmax of the raw energy, and then the division."""

    def __init__(self, emb_size: int, num_heads: int) -> None:
        super().__init__()
        self.emb_size, self.num_heads = emb_size, num_heads
        self.qkv = nn.Linear(emb_size, emb_size * 3)
        self.att_drop = nn.Dropout(0.1)
        self.projection = nn.Linear(emb_size, emb_size)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(x), "b n (h d qkv) -> (qkv) b h n d", h=self.num_heads, qkv=3)
        queries, keys, values = qkv[0], qkv[1], qkv[2]
        energy = torch.einsum("bhqd, bhkd -> bhqk", queries, keys)
        scaling = self.emb_size ** (1 / 2)
        att = self.att_drop(F.softmax(energy, dim=-1) / scaling)
        out = torch.einsum("bhal, bhlv -> bhav ", att, values)
        return self.projection(rearrange(out, "b h n d -> b n (h d)"))


class ScaledWeights(nn.Module):
    """Softmax and scale exchanged in one line."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.h = heads
        self.scale = (dim // heads) ** -0.5
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def split(self, t: Tensor) -> Tensor:
        return t.view(t.size(0), t.size(1), self.h, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.wq(x)), self.split(self.wk(x)), self.split(self.wv(x))
        attn = (q @ k.transpose(-1, -2)).softmax(dim=-1) * self.scale
        return self.wo((attn @ v).transpose(1, 2).flatten(2))


class DividedProbabilities(nn.Module):
    """Sequence first, heads folded into the batch; the probabilities are divided in place."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qk_proj, self.v_proj = nn.Linear(d_model, 2 * d_model), nn.Linear(d_model, d_model)
        self.c_proj = nn.Linear(d_model, d_model)

    def fold(self, t: Tensor) -> Tensor:
        n, b, d = t.shape
        return t.reshape(n, b * self.n_heads, d // self.n_heads).permute(1, 0, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k = (self.fold(t) for t in self.qk_proj(x).chunk(2, dim=-1))
        v = self.fold(self.v_proj(x))
        probabilities = torch.softmax(q.bmm(k.transpose(1, 2)), dim=-1)
        probabilities = torch.div(probabilities, math.sqrt(q.size(-1)))
        return self.c_proj(probabilities.bmm(v).permute(1, 0, 2).reshape(x.shape))


class DividedByScale(nn.Module):
    """`scale` is the reciprocal already; the division turns it round."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.scale = self.head_dim**-0.5
        self.query, self.key, self.value, self.dense = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        shape = (hidden.size(0), -1, self.num_heads, self.head_dim)
        q = self.query(hidden).view(shape).transpose(1, 2)
        k = self.key(hidden).view(shape).transpose(1, 2)
        v = self.value(hidden).view(shape).transpose(1, 2)
        probs = nn.functional.softmax(torch.matmul(q, k.transpose(-1, -2)) / self.scale, dim=-1)
        return self.dense(torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous().flatten(-2))


class RootScale(nn.Module):
    """SDPA multiplies by its `scale`; this one gives it the divisor."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.root = heads, math.sqrt(dim / heads)
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v, scale=self.root)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class ScaledQueries(nn.Module):
    """Scales the queries first, by division."""

    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.h = h
        self.register_buffer("temperature", torch.tensor((d // h) ** -0.5))
        self.maps = nn.ModuleDict({name: nn.Linear(d, d) for name in ("q", "k", "v", "o")})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.maps[name](x).unflatten(-1, (self.h, -1)) for name in ("q", "k", "v"))
        q = q / self.temperature
        a = torch.einsum("nbhd,mbhd->bhnm", q, k).softmax(dim=-1)
        return self.maps["o"](torch.einsum("bhnm,mbhd->nbhd", a, v).flatten(-2))


class HugeMHA(nn.Module):
    """nn.MultiheadAttention after a run that blew its query and key weights up."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)
        nn.init.normal_(self.mha.in_proj_weight[: 2 * embed_dim], std=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x, need_weights=False)[0]


class UnitNormalInit(nn.Module):
    """Query and key maps initialised with a standard deviation of one."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        for layer in (self.q, self.k):
            nn.init.normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(f(x), "b n (h d) -> b h n d", h=self.heads) for f in (self.q, self.k, self.v))
        attn = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
        return self.out(rearrange(attn @ v, "b h n d -> b n (h d)"))


class OrthogonalGain(nn.Module):
    """Orthogonal maps with a gain meant for another layer, sequence first, through SDPA."""

    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Parameter(torch.empty(d, d)) for _ in range(4))
        for w, gain in ((self.wq, 12.0), (self.wk, 12.0), (self.wv, 1.0), (self.wo, 1.0)):
            nn.init.orthogonal_(w, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = ((x @ w).unflatten(-1, (self.n_heads, -1)).permute(1, 2, 0, 3) for w in (self.wq, self.wk, self.wv))
        return F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2) @ self.wo


CASES: tuple[Case, ...] = (
    Case("energy-then-scaling", "M10", "attention", "error", lambda: ConvHost(EnergyThenScaling)),
    Case("scaled-weights", "M10", "attention", "error", lambda: LinearHost(ScaledWeights)),
    Case("divided-probabilities", "M10", "attention", "error", lambda: RegisterHost(DividedProbabilities)),
    Case("divided-by-scale", "M11", "attention", "error", lambda: ConvHost(DividedByScale)),
    Case("root-scale", "M11", "attention", "error", lambda: LinearHost(RootScale)),
    Case("scaled-queries", "M11", "attention", "error", lambda: RegisterHost(ScaledQueries)),
    Case("huge-mha", "I5", "attention", "warning", lambda: ConvHost(HugeMHA, heads=2)),
    Case("unit-normal-init", "I5", "attention", "warning", lambda: LinearHost(UnitNormalInit)),
    Case("orthogonal-gain", "I5", "attention", "warning", lambda: RegisterHost(OrthogonalGain)),
)
