"""ViTs with layers that nothing calls (M14), and with weights that `parameters()` does not know (M15)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# M14, errors: a whole attention or a whole MLP never called


class MSA(nn.Module):
    def __init__(self, d: int, n_heads: int = 2) -> None:
        super().__init__()
        self.n_heads, self.d_head = n_heads, d // n_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (m(x).unflatten(-1, (self.n_heads, self.d_head)).transpose(1, 2) for m in (self.q, self.k, self.v))
        attention = (q @ k.mT / math.sqrt(self.d_head)).softmax(dim=-1)
        return self.o((attention @ v).transpose(1, 2).flatten(-2))


class TwiceMSABlock(nn.Module):
    def __init__(self, hidden_d: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden_d), nn.LayerNorm(hidden_d)
        self.mhsa = MSA(hidden_d)
        self.mlp = nn.Sequential(nn.Linear(hidden_d, 4 * hidden_d), nn.GELU(), nn.Linear(4 * hidden_d, hidden_d))

    def forward(self, x: Tensor) -> Tensor:
        out = x + self.mhsa(self.norm1(x))
        return out + self.mhsa(self.norm2(out))


class TwiceMSAViT(nn.Module):
    """The second branch calls the attention again; the MLP is built and printed."""

    def __init__(self, hidden_d: int = 32, n_blocks: int = 2) -> None:
        super().__init__()
        self.linear_mapper = nn.Linear(48, hidden_d)
        self.class_token = nn.Parameter(torch.rand(1, hidden_d) * 0.02)
        self.pos = nn.Parameter(torch.randn(65, hidden_d) * 0.02)
        self.blocks = nn.ModuleList([TwiceMSABlock(hidden_d) for _ in range(n_blocks)])
        self.head = nn.Sequential(nn.LayerNorm(hidden_d), nn.Linear(hidden_d, 10))

    def forward(self, images: Tensor) -> Tensor:
        n = len(images)
        tokens = self.linear_mapper(images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(n, 64, 48))
        out = torch.cat((self.class_token.expand(n, 1, -1), tokens), dim=1) + self.pos
        for block in self.blocks:
            out = block(out)
        return self.head(out[:, 0])


class NeverAttendingLayer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.feed_forward(x)


class NeverAttendingViT(nn.Module):
    """Its layers own an attention and go through the MLP alone."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.pos = nn.Parameter(torch.randn(1, dim, 8, 8) * 0.02)
        self.encoder = nn.Sequential(NeverAttendingLayer(dim), NeverAttendingLayer(dim), nn.LayerNorm(dim))
        self.head = nn.Linear(64 * dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.embed(x) + self.pos).flatten(2).transpose(1, 2)
        return self.head(self.encoder(x).flatten(1))


class UnlistedFFNViT(nn.Module):
    """A list of attentions and a list of MLPs; the loop runs over the first only."""

    def __init__(self, c: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(48, c)
        self.where = nn.Embedding(64, c)
        nn.init.normal_(self.where.weight, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in range(depth + 1))
        self.qkvs = nn.ModuleList(nn.Linear(c, 3 * c, bias=False) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(c, c) for _ in range(depth))
        self.ffns = nn.ModuleList(nn.Sequential(nn.Linear(c, 96), nn.ReLU(), nn.Linear(96, c)) for _ in range(depth))
        self.classifier = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)) + self.where.weight
        for norm, qkv, out in zip(self.norms, self.qkvs, self.outs, strict=False):
            q, k, v = rearrange(qkv(norm(x)), "b n (s h d) -> s b h n d", s=3, h=3)
            x = x + out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        return self.classifier(self.norms[-1](x).mean(1))


# M14, warnings: one layer on its own


