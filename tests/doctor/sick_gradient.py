"""Small ViTs through which the gradient does not come well: it vanishes (G1), explodes (G2), or units are dead (G3)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from sound_hosts import LinearHost
from torch import Tensor, nn


class SigmoidBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(x + self.attn(x, x, x)[0])
        return torch.sigmoid(x + self.fc2(F.gelu(self.fc1(x))))


class SigmoidStreamViT(nn.Module):
    """Sends the residual stream itself through a sigmoid, twice a block, in place of the norms."""

    def __init__(self, dim: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        self.blocks = nn.Sequential(*(SigmoidBlock(dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x).flatten(2).transpose(1, 2) + self.pos)
        return self.fc(self.norm(x).mean(1))


class SmallInitViT(nn.Module):
    """No skips, no norms, small weights and a sigmoid in the MLP."""

    def __init__(self, d: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(48, d)
        self.pos = nn.Parameter(torch.empty(1, 64, d).normal_(std=0.02))
        self.qkv = nn.ModuleList(nn.Linear(d, 3 * d) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(d, d) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(d, 2 * d) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * d, d) for _ in range(depth))
        self.classifier = nn.Linear(d, 10)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=0.05)
                nn.init.zeros_(m.bias)

    def forward(self, img: Tensor) -> Tensor:
        x = self.embed(rearrange(img, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)) + self.pos
        for qkv, out, up, down in zip(self.qkv, self.out, self.up, self.down, strict=True):
            q, k, v = rearrange(qkv(x), "b n (k h d) -> k b h n d", k=3, h=2)
            x = out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
            x = down(torch.sigmoid(up(x)))
        return self.classifier(x.mean(1))


class SoftmaxLayer(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (2, -1)) for f in (self.wq, self.wk, self.wv))
        w = torch.softmax(torch.einsum("nbhd,mbhd->bhnm", q, k) / math.sqrt(q.size(-1)), dim=-1)
        x = x + self.wo(torch.einsum("bhnm,mbhd->nbhd", w, v).flatten(2))
        return torch.softmax(x + self.mlp(x), dim=-1)


class SoftmaxStreamViT(nn.Module):
    """A softmax over the features between layers, as if it were an activation; sequence first, class token."""

    def __init__(self, d: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.cut, self.lin = nn.Unfold(4, stride=4), nn.Linear(48, d)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(65, 1, d) * 0.02)
        self.layers = nn.ModuleList(SoftmaxLayer(d) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(self.cut(x).permute(2, 0, 1))
        x = torch.cat([self.cls.expand(-1, x.size(1), -1), x]) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[0]))


class EmbeddingScaleViT(nn.Module):
    """Multiplies by √D as the translation model does with its embedding, but inside the loop over the blocks."""

    def __init__(self, d_model: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Conv2d(3, d_model, 4, 4)
        self.pe = nn.Parameter(torch.randn(1, 64, d_model) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d_model, 2, 128, 0.1, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(d_model)
        self.fc = nn.Linear(d_model, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).flatten(2).transpose(1, 2) + self.pe
        for layer in self.layers:
            x = layer(x * math.sqrt(self.d_model))
        return self.fc(self.norm(x).mean(1))


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30.0 * x)


class SineAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class SineViT(nn.Module):
    """Sine activations with SIREN's frequency of thirty, without SIREN's initialisation."""

    def __init__(self, dim: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.to_tokens = nn.Linear(48, dim)
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.layers = nn.ModuleList()
        for _ in range(depth):
            mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 96), Sine(), nn.Linear(96, dim))
            self.layers.append(nn.ModuleList([nn.LayerNorm(dim), SineAttention(dim, 2), mlp]))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_tokens(rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
        x = torch.cat([self.cls.expand(len(img), -1, -1), x], 1) + self.pos
        for norm, attn, mlp in self.layers:  # type: ignore[misc]
            x = x + attn(norm(x))
            x = x + mlp(x)
        return self.head(x[:, 0])


class WideTanhBlock(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        for w in (self.o, self.fc1, self.fc2):
            nn.init.normal_(w.weight, std=2.0)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.softmax(self.q(x) @ self.k(x).mT / math.sqrt(x.size(-1)), -1)
        x = x + torch.tanh(self.o(a @ self.v(x)))
        return x + torch.tanh(self.fc2(torch.tanh(self.fc1(x))))


class WideTanhViT(nn.Module):
    """Wide initial weights under a tanh: activations stay bounded, the gradient grows with every block."""

    def __init__(self, d: int = 48, depth: int = 6) -> None:
        super().__init__()
        self.patches, self.lin = nn.Unfold(4, stride=4), nn.Linear(48, d)
        self.pos = nn.Parameter(torch.randn(64, d) * 0.02)
        self.blocks = nn.Sequential(*(WideTanhBlock(d) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(self.patches(x).transpose(1, 2)) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


class BiasedReluViT(nn.Module):
    """PyTorch's layer, ReLU, and biases that a run with too high a rate has driven down."""

    def __init__(self, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, 2, 128, batch_first=True, norm_first=True) for _ in range(depth)
        )
        for layer in self.layers:
            nn.init.constant_(layer.linear1.bias, -100.0)  # type: ignore[union-attr, arg-type]
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.size(0), -1, -1), x], 1) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


