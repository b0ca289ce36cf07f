"""Three healthy small ViTs of three hands that take the attention they are given; each faulty attention lives in one.

They differ in all a check might lean on: embedding, class token or mean, registers, order of the axes, norms, MLP.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Attention = Callable[[int, int], nn.Module]


class ConvBlock(nn.Module):
    def __init__(self, dim: int, attn: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ConvHost(nn.Module):
    """Convolution, class token, truncated normal initialisation."""

    def __init__(self, attention: Attention, *, dim: int = 64, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList([ConvBlock(dim, attention(dim, heads)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        for blk in self.blocks:
            x = blk(x)
        return self.head(self.norm(x)[:, 0])


class LinearHost(nn.Module):
    """Linear on rearranged patches, mean pooling, lists of layers instead of blocks."""

    def __init__(self, attention: Attention, *, dim: int = 48, heads: int = 2, depth: int = 3) -> None:
        super().__init__()
        self.to_tokens = nn.Linear(48, dim)
        self.position = nn.Embedding(64, dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.layers = nn.ModuleList([])
        for _ in range(depth):
            mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, dim))
            self.layers.append(nn.ModuleList([nn.LayerNorm(dim), attention(dim, heads), mlp]))
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_tokens(rearrange(img, "b c (h p1) (w p2) -> b (h w) (p1 p2 c)", p1=4, p2=4))
        x = x + self.position(torch.arange(64, device=img.device))
        for norm, attn, mlp in self.layers:  # type: ignore[misc]
            x = attn(norm(x)) + x
            x = mlp(x) + x
        return self.to_logits(x.mean(dim=1))


class SwiGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * up)


class RegisterHost(nn.Module):
    """Sequence first, a class token and registers behind the patches, RMS norms, a gated MLP."""

    def __init__(self, attention: Attention, *, dim: int = 64, heads: int = 2, depth: int = 2, registers: int = 3):
        super().__init__()
        self.cut = nn.Unfold(4, stride=4)
        self.embed = nn.Linear(48, dim)
        self.extra = nn.Parameter(torch.randn(1 + registers, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(64, 1, dim) * 0.02)
        self.attns = nn.ModuleList(attention(dim, heads) for _ in range(depth))
        self.ffns = nn.ModuleList(SwiGLU(dim, 96) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(dim) for _ in range(2 * depth + 1))
        self.classifier = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(self.cut(x).permute(2, 0, 1)) + self.pos
        t = torch.cat([t, self.extra.expand(-1, t.size(1), -1)], dim=0)
        for i, (attn, ffn) in enumerate(zip(self.attns, self.ffns, strict=True)):
            t = t + attn(self.norms[2 * i](t))
            t = t + ffn(self.norms[2 * i + 1](t))
        return self.classifier(self.norms[-1](t)[64])
