"""Small ViTs that cannot tell where a patch is (M21): whichever way the patches are shuffled, the logits stay."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class IndexedTableViT(nn.Module):
    """Indexes its table with the length instead of slicing up to it: one row for all tokens."""

    def __init__(self, dim: int = 64, max_len: int = 128) -> None:
        super().__init__()
        self.embed = nn.Linear(48, dim)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embedding = nn.Parameter(torch.randn(max_len, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 2, 128, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(dim), enable_nested_tensor=False)
        for p in self.encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, kernel_size=4, stride=4).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.embed(x)], dim=1)
        x = x + self.pos_embedding[x.shape[1]]
        return self.head(self.encoder(x)[:, 0])


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-2, -1) * (C // self.heads) ** -0.5).softmax(dim=-1)
        x = x + self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))
        return x + self.mlp(self.norm2(x))


class OneForAllViT(nn.Module):
    """A position of shape (1, 1, D), which broadcasting hands to every patch."""

    def __init__(self, embed_dim: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, embed_dim, 4, 4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*[Block(embed_dim, 2) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class LinearPositionViT(nn.Module):
    """A "position embedding" computed from the patch itself: it knows what, never where."""

    def __init__(self, d: int = 64, h: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(48, d)
        self.pos_embedding = nn.Linear(48, d)
        self.cls = nn.Parameter(torch.zeros(d))
        self.attns = nn.ModuleList(nn.MultiheadAttention(d, h) for _ in range(layers))
        self.ffs = nn.ModuleList(nn.Sequential(nn.Linear(d, 128), nn.SiLU(), nn.Linear(128, d)) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 * layers + 1))
        self.fc = nn.Linear(d, 10)

    def forward(self, img: Tensor) -> Tensor:
        patches = rearrange(img, "b c (h p) (w q) -> (h w) b (c p q)", p=4, q=4)
        x = self.patch_embedding(patches) + self.pos_embedding(patches)
        x = torch.cat([self.cls.expand(1, x.shape[1], -1), x], dim=0)
        for i, (attn, ff) in enumerate(zip(self.attns, self.ffs, strict=True)):
            y = self.norms[2 * i](x)
            x = x + attn(y, y, y, need_weights=False)[0]
            x = x + ff(self.norms[2 * i + 1](x))
        return self.fc(self.norms[-1](x[0]))


class RMSAttention(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(d)
        self.wq, self.wkv, self.wo = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q = rearrange(self.wq(y), "b n (h d) -> b h n d", h=2)
        k, v = rearrange(self.wkv(y), "b n (two h d) -> two b h n d", two=2, h=2)
        return x + self.wo(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class RMSFeedForward(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.RMSNorm(d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class ForgottenViT(nn.Module):
    """Declares its positions and never adds them."""

    def __init__(self, d: int = 64, registers: int = 4) -> None:
        super().__init__()
        self.tokenise = nn.Conv2d(3, d, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.registers = nn.Parameter(torch.randn(1, registers, d) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 64, d) * 0.02)
        self.body = nn.Sequential(RMSAttention(d), RMSFeedForward(d), RMSAttention(d), RMSFeedForward(d), nn.RMSNorm(d))
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = self.tokenise(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(b, -1, -1), self.registers.expand(b, -1, -1), x], dim=1)
        return self.head(self.body(x)[:, 0])


class FrozenZeroViT(nn.Module):
    """Zeros that were to be learnt, frozen."""

    def __init__(self, hidden_d: int = 32, n_blocks: int = 3) -> None:
        super().__init__()
        self.mapper = nn.Linear(48, hidden_d)
        self.pos_embed = nn.Parameter(torch.zeros(64, hidden_d), requires_grad=False)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden_d, 2, 64, 0.0, F.gelu, batch_first=True, norm_first=True)
            for _ in range(n_blocks)
        )
        self.out = nn.Sequential(nn.LayerNorm(hidden_d), nn.Linear(hidden_d, 10))

    def forward(self, images: Tensor) -> Tensor:
        n, c, _, _ = images.shape
        patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(n, 64, c * 16)
        x = self.mapper(patches) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


CASES: tuple[Case, ...] = (
    Case("indexed-table", "M21", "position", "warning", IndexedTableViT),
    Case("one-for-all", "M21", "position", "warning", OneForAllViT),
    Case("linear-position", "M21", "position", "warning", LinearPositionViT),
    Case("forgotten", "M21", "position", "warning", ForgottenViT),
    Case("frozen-zero", "M21", "position", "warning", FrozenZeroViT),
)