class DeepMLP(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.a, self.b, self.c = nn.Linear(d, 2 * d), nn.Linear(2 * d, 2 * d), nn.Linear(2 * d, d)
        nn.init.uniform_(self.b.weight, -0.2, 0.0)
        nn.init.constant_(self.b.bias, -0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(self.norm(x))))))


class NegativeWeightsViT(nn.Module):
    """An MLP of two hidden layers, of which the second has negative weights alone on inputs that are never negative."""

    def __init__(self, d: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(48, d)
        self.pos = nn.Embedding(64, d)
        nn.init.normal_(self.pos.weight, std=0.02)
        self.ln = nn.ModuleList(nn.LayerNorm(d) for _ in range(depth))
        self.qkv, self.o = (nn.ModuleList(nn.Linear(d, k * d) for _ in range(depth)) for k in (3, 1))
        self.mlp = nn.ModuleList(DeepMLP(d) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, img: Tensor) -> Tensor:
        x = self.embed(rearrange(img, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)) + self.pos.weight
        for ln, qkv, o, mlp in zip(self.ln, self.qkv, self.o, self.mlp, strict=True):
            q, k, v = rearrange(qkv(ln(x)), "b n (k h d) -> k b h n d", k=3, h=2)
            w = (torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5).softmax(-1)
            x = x + o(rearrange(w @ v, "b h n d -> b n (h d)"))
            x = x + mlp(x)
        return self.out(x.mean(1))


class SoundAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x, need_weights=False)[0]


def mostly_dead_vit() -> nn.Module:
    """A sound ViT, of whose 96 hidden units a block 72 never fire."""
    model = LinearHost(SoundAttention)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("2.1.bias"):
                parameter[:72] = -100.0
    return model


CASES: tuple[Case, ...] = (
    Case("sigmoid-stream", "G1", "gradient", "warning", SigmoidStreamViT),
    Case("small-init", "G1", "gradient", "warning", SmallInitViT),
    Case("softmax-stream", "G1", "gradient", "warning", SoftmaxStreamViT),
    Case("embedding-scale", "G2", "gradient", "warning", EmbeddingScaleViT),
    Case("sine", "G2", "gradient", "warning", SineViT),
    Case("wide-tanh", "G2", "gradient", "warning", WideTanhViT),
    Case("biased-relu", "G3", "gradient", "warning", BiasedReluViT),
    Case("negative-weights", "G3", "gradient", "warning", NegativeWeightsViT),
    Case("mostly-dead", "G3", "gradient", "warning", mostly_dead_vit),
)
