"""ViTs of fewer blocks than they seem to have (M16), or whose blocks all begin as copies of one (M17)."""

import copy

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# M16


class EncoderBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attn = (q * (d // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.proj((attn @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class MultipliedListViT(nn.Module):
    """`[block] * depth` is one block, depth times."""

    def __init__(self, dim: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*[EncoderBlock(dim, heads=4)] * depth)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.size(0), -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class CalledAgainViT(nn.Module):
    """One encoder layer, called as often as the depth says."""

    def __init__(self, hidden_size: int = 48, num_hidden_layers: int = 3) -> None:
        super().__init__()
        self.num_hidden_layers = num_hidden_layers
        self.to_patch = nn.Linear(48, hidden_size)
        self.position = nn.Parameter(torch.randn(64, hidden_size) * 0.02)
        self.layer = nn.TransformerEncoderLayer(hidden_size, 3, 96, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layernorm = nn.LayerNorm(hidden_size)
        self.classifier = nn.Linear(hidden_size, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = rearrange(pixel_values, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
        hidden = self.to_patch(x) + self.position
        for _ in range(self.num_hidden_layers):
            hidden = self.layer(hidden)
        return self.classifier(self.layernorm(hidden).mean(dim=1))


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.w, self.o = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.w(x).chunk(2, dim=-1)
        return self.o(F.silu(a) * b)


class AppendedViT(nn.Module):
    """The layers are built above the loop that appends them."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.cut, self.embed = nn.Unfold(4, stride=4), nn.Linear(48, width)
        self.pos = nn.Parameter(torch.randn(64, 1, width) * 0.02)
        attn, mlp = nn.MultiheadAttention(width, 2), Gated(width)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.ModuleList([nn.RMSNorm(width), attn, nn.RMSNorm(width), mlp]))
        self.out = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.cut(x).permute(2, 0, 1)) + self.pos
        for norm1, attn, norm2, mlp in self.layers:
            h = norm1(x)
            x = x + attn(h, h, h, need_weights=False)[0]
            x = x + mlp(norm2(x))
        return self.out(x.mean(0))


# M17


class StackedCopiesViT(nn.Module):
    """nn.TransformerEncoder copies the layer that it is given."""

    def __init__(self, d_model: int = 64, nhead: int = 4, num_layers: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, d_model, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, d_model) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 65, d_model) * 0.02)
        layer = nn.TransformerEncoderLayer(d_model, nhead, 128, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.head = nn.Linear(d_model, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(torch.cat([self.cls.repeat(len(x), 1, 1), x], dim=1) + self.pos)[:, 0])


class MixerBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.q, self.kv, self.out = nn.Linear(c, c), nn.Linear(c, 2 * c), nn.Linear(c, c)
        self.ff = nn.Sequential(nn.Linear(c, 96), nn.GELU(), nn.Dropout(0.1), nn.Linear(96, c))

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln1(x)
        q = rearrange(self.q(h), "b n (h d) -> b h n d", h=3)
        k, v = rearrange(self.kv(h), "b n (s h d) -> s b h n d", s=2, h=3)
        x = x + self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
        return x + self.ff(self.ln2(x))


class DeepcopyViT(nn.Module):
    """clones(module, N) of the annotated transformer."""

    def __init__(self, c: int = 48, n: int = 3) -> None:
        super().__init__()
        block = MixerBlock(c)
        self.embed = nn.Linear(48, c)
        self.pos = nn.Parameter(torch.randn(64, c) * 0.02)
        self.layers = nn.ModuleList([copy.deepcopy(block) for _ in range(n)])
        self.norm, self.generator = nn.LayerNorm(c), nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 64, 48)
        x = self.embed(x) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.generator(self.norm(x).mean(1))


class SeededLayer(nn.Module):
    def __init__(self, emb: int, seed: int = 42) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(emb), nn.RMSNorm(emb)
        self.attn = nn.MultiheadAttention(emb, 2, bias=False)
        self.up, self.down = nn.Linear(emb, 2 * emb, bias=False), nn.Linear(2 * emb, emb, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.down(F.relu(self.up(self.norm2(x))))


class SeededViT(nn.Module):
    """For the sake of repeatability each layer draws from a generator of its own, of one seed."""

    def __init__(self, emb: int = 32) -> None:
        super().__init__()
        self.unfold, self.emb = nn.Unfold(4, stride=4), nn.Linear(48, emb)
        self.extra = nn.Parameter(torch.randn(3, 1, emb) * 0.02)
        self.pos = nn.Parameter(torch.randn(64, 1, emb) * 0.02)
        self.trunk = nn.Sequential(SeededLayer(emb), SeededLayer(emb), SeededLayer(emb), nn.RMSNorm(emb))
        self.head = nn.Linear(emb, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.emb(self.unfold(x).permute(2, 0, 1)) + self.pos
        return self.head(self.trunk(torch.cat([self.extra.expand(-1, x.shape[1], -1), x]))[0])


CASES: tuple[Case, ...] = (
    Case("multiplied-list", "M16", "parameters", "warning", MultipliedListViT),
    Case("called-again", "M16", "parameters", "warning", CalledAgainViT),
    Case("appended-again", "M16", "parameters", "warning", AppendedViT),
    Case("stacked-copies", "M17", "parameters", "note", StackedCopiesViT),
    Case("deepcopied", "M17", "parameters", "note", DeepcopyViT),
    Case("seeded-layers", "M17", "parameters", "note", SeededViT),
)
