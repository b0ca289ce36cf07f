"""`good-vit`: images in, scores out. A ViT as vit-pytorch's readers write it; `print` shows what `spec/good_vit.txt` shows.

It shares no code with `vit.py` on purpose: it is somebody's own model, and `convert.py` shows that both are the same function.
Start values are vit-pytorch's: position and class token from a standard normal, layers as PyTorch fills them.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.dropout import Dropout
from vitscope.model.specimens.spec import GoodViTSpec
from vitscope.model.vit import check_images


class PreNorm(nn.Module):
    """fn(norm(x)): B T D -> B T D."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    """B T D -> B T M -> B T D, each token by itself."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.GELU(), Dropout(dropout), nn.Linear(hidden_dim, dim), Dropout(dropout)
        )

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.net(x)


class Attention(nn.Module):
    """softmax(q kᵀ / √E) v: B T D -> B T D. The map is a tensor; no fused kernel, no bias on q, k and v."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.attend = nn.Softmax(dim=-1)
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), Dropout(dropout))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.heads)
        attn = self.attend((q * self.scale) @ k.transpose(-1, -2))
        return self.to_out(rearrange(attn @ v, "b h n d -> b n (h d)"))


class Transformer(nn.Module):
    """L blocks, each `x + attention`, then `x + feed-forward`: B T D -> B T D."""

    def __init__(self, spec: GoodViTSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNorm(spec.dim, Attention(spec.dim, spec.heads, spec.dropout)),
                    PreNorm(spec.dim, FeedForward(spec.dim, spec.mlp_dim, spec.dropout)),
                ]
            )
            for _ in range(spec.depth)
        )

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        for layer in self.layers:
            attn, ff = layer.children()
            x = attn(x) + x
            x = ff(x) + x
        return x


class ViT(nn.Module):
    """The good one: images B C H W -> scores B Y."""

    def __init__(self, spec: GoodViTSpec) -> None:
        super().__init__()
        self.spec = spec
        p1, p2 = spec.patch_size
        self.to_patch_embedding = nn.Sequential(
            Rearrange("b c (h p1) (w p2) -> b (h w) (p1 p2 c)", p1=p1, p2=p2), nn.Linear(spec.patch_dim, spec.dim)
        )
        self.pos_embedding = nn.Parameter(torch.randn(1, spec.patches + 1, spec.dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, spec.dim))
        self.dropout = Dropout(spec.dropout)
        self.transformer = Transformer(spec)
        self.to_latent = nn.Identity()
        self.mlp_head = nn.Sequential(nn.LayerNorm(spec.dim), nn.Linear(spec.dim, spec.classes))

    def forward(self, img: Float[Tensor, "B C H W"]) -> Float[Tensor, "B Y"]:
        check_images(img, self.spec)
        x = self.to_patch_embedding(img)
        x = torch.cat([repeat(self.cls_token, "1 1 d -> b 1 d", b=len(x)), x], dim=1)
        x = self.dropout(x + self.pos_embedding)
        x = self.transformer(x)
        return self.mlp_head(self.to_latent(x[:, 0]))


def build_good_vit(spec: GoodViTSpec) -> nn.Module:
    """The good specimen of these sizes; 2,098,762 parameters with the printed ones."""
    return ViT(spec)
