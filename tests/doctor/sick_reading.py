"""ViTs whose class token never sees a patch: attention along the batch (M2), or a causal mask with the token first (M3)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# M2


class TorchEncoderViT(nn.Module):
    """PyTorch's encoder, batch_first forgotten, class token read."""

    def __init__(self, d_model: int = 64, nhead: int = 4, num_layers: int = 2) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, d_model, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, d_model))
        self.pos_embedding = nn.Parameter(torch.empty(1, 65, d_model).normal_(std=0.02))
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=128, activation="gelu", norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        for p in self.encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.fc = nn.Linear(d_model, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.encoder(x + self.pos_embedding)
        return self.fc(x[:, 0])


class DictViT(nn.Module):
    """Everything in one ModuleDict, nn.MultiheadAttention as it comes."""

    def __init__(self, dim: int = 48, depth: int = 3) -> None:
        super().__init__()
        m: dict[str, nn.Module] = {"embed": nn.Linear(48, dim), "norm": nn.LayerNorm(dim), "head": nn.Linear(dim, 10)}
        for i in range(depth):
            m[f"norm_a{i}"], m[f"norm_f{i}"] = nn.LayerNorm(dim), nn.LayerNorm(dim)
            m[f"attn{i}"] = nn.MultiheadAttention(dim, 3)
            m[f"ff{i}"] = nn.Sequential(nn.Linear(dim, 96), nn.ReLU(), nn.Linear(96, dim))
        self.m = nn.ModuleDict(m)
        self.cls, self.pos = nn.Parameter(torch.randn(dim) * 0.02), nn.Parameter(torch.randn(65, dim) * 0.02)
        self.depth = depth

    def forward(self, img: Tensor) -> Tensor:
        x = self.m["embed"](rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], 1) + self.pos
        for i in range(self.depth):
            y = self.m[f"norm_a{i}"](x)
            x = x + self.m[f"attn{i}"](y, y, y, need_weights=False)[0]
            x = x + self.m[f"ff{i}"](self.m[f"norm_f{i}"](x))
        return self.m["head"](self.m["norm"](x)[:, 0])


class BatchKeys(nn.Module):
    """einsum with `b` and `n` the wrong way round; PyTorch has nothing to object."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.to_out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "n b (three h d) -> three b h n d", three=3, h=self.heads)
        sim = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
        return self.to_out(rearrange(sim.softmax(dim=-1) @ v, "b h n d -> n b (h d)"))


class LastTokenViT(nn.Module):
    """Its class token stands last, before it two registers."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.unfold, self.embed = nn.Unfold(4, stride=4), nn.Linear(48, width)
        self.extra = nn.Parameter(torch.randn(1, 3, width) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.attns = nn.ModuleList(BatchKeys(width, 2) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, 128) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(64, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2 * depth + 1))
        self.classify = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.unfold(x).transpose(1, 2)) + self.pos
        x = torch.cat([x, self.extra.repeat(x.size(0), 1, 1)], dim=1)
        for i in range(len(self.attns)):
            x = x + self.attns[i](self.norms[2 * i](x))
            a, b = self.gates[i](self.norms[2 * i + 1](x)).chunk(2, -1)
            x = x + self.downs[i](F.silu(a) * b)
        return self.classify(self.norms[-1](x[:, -1]))


# M3 with the class token at index 0


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.attn_dropout = nn.Dropout(0.1)
        self.n_head = n_head
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = self.attn_dropout(F.softmax(att, dim=-1))
        return self.c_proj((att @ v).transpose(1, 2).contiguous().view(B, T, C))


class GPTBlock(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention(n_embd, 2, 65)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPTViT(nn.Module):
    """nanoGPT's block, its `tril` buffer included."""

    def __init__(self, n_embd: int = 32, n_layer: int = 2) -> None:
        super().__init__()
        self.wte = nn.Conv2d(3, n_embd, 4, 4)
        self.wpe = nn.Embedding(65, n_embd)
        self.cls = nn.Parameter(torch.zeros(1, 1, n_embd))
        self.h = nn.ModuleList([GPTBlock(n_embd) for _ in range(n_layer)])
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, 10, bias=False)
        nn.init.normal_(self.wpe.weight, std=0.02)

    def forward(self, idx: Tensor) -> Tensor:
        tok = self.wte(idx).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(tok.size(0), -1, -1), tok), dim=1)
        x = x + self.wpe(torch.arange(x.size(1), device=x.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)[:, 0])


class SquareMaskViT(nn.Module):
    """The mask of the translation tutorial, kept."""

    def __init__(self, ninp: int = 48, nlayers: int = 2) -> None:
        super().__init__()
        self.input_emb = nn.Linear(48, ninp)
        self.cls = nn.Parameter(torch.randn(1, 1, ninp) * 0.02)
        self.pos = nn.Parameter(torch.randn(65, 1, ninp) * 0.02)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(ninp, 3, 96, norm_first=True) for _ in range(nlayers))
        self.norm, self.decoder = nn.LayerNorm(ninp), nn.Linear(ninp, 10)

    def forward(self, src: Tensor) -> Tensor:
        n = src.shape[0]
        src = src.unfold(2, 4, 4).unfold(3, 4, 4).permute(2, 3, 0, 1, 4, 5).reshape(64, n, 48)
        x = torch.cat([self.cls.expand(1, n, -1), self.input_emb(src)]) + self.pos
        mask = torch.log(torch.tril(torch.ones(65, 65, device=x.device, dtype=x.dtype)))
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.decoder(self.norm(x[0]))


class IsCausalViT(nn.Module):
    """One argument of F.scaled_dot_product_attention too many."""

    def __init__(self, dim: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.cls_token, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.stack = nn.ModuleList()
        for _ in range(depth):
            branches = (nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim))
            mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim))
            self.stack.append(nn.ModuleList([*branches, mlp]))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(self.embed(x), "b d h w -> b (h w) d") + self.pos
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        for norm, qkv, out, mlp in self.stack:  # type: ignore[misc]
            q, k, v = rearrange(qkv(norm(x)), "b n (s h d) -> s b h n d", s=3, h=self.heads)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + out(rearrange(y, "b h n d -> b n (h d)"))
            x = x + mlp(x)
        return self.head(x[:, 0])


CASES: tuple[Case, ...] = (
    Case("torch-encoder-class-token", "M2", "input-blindness", "error", TorchEncoderViT),
    Case("dict-mha-class-token", "M2", "input-blindness", "error", DictViT),
    Case("einsum-over-the-batch", "M2", "input-blindness", "error", LastTokenViT),
    Case("nanogpt-class-token", "M3", "input-blindness", "error", NanoGPTViT),
    Case("square-mask-class-token", "M3", "input-blindness", "error", SquareMaskViT),
    Case("is-causal-class-token", "M3", "input-blindness", "error", IsCausalViT),
)
