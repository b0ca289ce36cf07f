"""Small ViTs of which parts of a fused projection never get a gradient (I2), whose scores went through Python's numbers (M14), or most of which
is frozen as it was drawn (I2)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class DetachedWeights(nn.Module):
    """The weights of the attention are detached: queries and keys stay as they were drawn."""

    def __init__(self, d: int, h: int = 2) -> None:
        super().__init__()
        self.h, self.qkv, self.proj = h, nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.h)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).detach()
        return self.proj(rearrange(weights @ v, "b h n d -> b n (h d)"))


class ValuesForKeys(DetachedWeights):
    """q · v for the scores: the keys are never used."""

    def forward(self, x: Tensor) -> Tensor:
        q, _, v = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.h)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, v, v), "b h n d -> b n (h d)"))


class KeysForValues(nn.Module):
    """One product for all heads, each with its own three parts side by side; the values are never used."""

    def __init__(self, d: int, h: int = 3) -> None:
        super().__init__()
        self.h, self.w = h, nn.Parameter(torch.randn(d, 3 * d) * 0.05)
        self.o = nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, _ = (x @ self.w).view(b, n, self.h, 3, d // self.h).permute(3, 0, 2, 1, 4)
        return self.o(((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ k).transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):
    def __init__(self, d: int, attend: type[nn.Module]) -> None:
        super().__init__()
        self.n1, self.attend, self.n2 = nn.LayerNorm(d), attend(d), nn.LayerNorm(d)
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.n1(x))
        return x + self.down(F.silu(self.up(self.n2(x))))


class SmallViT(nn.Module):
    """Its head starts at zero where it is told so: at first nothing has a gradient but that."""

    def __init__(self, attend: type[nn.Module] = DetachedWeights, *, zero_head: bool = False, d: int = 48) -> None:
        super().__init__()
        self.patch, self.pos = nn.Conv2d(3, d, 4, 4), nn.Parameter(torch.randn(1, 65, d) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.layers = nn.ModuleList(Layer(d, attend) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)
        if zero_head:
            nn.init.zeros_(self.head.weight)

    def read(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x)[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.read(x)


class ThroughFloatsViT(SmallViT):
    """Scores for a log, given back."""

    def read(self, x: Tensor) -> Tensor:
        rows = [[float(score) for score in row.detach()] for row in super().read(x)]
        return torch.stack([torch.tensor(row) for row in rows]).to(x)


class FeaturesThroughListsViT(SmallViT):
    """The features are lists of Python's, and the head alone learns."""

    def read(self, x: Tensor) -> Tensor:
        features = torch.tensor(self.norm(x)[:, 0].tolist(), dtype=x.dtype)
        return self.head(features)


class FrozenLayersViT(SmallViT):
    """Frozen as one would freeze what was trained, and nothing was loaded."""

    def __init__(self) -> None:
        super().__init__(SoundAttention)
        self.layers.requires_grad_(False)


class FrozenEncoderViT(nn.Module):
    """All but the head, by name."""

    def __init__(self, d: int = 48) -> None:
        super().__init__()
        self.inp = nn.Linear(48, d)
        layer = nn.TransformerEncoderLayer(d, 2, 96, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(d), enable_nested_tensor=False)
        self.head = nn.Linear(d, 10)
        for name, p in self.named_parameters():
            p.requires_grad = "head" in name

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.inp(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))).mean(1))


class SoundAttention(DetachedWeights):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.h)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


CASES: tuple[Case, ...] = (
    Case("detached-attention", "I2", "parameters", "warning", SmallViT),
    Case("detached-behind-a-zero-head", "I2", "parameters", "warning", lambda: SmallViT(zero_head=True)),
    Case("values-for-keys", "I2", "parameters", "warning", lambda: SmallViT(ValuesForKeys)),
    Case("keys-for-values", "I2", "parameters", "warning", lambda: SmallViT(KeysForValues)),
    Case("scores-through-floats", "M14", "parameters", "error", ThroughFloatsViT),
    Case("features-through-lists", "M14", "parameters", "error", FeaturesThroughListsViT),
    Case("frozen-layers", "I2", "parameters", "note", FrozenLayersViT),
    Case("frozen-encoder", "I2", "parameters", "note", FrozenEncoderViT),
)
