"""ViTs in which the images of a batch meet (M1), or that hold or know only one batch size (M22, M23)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from sick_case import Case
from torch import Tensor, nn

# M1: attention along the batch, read out by something other than a class token


class EncoderLayerViT(nn.Module):
    """nn.TransformerEncoderLayer left at batch_first=False, mean over the tokens."""

    def __init__(self, dim: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.pos_embed = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, activation="gelu", norm_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class MHABlock(nn.Module):
    def __init__(self, emb_size: int, n_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(emb_size)
        self.att = nn.MultiheadAttention(emb_size, n_heads, dropout=0.1)
        self.ln_2 = nn.LayerNorm(emb_size)
        self.ff = nn.Sequential(nn.Linear(emb_size, 96), nn.GELU(), nn.Dropout(0.1), nn.Linear(96, emb_size))

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_1(x)
        h, _ = self.att(h, h, h)
        x = x + h
        return x + self.ff(self.ln_2(x))


class FlattenViT(nn.Module):
    """nn.MultiheadAttention fed (B, N, D); the head reads all tokens in a row."""

    def __init__(self, emb_size: int = 48) -> None:
        super().__init__()
        self.projection = nn.Linear(48, emb_size)
        self.positions = nn.Parameter(torch.empty(64, emb_size).normal_(std=0.02))
        self.blocks = nn.Sequential(MHABlock(emb_size, 3), MHABlock(emb_size, 3))
        self.classifier = nn.Sequential(nn.LayerNorm(emb_size), nn.Flatten(), nn.Linear(64 * emb_size, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = rearrange(img, "b c (h s1) (w s2) -> b (h w) (s1 s2 c)", s1=4, s2=4)
        return self.classifier(self.blocks(self.projection(x) + self.positions))


class OwnSequenceFirstViT(nn.Module):
    """Attention of one's own for (N, B, D), given (B, N, D); the mean of the patches behind two registers is read."""

    def __init__(self, width: int = 32, n_layer: int = 3) -> None:
        super().__init__()
        self.stem = nn.Unfold(4, stride=4)
        self.embed = nn.Linear(48, width)
        self.registers = nn.Parameter(torch.randn(2, width) * 0.02)
        self.wpe = nn.Embedding(64, width)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.c_attn = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(n_layer))
        self.c_proj = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layer))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 64), nn.SiLU(), nn.Linear(64, width))
            for _ in range(n_layer)
        )
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(n_layer + 1))
        self.lm_head = nn.Linear(width, 10)

    def attend(self, x: Tensor, i: int) -> Tensor:
        q, k, v = self.c_attn[i](x).unflatten(2, (3, 2, -1)).unbind(2)
        w = torch.einsum("ibhd,jbhd->bhij", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
        return self.c_proj[i](torch.einsum("bhij,jbhd->ibhd", w, v).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.stem(x).transpose(1, 2)) + self.wpe.weight
        x = torch.cat([self.registers.expand(len(x), -1, -1), x], dim=1)
        for i, mlp in enumerate(self.mlps):
            x = x + self.attend(self.norms[i](x), i)
            x = x + mlp(x)
        return self.lm_head(self.norms[-1](x)[:, 2:].mean(dim=1))


# M22: a parameter with a row for each place in the batch


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))


class Layer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), SelfAttention(dim)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ClassTokensViT(nn.Module):
    """As many class tokens as images, joined to the patches as they are."""

    def __init__(self, batch_size: int = 8, dim: int = 64) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(batch_size, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.blocks = nn.ModuleList([Layer(dim) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.cls_token, self.proj(x).flatten(2).mT), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class SlicedClassTokensViT(ClassTokensViT):
    """The "repair" of the last batch: only as many class tokens as there are images."""

    def __init__(self) -> None:
        super().__init__(batch_size=64)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.cls_token[: x.shape[0]], self.proj(x).flatten(2).mT), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class BatchPositionsViT(nn.Module):
    """Positions of shape (batch, patches, dim), added: a crash, or one image taken for four."""

    def __init__(self, hidden: int = 48, bs: int = 4) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"embed": nn.Linear(48, hidden), "out": nn.Linear(hidden, 10)})
        self.pos = nn.Parameter(0.02 * torch.randn(bs, 64, hidden))
        for i in range(3):
            self.net[f"layer{i}"] = nn.TransformerEncoderLayer(hidden, 3, 96, 0.0, batch_first=True, norm_first=True)
        self.net["ln"] = nn.LayerNorm(hidden)

    def tokens(self, x: Tensor) -> Tensor:
        return self.net["embed"](x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.pos
        for i in range(3):
            h = self.net[f"layer{i}"](h)
        return self.net["out"](self.net["ln"](h).mean(dim=1))


class SlicedPositionsViT(BatchPositionsViT):
    """Positions cut along the batch where the length was meant."""

    def __init__(self) -> None:
        super().__init__(bs=64)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x)
        h = h + self.pos[: h.size(0)]
        for i in range(3):
            h = self.net[f"layer{i}"](h)
        return self.net["out"](self.net["ln"](h).mean(dim=1))


