"""Small ViTs with a fault in how blocks are joined: skips (M18), dead blocks (M16-dead). Norms are in sick_norms."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class PlainBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_a, self.norm_m = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_a(x)
        x, _ = self.attn(x, x, x)
        return self.mlp(self.norm_m(x))


class NoSkipViT(nn.Module):
    """Norm, attention, norm, MLP, and not one addition."""

    def __init__(self, dim: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.transformer = nn.Sequential(*(PlainBlock(dim, 2) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.repeat(x.size(0), 1, 1), x], 1) + self.pos
        return self.fc(self.norm(self.transformer(x))[:, 0])


class NormedStreamBlock(nn.Module):
    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.h = h
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ff1, self.ff2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.h)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln1(x)
        x = x + self.attention(x)
        x = self.ln2(x)
        return x + self.ff2(F.relu(self.ff1(x)))


class NormedStreamViT(nn.Module):
    """Overwrites x with its norm and adds to that: the skip starts behind the norm."""

    def __init__(self, d: int = 48, n: int = 3) -> None:
        super().__init__()
        self.to_tokens = nn.Linear(48, d)
        self.pe = nn.Parameter(torch.zeros(64, d).normal_(0, 0.02))
        self.layers = nn.ModuleList(NormedStreamBlock(d, 2) for _ in range(n))
        self.ln = nn.LayerNorm(d)
        self.to_class = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_tokens(rearrange(x, "b c (h i) (w j) -> b (h w) (i j c)", i=4, j=4)) + self.pe
        for layer in self.layers:
            x = layer(x)
        return self.to_class(self.ln(x).mean(dim=1))


class HalfSkipViT(nn.Module):
    """A skip round the attention and none round the MLP; sequence first, layers in lists."""

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.unfold = nn.Unfold(4, stride=4)
        self.inp = nn.Linear(48, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.randn(65, 1, width) * 0.02)
        self.attentions = nn.ModuleList(nn.MultiheadAttention(width, heads) for _ in range(layers))
        self.pre = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 128), nn.SiLU(), nn.Linear(128, width))
            for _ in range(layers)
        )
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(self.unfold(x).permute(2, 0, 1))
        x = torch.cat([self.cls.expand(-1, x.shape[1], -1), x]) + self.pos
        for attention, pre, mlp in zip(self.attentions, self.pre, self.mlps, strict=True):
            y = pre(x)
            x = x + attention(y, y, y)[0]
            x = mlp(x)
        return self.head(self.last(x[0]))


class TypoLoopViT(nn.Module):
    """`out = block(x)` in the loop: every block sees the embedding, and only the last one's result is kept."""

    def __init__(self, dim: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=(4, 4), stride=(4, 4))
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, 2, 128, 0.1, F.gelu, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.pos
        for block in self.blocks:
            out = block(x)
        return self.head(self.norm(out)[:, 0])


class SurvivalBlock(nn.Module):
    def __init__(self, dim: int, heads: int, survival: float) -> None:
        super().__init__()
        self.heads, self.survival = heads, survival
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim))

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(f(x), "b n (h d) -> b h n d", h=self.heads) for f in (self.q, self.k, self.v))
        w = (torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        return self.o(rearrange(torch.einsum("bhij,bhjd->bhid", w, v), "b h n d -> b n (h d)"))

    def keep(self, branch: Tensor) -> Tensor:
        if self.training:
            return branch * torch.bernoulli(torch.full_like(branch[:, :1, :1], self.survival))
        return branch * self.survival

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.keep(self.attend(self.n1(x)))
        return x + self.keep(self.mlp(self.n2(x)))


class SurvivalViT(nn.Module):
    """Stochastic depth whose survival falls linearly to nought: the last block never acts."""

    def __init__(self, dim: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.patchify = nn.Unfold(4, stride=4)
        self.embed = nn.Linear(48, dim)
        self.pos = nn.Parameter(torch.randn(64, dim) * 0.02)
        survival = torch.linspace(1, 0, depth).tolist()
        self.blocks = nn.Sequential(*(SurvivalBlock(dim, 2, p) for p in survival))
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.patchify(x).transpose(1, 2)) + self.pos
        return self.out(self.blocks(x).mean(1))


class StageBlock(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.wqkv, self.wo = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.w1, self.w2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.wqkv(self.ln1(x)).view(b, n, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        x = x + self.wo(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.w2(F.silu(self.w1(self.ln2(x))))


class WrongNameViT(nn.Module):
    """Stages written out by hand, of which the third takes the first one's result."""

    def __init__(self, d: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, stride=4)
        self.grid = nn.Parameter(torch.randn(1, d, 8, 8) * 0.02)
        self.stage1, self.stage2, self.stage3 = StageBlock(d), StageBlock(d), StageBlock(d)
        self.norm = nn.RMSNorm(d)
        self.classify = nn.Linear(d, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = (self.patch(image) + self.grid).flatten(2).transpose(1, 2)
        x1 = self.stage1(tokens)
        x2 = self.stage2(x1)
        x2 = self.stage3(x1)
        return self.classify(self.norm(x2).mean(dim=1))


CASES: tuple[Case, ...] = (
    Case("no-skip", "M18", "residual", "warning", NoSkipViT),
    Case("normed-stream", "M18", "residual", "warning", NormedStreamViT),
    Case("half-skip", "M18", "residual", "warning", HalfSkipViT),
    Case("typo-loop", "M16-dead", "residual", "error", TypoLoopViT),
    Case("survival-nought", "M16-dead", "residual", "error", SurvivalViT),
    Case("wrong-name", "M16-dead", "residual", "error", WrongNameViT),
)
