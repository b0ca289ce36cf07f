"""Small ViTs whose norms stand where they harm: post-norm and deep (M19), pre-norm with none at the end (M20)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class DefaultEncoderViT(nn.Module):
    """PyTorch's encoder layer as it comes, ten deep."""

    def __init__(self, dim: int = 32, depth: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 2, dim_feedforward=64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        for p in self.encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.fc = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = self.encoder(torch.cat([self.cls.expand(x.size(0), -1, -1), x], 1) + self.pos)
        return self.fc(x[:, 0])


class BertLayer(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(hidden, hidden) for _ in range(4))
        self.layernorm_before = nn.LayerNorm(hidden, eps=1e-12)
        self.intermediate, self.dense = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.layernorm_after = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        context = torch.softmax(q @ k.transpose(-1, -2) / q.size(-1) ** 0.5, dim=-1) @ v
        x = self.layernorm_before(x + self.output(context.transpose(1, 2).flatten(2)))
        return self.layernorm_after(x + self.dense(F.gelu(self.intermediate(x))))


class BertViT(nn.Module):
    """BERT's layer over patches, eight deep."""

    def __init__(self, hidden: int = 48, layers: int = 8) -> None:
        super().__init__()
        self.patch = nn.Linear(48, hidden)
        self.position_embeddings = nn.Embedding(64, hidden)
        nn.init.normal_(self.position_embeddings.weight, std=0.02)
        self.embedding_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.layer = nn.ModuleList([BertLayer(hidden, 2) for _ in range(layers)])
        self.classifier = nn.Linear(hidden, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.patch(rearrange(pixel_values, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4))
        x = self.embedding_norm(x + self.position_embeddings.weight)
        for layer in self.layer:
            x = layer(x)
        return self.classifier(x.mean(1))


class AddNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, sublayer: Tensor) -> Tensor:
        return self.norm(x + sublayer)


class AnnotatedViT(nn.Module):
    """The "add & norm" of the figure of 2017, nine deep, sequence first, in lists."""

    def __init__(self, d: int = 32, n: int = 9) -> None:
        super().__init__()
        self.cut = nn.Unfold(4, stride=4)
        self.src = nn.Linear(48, d)
        self.pe = nn.Parameter(torch.randn(64, 1, d) * 0.02)
        self.mha = nn.ModuleList(nn.MultiheadAttention(d, 2) for _ in range(n))
        self.w1 = nn.ModuleList(nn.Linear(d, 64) for _ in range(n))
        self.w2 = nn.ModuleList(nn.Linear(64, d) for _ in range(n))
        self.add_norm = nn.ModuleList(AddNorm(d) for _ in range(2 * n))
        self.generator = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.src(self.cut(x).permute(2, 0, 1)) + self.pe
        for i, mha in enumerate(self.mha):
            x = self.add_norm[2 * i](x, mha(x, x, x, need_weights=False)[0])
            x = self.add_norm[2 * i + 1](x, self.w2[i](F.relu(self.w1[i](x))))
        return self.generator(x.mean(0))


class NormFirstViT(nn.Module):
    """norm_first=True, and nn.TransformerEncoder's own `norm` left at None."""

    def __init__(self, dim: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embedding = nn.Parameter(torch.empty(1, 65, dim).normal_(std=0.02))
        layer = nn.TransformerEncoderLayer(dim, 2, 128, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for p in self.encoder.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).reshape(x.size(0), self.proj.out_channels, -1).permute(0, 2, 1)
        x = torch.cat([self.class_token.expand(x.size(0), -1, -1), x], dim=1)
        return self.head(self.encoder(x + self.pos_embedding)[:, 0])


class PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x)) + x


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.heads)
        dots = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
        out = torch.einsum("bhij,bhjd->bhid", dots.softmax(dim=-1), v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class PreNormMeanViT(nn.Module):
    """Pre-norm residuals, averaged raw."""

    def __init__(self, dim: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.to_patch = nn.Linear(48, dim)
        self.pos = nn.Parameter(torch.randn(64, dim) * 0.02)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [
                PreNorm(dim, SelfAttention(dim, 2)),
                PreNorm(dim, nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim))),
            ]
        self.layers = nn.Sequential(*layers)
        self.mlp_head = nn.Linear(dim, 10)

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patch(rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)) + self.pos
        return self.mlp_head(self.layers(x).mean(1))


class TwoLayerHeadViT(nn.Module):
    """Registers, RMS norms in the blocks, and a hidden layer in the head instead of a norm."""

    def __init__(self, d: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.depth = depth
        self.stem = nn.Conv2d(3, d, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, d, 8, 8) * 0.02)
        self.extra = nn.Parameter(torch.randn(1, 3, d) * 0.02)
        self.parts = nn.ModuleDict()
        for i in range(depth):
            self.parts[f"rms_a{i}"], self.parts[f"rms_m{i}"] = nn.RMSNorm(d), nn.RMSNorm(d)
            self.parts[f"qkv{i}"], self.parts[f"o{i}"] = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.parts[f"up{i}"], self.parts[f"down{i}"] = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.stem(x) + self.pos).flatten(2).mT
        x = torch.cat([self.extra.expand(x.size(0), -1, -1), x], 1)
        for i in range(self.depth):
            qkv = self.parts[f"qkv{i}"](self.parts[f"rms_a{i}"](x)).unflatten(-1, (3, 2, -1))
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            x = x + self.parts[f"o{i}"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            x = x + self.parts[f"down{i}"](F.silu(self.parts[f"up{i}"](self.parts[f"rms_m{i}"](x))))
        return self.head(x[:, 0])


CASES: tuple[Case, ...] = (
    Case("default-encoder-10", "M19", "residual", "warning", DefaultEncoderViT),
    Case("bert-8", "M19", "residual", "warning", BertViT),
    Case("add-and-norm-9", "M19", "residual", "warning", AnnotatedViT),
    Case("norm-first-no-norm", "M20", "residual", "note", NormFirstViT),
    Case("pre-norm-mean", "M20", "residual", "note", PreNormMeanViT),
    Case("two-layer-head", "M20", "residual", "note", TwoLayerHeadViT),
)