class ForgottenProjection(nn.Module):
    def __init__(self, embed_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys, self.queries, self.values = (nn.Linear(embed_size, embed_size) for _ in range(3))
        self.fc_out = nn.Linear(embed_size, embed_size)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = (
            rearrange(f(x), "b n (h d) -> b n h d", h=self.heads) for f in (self.keys, self.queries, self.values)
        )
        w = torch.softmax(torch.einsum("bqhd,bkhd->bhqk", q, k) / k.shape[-1] ** 0.5, dim=3)
        return torch.einsum("bhqk,bkhd->bqhd", w, v).flatten(2)


class ForgottenProjectionViT(nn.Module):
    """The projection after the heads is defined and not applied."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.attentions = nn.ModuleList(ForgottenProjection(dim, 4) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(5))
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).mT
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        for i in range(2):
            x = x + self.attentions[i](self.norms[2 * i](x))
            x = x + self.mlps[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[4](x)[:, 0])


class OldHeadViT(nn.Module):
    """The head before the last refactoring is still there."""

    def __init__(self, d: int = 48) -> None:
        super().__init__()
        self.unfold, self.proj = nn.Unfold(4, stride=4), nn.Linear(48, d)
        self.pos = nn.Parameter(torch.randn(64, 1, d) * 0.02)
        self.body = nn.Sequential(*(nn.TransformerEncoderLayer(d, 3, 96, norm_first=True) for _ in range(2)))
        self.fc = nn.Linear(d, 10)
        self.mlp_head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp_head(self.body(self.proj(self.unfold(x).permute(2, 0, 1)) + self.pos).mean(0))


# M15


class ListedBlock(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.attn = nn.MultiheadAttention(n, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y)[0]
        return x + self.mlp(self.norm2(x))


class PythonListViT(nn.Module):
    """Blocks in a list of Python."""

    def __init__(self, n: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, n, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 64, n) * 0.02)
        self.blocks = [ListedBlock(n) for _ in range(depth)]
        self.norm, self.fc = nn.LayerNorm(n), nn.Linear(n, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x.mean(1)))


class PairsViT(nn.Module):
    """Pairs of layers in a dict; only the norms are registered."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(48, width)
        self.pos = nn.Parameter(torch.randn(64, width) * 0.02)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(5))
        self.layers = {f"layer_{i}": (MSA(width, 4), nn.Linear(width, 128), nn.Linear(128, width)) for i in range(2)}
        self.out = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(F.unfold(x, 4, stride=4).mT) + self.pos
        for i in range(2):
            attn, up, down = self.layers[f"layer_{i}"]
            x = x + attn(self.norms[2 * i](x))
            x = x + down(F.gelu(up(self.norms[2 * i + 1](x))))
        return self.out(self.norms[4](x).mean(1))


class SmallPositionsViT(nn.Module):
    """Made small after it was made a parameter: the product is none, and no leaf."""

    def __init__(self, d: int = 48) -> None:
        super().__init__()
        self.tokens = nn.Conv2d(3, d, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.randn(1, 65, d)) * 0.02
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 3, 96, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for layer in self.encoder:
            x = layer(x)
        return self.head(x[:, 0])


def waves(n: int, d: int) -> np.ndarray:
    angles = np.arange(n)[:, None] / 100 ** (np.arange(d)[None] // 2 * 2 / d)
    return 0.03 * np.where(np.arange(d) % 2, np.cos(angles), np.sin(angles))


class WrittenOutViT(nn.Module):
    """Two layers by name; the class token and the positions are those of whoever extends it."""

    cls: Tensor
    pos: Tensor

    def __init__(self, d: int = 32) -> None:
        super().__init__()
        self.project = nn.Linear(48, d)
        self.a1, self.a2 = MSA(d), MSA(d)
        self.m1 = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, d))
        self.n1, self.n2, self.n3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
        x = torch.cat([self.cls.expand(x.size(0), -1, -1), x], dim=1) + self.pos
        x = x + self.a1(self.n1(x))
        x = x + self.m1(x)
        x = x + self.a2(self.n2(x))
        return self.head(self.n3(x)[:, 0])


class CastPositionsViT(WrittenOutViT):
    """NumPy gives float64; what `.to()` gives back is no parameter."""

    def __init__(self, *, device: str = "cpu") -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, 32))
        self.pos = nn.Parameter(torch.from_numpy(waves(65, 32))).to(device, torch.float32)


class PlainTensorViT(WrittenOutViT):
    """`requires_grad=True` makes no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.cls = torch.zeros(1, 1, 32, requires_grad=True)
        self.pos = nn.Parameter(torch.randn(1, 65, 32) * 0.02)


CASES: tuple[Case, ...] = (
    Case("attention-twice", "M14", "parameters", "error", TwiceMSAViT),
    Case("never-attends", "M14", "parameters", "error", NeverAttendingViT),
    Case("ffns-not-looped", "M14", "parameters", "error", UnlistedFFNViT),
    Case("forgotten-projection", "M14", "parameters", "warning", ForgottenProjectionViT),
    Case("old-head", "M14", "parameters", "warning", OldHeadViT),
    Case("python-list", "M15", "parameters", "error", PythonListViT),
    Case("dict-of-pairs", "M15", "parameters", "error", PairsViT),
    Case("scaled-after-parameter", "M15", "parameters", "error", SmallPositionsViT),
    Case("cast-after-parameter", "M15", "parameters", "error", CastPositionsViT),
    Case("plain-tensor", "M15", "parameters", "error", PlainTensorViT),
)
