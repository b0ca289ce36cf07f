"""Small ViTs that cut their patches wrongly (M4: reshape or view without permute; M5: nn.Unfold without transpose).

Each is a different person's code with this one fault, so that a check which knows one idiom only does not pass for one
that knows the fault.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class UnfoldReshapeViT(nn.Module):
    """Two tensor.unfold and a reshape: the channel axis still stands before the grid."""

    def __init__(self, img: int = 32, patch: int = 4, chans: int = 3, dim: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        self.patch = patch
        self.n = (img // patch) ** 2
        self.embed = nn.Linear(chans * patch * patch, dim)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, self.n + 1, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            dim, 2, 2 * dim, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        for p in self.encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        B, C = x.shape[:2]
        P = self.patch
        x = x.unfold(2, P, P).unfold(3, P, P).reshape(B, self.n, C * P * P)
        x = torch.cat([self.cls.expand(B, -1, -1), self.embed(x)], dim=1) + self.pos
        return self.head(self.encoder(x)[:, 0])


class MHABlock(nn.Module):
    def __init__(self, hidden_d: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_d)
        self.mhsa = nn.MultiheadAttention(hidden_d, n_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(hidden_d)
        self.mlp = nn.Sequential(nn.Linear(hidden_d, 4 * hidden_d), nn.GELU(), nn.Linear(4 * hidden_d, hidden_d))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        out = x + self.mhsa(y, y, y)[0]
        return out + self.mlp(self.norm2(out))


class RawViewViT(nn.Module):
    """Views the raw image, channels, rows and all, as so many equal runs of numbers."""

    def __init__(self, chw: tuple[int, int, int] = (3, 32, 32), n_patches: int = 8, hidden_d: int = 48) -> None:
        super().__init__()
        c, h, w = chw
        self.n_tokens = n_patches * n_patches
        self.linear_mapper = nn.Linear(c * (h // n_patches) * (w // n_patches), hidden_d)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(self.n_tokens, hidden_d))
        self.blocks = nn.ModuleList([MHABlock(hidden_d, 3) for _ in range(2)])
        self.norm = nn.LayerNorm(hidden_d)
        self.classifier = nn.Linear(hidden_d, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.view(images.size(0), self.n_tokens, -1)
        tokens = self.linear_mapper(patches) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.classifier(self.norm(tokens).mean(dim=1))


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        B, D, H, W = x.shape
        return x.reshape(B, H * W, D)


class SDPABlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ConvReshapeViT(nn.Module):
    """A convolution whose maps are reshaped, not flattened and transposed, to tokens."""

    def __init__(self, img_size: int = 32, patch_size: int = 4, embed_dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(patch_size, 3, embed_dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.empty(1, (img_size // patch_size) ** 2 + 1, embed_dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*[SDPABlock(embed_dim, 2) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return self.head(x[:, 0])


class EinopsAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(self.norm(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        attn = (torch.einsum("bhid,bhjd->bhij", q, k) * self.scale).softmax(dim=-1)
        return self.to_out(rearrange(torch.einsum("bhij,bhjd->bhid", attn, v), "b h n d -> b n (h d)"))


class StridedPatternViT(nn.Module):
    """An einops pattern with patch and grid in the wrong order: each token is a coarse lattice over the whole image."""

    def __init__(self, dim: int = 48, depth: int = 2, heads: int = 2, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.to_embedding = nn.Sequential(nn.LayerNorm(3 * patch**2), nn.Linear(3 * patch**2, dim), nn.LayerNorm(dim))
        self.pos = nn.Embedding(64, dim)
        nn.init.normal_(self.pos.weight, std=0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    EinopsAttention(dim, heads),
                    nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)),
                ]
            )
            for _ in range(depth)
        )
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = rearrange(img, "b c (p1 h) (p2 w) -> b (h w) (p1 p2 c)", p1=self.patch, p2=self.patch)
        x = self.to_embedding(x) + self.pos(torch.arange(x.shape[1], device=x.device))
        for attn, ff in self.layers:  # type: ignore[misc]
            x = attn(x) + x
            x = ff(x) + x
        return self.to_logits(x.mean(1))


class UnfoldViewViT(nn.Module):
    """nn.Unfold gives (B, C·P·P, N); the view pretends that it had given (B, N, C·P·P)."""

    def __init__(self, patch: int = 4, channels: int = 3, dim: int = 64) -> None:
        super().__init__()
        self.patch_dim = channels * patch * patch
        self.unfold = nn.Unfold(kernel_size=patch, stride=patch)
        self.projection = nn.Linear(self.patch_dim, dim)
        self.class_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.position = nn.Parameter(torch.randn(65, dim) * 0.02)
        self.body = nn.Sequential(SDPABlock(dim, 2), SDPABlock(dim, 2))
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        bs = x.size(0)
        tokens = self.projection(self.unfold(x).view(bs, -1, self.patch_dim))
        tokens = torch.cat([self.class_token.repeat(bs, 1, 1), tokens], 1) + self.position
        return self.fc(self.norm(self.body(tokens))[:, 0])


class GreyUnfoldViT(nn.Module):
    """The same with F.unfold and one channel, where even unfold…reshape would be right."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(16, 32)
        self.pe = nn.Parameter(torch.zeros(1, 64, 32).normal_(0, 0.02))
        self.b1, self.b2, self.b3 = MHABlock(32, 2), MHABlock(32, 2), MHABlock(32, 2)
        self.ln = nn.LayerNorm(32)
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, 4, stride=4).reshape(x.shape[0], 64, 16)
        x = self.lin(x) + self.pe
        x = self.b3(self.b2(self.b1(x)))
        return self.out(self.ln(x).mean(1))


class PatchConvViT(nn.Module):
    """Each "patch" goes through a small convolution of its own, after nn.Unfold without the transpose."""

    def __init__(self, width: int = 48, n_layer: int = 2, n_head: int = 2, p: int = 4) -> None:
        super().__init__()
        self.p = p
        self.cut = nn.Unfold(p, stride=p)
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.GELU(), nn.Conv2d(24, width, p))
        self.wpe = nn.Parameter(torch.zeros(1, 64, width).normal_(0, 0.02))
        self.h = nn.ModuleList(
            nn.TransformerEncoderLayer(width, n_head, 96, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(n_layer)
        )
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        cells = self.cut(x).reshape(b, -1, c, self.p, self.p)
        feats = self.stem(cells.flatten(0, 1)).flatten(1).unflatten(0, (b, -1))
        feats = feats + self.wpe
        for layer in self.h:
            feats = layer(feats)
        return self.head(self.ln_f(feats).mean(dim=1))


CASES: tuple[Case, ...] = (
    Case("unfold-reshape", "M4", "patch-layout", "error", UnfoldReshapeViT),
    Case("raw-view", "M4", "patch-layout", "error", RawViewViT),
    Case("conv-reshape", "M4", "patch-layout", "error", ConvReshapeViT),
    Case("strided-pattern", "M4", "patch-layout", "error", StridedPatternViT),
    Case("unfold-view", "M5", "patch-layout", "error", UnfoldViewViT),
    Case("grey-unfold", "M5", "patch-layout", "error", GreyUnfoldViT, channels=1),
    Case("unfold-per-patch-conv", "M5", "patch-layout", "error", PatchConvViT),
)