# M23: a batch size in the forward


class ExpandedViT(nn.Module):
    """Expands its class token to the batch size of the configuration."""

    def __init__(self, config: dict[str, int] | None = None) -> None:
        super().__init__()
        self.config = config or {"batch_size": 8, "dim": 64, "heads": 4, "layers": 2}
        d = self.config["dim"]
        self.patcher = nn.Sequential(nn.Conv2d(3, d, 4, stride=4), nn.Flatten(2))
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(torch.zeros(1, 65, d))
        nn.init.trunc_normal_(self.pos, std=0.02)
        self.encoder = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(d, self.config["heads"], 2 * d, batch_first=True, norm_first=True)
                for _ in range(self.config["layers"])
            )
        )
        self.mlp_head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patcher(x).permute(0, 2, 1)
        x = torch.cat([self.cls.expand(self.config["batch_size"], -1, -1), x], dim=1)
        return self.mlp_head(self.encoder(x + self.pos)[:, 0])


BATCH = 4


class ViewAttention(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q = self.wq(x).view(BATCH, 64, 3, 16).transpose(1, 2)
        k = self.wk(x).view(BATCH, 64, 3, 16).transpose(1, 2)
        v = self.wv(x).view(BATCH, 64, 3, 16).transpose(1, 2)
        att = torch.softmax(q @ k.transpose(2, 3) / 4.0, dim=-1)
        return self.wo((att @ v).transpose(1, 2).contiguous().view(BATCH, 64, 48))


class ViewViT(nn.Module):
    """The batch size of the notebook as a number in every view."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(48, 48)
        self.pos = nn.Parameter(torch.randn(64, 48) * 0.02)
        self.n1, self.n2, self.n3 = nn.LayerNorm(48), nn.LayerNorm(48), nn.LayerNorm(48)
        self.a1, self.a2 = ViewAttention(48), ViewAttention(48)
        self.m = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, 48))
        self.out = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(F.unfold(x, 4, stride=4).transpose(1, 2)) + self.pos
        x = x + self.a1(self.n1(x))
        x = x + self.m(x)
        x = x + self.a2(self.n2(x))
        return self.out(self.n3(x).mean(1))


class LoopViT(nn.Module):
    """Cuts the images one by one, as many as a batch is said to have: of a larger batch the rest is dropped."""

    def __init__(self, batch_size: int = 6, n_embd: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.embed = nn.Linear(48, n_embd)
        self.cls = nn.Parameter(torch.randn(n_embd) * 0.02)
        self.pos = nn.Parameter(torch.randn(65, n_embd) * 0.02)
        self.q, self.kv, self.o = nn.Linear(n_embd, n_embd), nn.Linear(n_embd, 2 * n_embd), nn.Linear(n_embd, n_embd)
        self.norms = nn.ModuleList(nn.LayerNorm(n_embd) for _ in range(3))
        self.up, self.down = nn.Linear(n_embd, 64), nn.Linear(64, n_embd)
        self.head = nn.Linear(n_embd, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = [rearrange(images[i], "c (h p) (w q) -> (h w) (p q c)", p=4, q=4) for i in range(self.batch_size)]
        x = self.embed(torch.stack(patches))
        x = torch.cat([repeat(self.cls, "d -> b 1 d", b=self.batch_size), x], dim=1) + self.pos
        y = self.norms[0](x)
        q = rearrange(self.q(y), "b n (h d) -> b h n d", h=2)
        k, v = rearrange(self.kv(y), "b n (s h d) -> s b h n d", s=2, h=2)
        x = x + self.o(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        x = x + self.down(F.gelu(self.up(self.norms[1](x))))
        return self.head(self.norms[2](x)[:, 0])


CASES: tuple[Case, ...] = (
    Case("encoder-layer-mean", "M1", "batch-independence", "error", EncoderLayerViT),
    Case("mha-flatten", "M1", "batch-independence", "error", FlattenViT),
    Case("own-sequence-first", "M1", "batch-independence", "error", OwnSequenceFirstViT),
    Case("class-token-per-slot", "M22", "forward", "error", ClassTokensViT, batch_size=8),
    Case("positions-per-slot", "M22", "forward", "error", BatchPositionsViT, batch_size=4),
    Case("class-tokens-sliced", "M22", "batch-independence", "error", SlicedClassTokensViT),
    Case("positions-sliced", "M22", "batch-independence", "error", SlicedPositionsViT),
    Case("expanded-to-config", "M23", "forward", "error", ExpandedViT, batch_size=8),
    Case("views-of-four", "M23", "forward", "error", ViewViT, batch_size=4),
    Case("loop-over-six", "M23", "forward", "error", LoopViT, batch_size=6),
)
