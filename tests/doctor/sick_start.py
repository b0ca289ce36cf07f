"""ViTs that start badly: far above ln C (I1), with branches that nothing can wake (I2), drowned in positions (I3)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# I1


class Encoder(nn.Module):
    """Patches in, one normed vector out."""

    def __init__(self, dim: int, depth: int = 2) -> None:
        super().__init__()
        self.patchify = nn.Conv2d(3, dim, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(dim, 2, 2 * dim, batch_first=True, norm_first=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patchify(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        return self.norm(self.layers(x + self.pos)[:, 0])


class RandnHeadViT(nn.Module):
    """The classifier is a matrix out of torch.randn."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(dim)
        self.w, self.b = nn.Parameter(torch.randn(dim, 10)), nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x) @ self.w + self.b


class UniformHeadViT(nn.Module):
    """The head uniform between -1 and 1; the rest as PyTorch has it."""

    def __init__(self, d: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(48, d)
        self.pos = nn.Parameter(torch.randn(64, d) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 * depth))
        self.attns = nn.ModuleList(nn.MultiheadAttention(d, 3, batch_first=True) for _ in range(depth))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(d, 96), nn.GELU(), nn.Linear(96, d)) for _ in range(depth))
        self.head = nn.Sequential(nn.Flatten(), nn.LayerNorm(64 * d), nn.Linear(64 * d, 10))
        for p in self.head[2].parameters():
            nn.init.uniform_(p, -1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)) + self.pos
        for i, (attn, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            y = self.norms[2 * i](x)
            x = x + attn(y, y, y, need_weights=False)[0]
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(x)


class HotCosineViT(nn.Module):
    """Scores are cosines times 100, the temperature that CLIP ends with."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.unfold, self.lin = nn.Unfold(4, stride=4), nn.Linear(48, width)
        self.pos = nn.Parameter(torch.randn(64, width) * 0.02)
        self.ln1, self.ln2, self.ln3 = nn.RMSNorm(width), nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 64), nn.Linear(64, width)
        self.prototypes = nn.Parameter(torch.randn(10, width) * 0.02)
        self.scale = nn.Parameter(torch.tensor(100.0).log())

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(self.unfold(x).mT) + self.pos
        q, k, v = self.qkv(self.ln1(x)).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(F.relu(self.up(self.ln2(x))))
        x = F.normalize(self.ln3(x).mean(1), dim=-1)
        return self.scale.exp() * x @ F.normalize(self.prototypes, dim=-1).T


# I2


class LayerScaleBlock(nn.Module):
    """Each branch ends in a projection of zeros, and a LayerScale of zeros comes after it."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.gamma1, self.gamma2 = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        for last in (self.proj, self.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-2, -1) * (C // self.heads) ** -0.5).softmax(dim=-1)
        x = x + self.gamma1 * self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))
        return x + self.gamma2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ZeroTwiceViT(nn.Module):
    def __init__(self, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 4, 4)
        self.pos_embed = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.blocks = nn.Sequential(*[LayerScaleBlock(dim) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class ZeroMLPViT(nn.Module):
    """ReZero's scalar around an MLP whose last layer is zero as well; its attentions are sound."""

    def __init__(self, d: int = 48, n: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(48, d)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, d) * 0.02), nn.Parameter(torch.randn(65, 1, d) * 0.02)
        self.att = nn.ModuleList(nn.MultiheadAttention(d, 3) for _ in range(n))
        self.ff = nn.ModuleList(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 96), nn.SiLU()) for _ in range(n))
        self.out = nn.ParameterList(torch.zeros(d, 96) for _ in range(n))
        self.alpha = nn.Parameter(torch.zeros(n))
        self.ln = nn.ModuleList(nn.LayerNorm(d) for _ in range(n + 1))
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(rearrange(x, "b c (h p) (w q) -> (h w) b (c p q)", p=4, q=4))
        x = torch.cat([self.cls.expand(-1, x.shape[1], -1), x]) + self.pos
        for i, (att, ff) in enumerate(zip(self.att, self.ff, strict=True)):
            y = self.ln[i](x)
            x = x + att(y, y, y)[0]
            x = x + self.alpha[i] * F.linear(ff(x), self.out[i])
        return self.head(self.ln[-1](x)[0])


# I3: standard deviation 1 against patches of about 0.14


class LoudPositionsViT(nn.Module):
    """torch.randn as it comes for positions and class token, and 0.02 for every weight."""

    def __init__(self, emb: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, emb, 4, 4)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(emb, 4, 128, activation="gelu", norm_first=True) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(emb), nn.Linear(emb, 10)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.trunc_normal_(p, std=0.02)
        self.cls_token = nn.Parameter(torch.randn(1, 1, emb))
        self.pos_embed = nn.Parameter(torch.randn(65, 1, emb))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).permute(2, 0, 1)
        x = torch.cat([self.cls_token.expand(1, x.shape[1], -1), x]) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[0]))


class LoudEmbeddingViT(nn.Module):
    """`_init_weights` knows nn.Linear; nn.Embedding keeps its standard normal."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Linear(48, width)
        self.wpe = nn.Embedding(64, width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.fc_proj = nn.Linear(width, 96), nn.Linear(96, width)
        self.ln_1, self.ln_2, self.ln_f = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(m: nn.Module) -> None:
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=0.02)
            nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, 4, stride=4).transpose(1, 2)
        x = self.stem(x) + self.wpe(torch.arange(64, device=x.device))
        q, k, v = rearrange(self.qkv(self.ln_1(x)), "b n (s h d) -> s b h n d", s=3, h=3)
        x = x + self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        x = x + self.fc_proj(F.gelu(self.fc(self.ln_2(x))))
        return self.head(self.ln_f(x).mean(1))


CASES: tuple[Case, ...] = (
    Case("randn-head", "I1", "initial-loss", "warning", RandnHeadViT),
    Case("uniform-head", "I1", "initial-loss", "warning", UniformHeadViT),
    Case("hot-cosine", "I1", "initial-loss", "warning", HotCosineViT),
    Case("zero-twice", "I2", "parameters", "error", ZeroTwiceViT),
    Case("zero-mlps", "I2", "parameters", "error", ZeroMLPViT),
    Case("loud-positions", "I3", "position", "note", LoudPositionsViT),
    Case("loud-embedding", "I3", "position", "note", LoudEmbeddingViT),
)
