"""Small ViTs whose tokens meet wrongly (M3: a mask or a shape that keeps patches apart; M6: heads that mix positions).

None of M3 reads a class token out: those are blind to their input, another examination's affair. Here every patch has
its way to the logits, and what is missing is that patches meet.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from sound_hosts import LinearHost
from torch import Tensor, nn


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head, self.n_embd = n_head, n_embd
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class TrilGPTViT(nn.Module):
    """A language model's block, its triangular mask left in, over patches."""

    def __init__(self, n_embd: int = 64, n_head: int = 2, n_layer: int = 2) -> None:
        super().__init__()
        self.wte = nn.Conv2d(3, n_embd, 4, 4)
        self.wpe = nn.Embedding(64, n_embd)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.h = nn.ModuleList()
        for _ in range(n_layer):
            self.h.append(
                nn.ModuleDict(
                    {
                        "ln_1": nn.LayerNorm(n_embd),
                        "attn": CausalSelfAttention(n_embd, n_head, 64),
                        "ln_2": nn.LayerNorm(n_embd),
                        "mlp": nn.Sequential(nn.Linear(n_embd, 128), nn.GELU(), nn.Linear(128, n_embd)),
                    }
                )
            )
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, 10)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx).flatten(2).transpose(1, 2)
        x = x + self.wpe(torch.arange(x.size(1), device=x.device))
        for b in self.h:
            x = x + b["attn"](b["ln_1"](x))  # type: ignore[index]
            x = x + b["mlp"](b["ln_2"](x))  # type: ignore[index]
        return self.lm_head(self.ln_f(x).mean(1))


class SubsequentMaskViT(nn.Module):
    """PyTorch's encoder, called as its language-model tutorial calls it; sequence first, and rightly so."""

    def __init__(self, d_model: int = 32, nhead: int = 2, nlayers: int = 3) -> None:
        super().__init__()
        self.patchify = nn.Unfold(4, stride=4)
        self.encoder = nn.Linear(48, d_model)
        self.pos_encoder = nn.Parameter(torch.randn(64, 1, d_model) * 0.02)
        layer = nn.TransformerEncoderLayer(d_model, nhead, 64, dropout=0.1, norm_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, nlayers, nn.LayerNorm(d_model), False)
        for p in self.transformer_encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.decoder = nn.Linear(d_model, 10)

    def forward(self, x: Tensor) -> Tensor:
        src = self.encoder(self.patchify(x).permute(2, 0, 1)) + self.pos_encoder
        mask = nn.Transformer.generate_square_subsequent_mask(src.size(0), device=src.device, dtype=src.dtype)
        return self.decoder(self.transformer_encoder(src, mask).mean(0))


class DiagonalMaskViT(nn.Module):
    """Locality self-attention meant to forbid the diagonal; SDPA's True means "take part", so it forbids all else."""

    def __init__(self, embed_dim: int = 48, heads: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, embed_dim, kernel_size=4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, embed_dim, 8, 8) * 0.02)
        self.register_buffer("diagonal", torch.eye(64, dtype=torch.bool))
        self.heads = heads
        self.norms_a = nn.ModuleList(nn.LayerNorm(embed_dim) for _ in range(2))
        self.qs = nn.ModuleList(nn.Linear(embed_dim, embed_dim) for _ in range(2))
        self.kvs = nn.ModuleList(nn.Linear(embed_dim, 2 * embed_dim) for _ in range(2))
        self.projs = nn.ModuleList(nn.Linear(embed_dim, embed_dim) for _ in range(2))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 96), nn.SiLU(), nn.Linear(96, embed_dim))
            for _ in range(2)
        )
        self.final = nn.LayerNorm(embed_dim)
        self.fc = nn.Linear(embed_dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        t = (self.stem(x) + self.positions).flatten(2).mT
        for norm, q_map, kv_map, proj, mlp in zip(self.norms_a, self.qs, self.kvs, self.projs, self.mlps, strict=True):
            h = norm(t)
            q = q_map(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            k, v = kv_map(h).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=self.diagonal)
            t = t + proj(a.transpose(1, 2).flatten(2))
            t = t + mlp(t)
        return self.fc(self.final(t).mean(1))


class RowMaskViT(nn.Module):
    """A mask of the packed-sequence kind, built from rows instead of images: a patch meets its own row of the grid."""

    def __init__(self, dim: int = 64, depth: int = 2, grid: int = 8) -> None:
        super().__init__()
        self.grid = grid
        self.patch_proj = nn.Linear(48, dim)
        self.pos = nn.Parameter(torch.empty(1, grid * grid, dim).normal_(std=0.02))
        self.layers = nn.ModuleList()
        for _ in range(depth):
            attn = nn.MultiheadAttention(dim, 2, dropout=0.0, batch_first=True)
            ffn = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, dim))
            self.layers.append(nn.ModuleList([nn.LayerNorm(dim), attn, nn.LayerNorm(dim), ffn]))
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
        x = self.patch_proj(x) + self.pos
        document = torch.arange(x.shape[1], device=x.device) // self.grid
        blocked = document[:, None] != document[None, :]
        for ln1, attn, ln2, ffn in self.layers:  # type: ignore[misc]
            y = ln1(x)
            x = x + attn(y, y, y, attn_mask=blocked, need_weights=False)[0]
            x = x + ffn(ln2(x))
        return self.out(x.mean(dim=1))


