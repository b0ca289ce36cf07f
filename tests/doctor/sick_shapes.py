"""ViTs that leave out pixels (M24), whose patches are too large (M25) or whose heads are too narrow (M26)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# M24


class PreNormBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ConvViT(nn.Module):
    """A convolution as patch embedding: where kernel or stride do not fit, pixels drop out silently."""

    def __init__(
        self, kernel: int, stride: int, img_size: int = 32, dim: int = 64, heads: int = 4, channels: int = 3
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride)
        self.num_patches = ((img_size - kernel) // stride + 1) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.num_patches, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*[PreNormBlock(dim, heads) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class FirstPatchesViT(nn.Module):
    """Built for 24 × 24, and it takes as many patches as it has positions."""

    def __init__(self, image_size: int = 24, p: int = 4, d: int = 48) -> None:
        super().__init__()
        self.p, self.n = p, (image_size // p) ** 2
        self.embed = nn.Linear(3 * p * p, d)
        self.positions = nn.Embedding(self.n, d)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 3, 96, 0.0, F.silu, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=self.p, q=self.p)
        x = self.embed(x[:, : self.n]) + self.positions(torch.arange(self.n, device=x.device))
        for layer in self.layers:
            x = layer(x)
        return self.out(x.mean(1))


class CornerViT(nn.Module):
    """28 × 28, as it was with MNIST, cut off the image's corner."""

    def __init__(self, width: int = 32, side: int = 28) -> None:
        super().__init__()
        self.side = side
        self.unfold, self.lin = nn.Unfold(4, stride=4), nn.Linear(48, width)
        self.pos = nn.Parameter(torch.randn(49, width) * 0.02)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.o = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.ff = nn.ModuleList(nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width)) for _ in range(2))
        self.ln = nn.ModuleList(nn.RMSNorm(width) for _ in range(5))
        self.fc = nn.Linear(49 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., : self.side, : self.side]
        x = self.lin(self.unfold(x).transpose(1, 2)) + self.pos
        for i in range(2):
            q, k, v = self.qkv[i](self.ln[2 * i](x)).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
            w = torch.softmax(torch.einsum("bhqd,bhkd->bhqk", q, k) / 4, dim=-1)
            x = x + self.o[i](torch.einsum("bhqk,bhkd->bqhd", w, v).flatten(2))
            x = x + self.ff[i](self.ln[2 * i + 1](x))
        return self.fc(self.ln[4](x).flatten(1))


# M25


class BigPatchViT(nn.Module):
    """The patch size of the paper, whose images have 224 pixels a side."""

    def __init__(self, patch_size: int, emb: int = 64, depth: int = 3) -> None:
        super().__init__()
        n = (32 // patch_size) ** 2
        self.patch_size = patch_size
        self.to_emb = nn.Linear(3 * patch_size**2, emb)
        self.pos = nn.Parameter(torch.randn(n, emb) * 0.02)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(emb, 2, 128, activation="gelu", norm_first=True) for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(emb), nn.Linear(emb, 10))

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch_size
        x = x.unfold(2, p, p).unfold(3, p, p).permute(2, 3, 0, 1, 4, 5).flatten(3).flatten(0, 1)
        x = self.to_emb(x) + self.pos[:, None]
        for layer in self.encoder:
            x = layer(x)
        return self.head(x.mean(0))


# M26


class ManyHeads(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(w(x), "b n (h d) -> b h n d", h=self.heads) for w in (self.wq, self.wk, self.wv))
        a = F.softmax(q @ k.mT / math.sqrt(q.size(-1)), dim=-1)
        return self.wo(rearrange(a @ v, "b h n d -> b n (h d)"))


class ManyHeadsViT(nn.Module):
    """Sixteen heads, as the large model has, of three numbers each."""

    def __init__(self, dim: int = 48, heads: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(48, dim)
        self.pos = nn.Parameter(torch.randn(64, dim) * 0.02)
        self.attn = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), ManyHeads(dim, heads)) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 96), nn.SiLU(), nn.Linear(96, dim)) for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(F.unfold(x, 4, stride=4).transpose(1, 2)) + self.pos
        for attn, mlp in zip(self.attn, self.mlp, strict=True):
            x = x + attn(x)
            x = x + mlp(x)
        return self.head(x.mean(dim=1))


class ThinHeadsViT(nn.Module):
    """F.scaled_dot_product_attention with heads of two."""

    def __init__(self, d: int = 32, h: int = 16) -> None:
        super().__init__()
        self.h = h
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.reg = nn.Parameter(torch.randn(1, 4, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, d, 8, 8) * 0.02)
        self.m = nn.ModuleDict({"head": nn.Linear(d, 10), "norm": nn.RMSNorm(d)})
        for i in range(2):
            self.m[f"n{i}"], self.m[f"in{i}"] = nn.RMSNorm(d), nn.Linear(d, 3 * d)
            self.m[f"out{i}"] = nn.Linear(d, d)
            self.m[f"ff{i}"] = nn.Sequential(nn.RMSNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.patch(x) + self.pos).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.reg.expand(len(x), -1, -1), x], dim=1)
        for i in range(2):
            qkv = self.m[f"in{i}"](self.m[f"n{i}"](x)).unflatten(-1, (3, self.h, -1))
            y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
            x = x + self.m[f"out{i}"](y.transpose(1, 2).flatten(2))
            x = x + self.m[f"ff{i}"](x)
        return self.m["head"](self.m["norm"](x)[:, 0])


CASES: tuple[Case, ...] = (
    Case("patch-of-five", "M24", "pixel-coverage", "error", lambda: ConvViT(5, 5)),
    Case("stride-beyond-kernel", "M24", "pixel-coverage", "error", lambda: ConvViT(3, 4)),
    Case("first-patches", "M24", "pixel-coverage", "error", FirstPatchesViT),
    Case("corner-of-28", "M24", "pixel-coverage", "error", CornerViT),
    Case("patch-16-conv", "M25", "patch-layout", "warning", lambda: ConvViT(16, 16)),
    Case("patch-16-linear", "M25", "patch-layout", "warning", lambda: BigPatchViT(16)),
    Case("patch-8-linear", "M25", "patch-layout", "warning", lambda: BigPatchViT(8)),
    Case("mha-heads-of-four", "M26", "attention", "warning", lambda: ConvViT(4, 4, heads=16)),
    Case("own-heads-of-three", "M26", "attention", "warning", ManyHeadsViT),
    Case("sdpa-heads-of-two", "M26", "attention", "warning", ThinHeadsViT),
)