class LengthOneViT(nn.Module):
    """All patches of all images as one batch, with an axis of length one in front: the axis attention runs along."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 4, 4, bias=False)
        self.positional_embedding = nn.Parameter(width**-0.5 * 0.2 * torch.randn(64, width))
        self.ln_pre = nn.LayerNorm(width)
        self.attns = nn.ModuleList(nn.MultiheadAttention(width, 2) for _ in range(layers))
        self.ln_1s = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.ln_2s = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1) + self.positional_embedding
        b, n, d = x.shape
        x = self.ln_pre(x).reshape(1, b * n, d)
        for i, attn in enumerate(self.attns):
            y = self.ln_1s[i](x)
            x = x + attn(y, y, y, need_weights=False)[0]
            x = x + self.down[i](F.gelu(self.up[i](self.ln_2s[i](x))))
        return self.ln_post(x.reshape(b, n, d)).mean(1) @ self.proj


class ViewHeadsAttention(nn.Module):
    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.h, self.dk = h, d // h
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q = self.wq(x).view(b, self.h, n, self.dk)
        k = self.wk(x).view(b, self.h, n, self.dk)
        v = self.wv(x).view(b, self.h, n, self.dk)
        w = torch.softmax(torch.matmul(q, k.transpose(2, 3)) / self.dk**0.5, dim=-1)
        return self.wo(torch.matmul(w, v).view(b, n, d))


class FlatMergeAttention(nn.Module):
    def __init__(self, dim: int, heads: int = 2, dim_head: int = 24) -> None:
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in self.to_qkv(x).chunk(3, dim=-1))
        attn = torch.einsum("bhid,bhjd->bhij", q * self.scale, k).softmax(-1)
        out = torch.einsum("bhij,bhjd->bhid", attn, v)
        return self.to_out(out.reshape(x.shape[0], x.shape[1], -1))


class FusedSplitAttention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.qkv_proj, self.o_proj = nn.Linear(embed_dim, 3 * embed_dim), nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, embed = x.size()
        qkv = self.qkv_proj(x).reshape(batch, self.num_heads, seq, 3 * self.head_dim)
        values = F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
        return self.o_proj(values.permute(0, 2, 1, 3).reshape(batch, seq, embed))


class ViewHeadsViT(nn.Module):
    """Splits and merges by view alike: a head is a run of neighbouring patches, which meet nobody else."""

    def __init__(self, d: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, d, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 64, d) * 0.02)
        self.attn1, self.attn2 = ViewHeadsAttention(d, 4), ViewHeadsAttention(d, 4)
        self.mlp1 = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.mlp2 = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.n1, self.n2, self.n3, self.n4, self.n5 = (nn.LayerNorm(d) for _ in range(5))
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        x = x + self.attn1(self.n1(x))
        x = x + self.mlp1(self.n2(x))
        x = x + self.attn2(self.n3(x))
        x = x + self.mlp2(self.n4(x))
        return self.head(self.n5(x).mean(1))


class Residual(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class FlatMergeViT(nn.Module):
    """Class token and pre-norm residuals; the heads are split as they should be and merged without going back."""

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.to_patches = nn.Linear(48, dim)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        stack: list[nn.Module] = []
        for _ in range(3):
            stack.append(Residual(dim, FlatMergeAttention(dim)))
            stack.append(Residual(dim, nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim))))
        self.stack = nn.Sequential(*stack)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patches(rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
        x = self.stack(torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos)
        return self.head(x[:, 0])


CASES: tuple[Case, ...] = (
    Case("tril-gpt", "M3", "token-mixing", "error", TrilGPTViT),
    Case("subsequent-mask", "M3", "token-mixing", "error", SubsequentMaskViT),
    Case("diagonal-mask", "M3", "token-mixing", "error", DiagonalMaskViT),
    Case("row-mask", "M3", "token-mixing", "error", RowMaskViT),
    Case("length-one", "M3", "token-mixing", "error", LengthOneViT),
    Case("view-heads", "M6", "token-mixing", "error", ViewHeadsViT),
    Case("flat-merge", "M6", "token-mixing", "error", FlatMergeViT),
    Case("fused-split", "M6", "token-mixing", "error", lambda: LinearHost(FusedSplitAttention)),
)
