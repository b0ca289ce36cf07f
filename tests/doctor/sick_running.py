"""ViTs that never twice say the same (M27), that leave traces (M28), or that run on one device or type only (M29)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

# M27


class FunctionalDropoutViT(nn.Module):
    """F.dropout is on unless it is told."""

    def __init__(self, dim: int = 64, depth: int = 2, p: float = 0.1) -> None:
        super().__init__()
        self.p = p
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.attns = nn.ModuleList(nn.MultiheadAttention(dim, 4, batch_first=True) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Linear(dim, 2 * dim) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth + 1))
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        for i, attn in enumerate(self.attns):
            h = self.norms[2 * i](x)
            x = x + attn(h, h, h)[0]
            h = F.gelu(self.ups[i](self.norms[2 * i + 1](x)))
            x = x + self.downs[i](F.dropout(h, self.p))
        return self.head(self.norms[-1](x)[:, 0])


class DropoutPAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))


class DropoutPViT(nn.Module):
    """`dropout_p` is no business of `.eval()`."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.linear, self.pos = nn.Linear(48, width), nn.Parameter(torch.randn(64, width) * 0.02)
        self.net = nn.ModuleDict()
        for i in range(3):
            self.net[f"a{i}"] = nn.Sequential(nn.LayerNorm(width), DropoutPAttention(width, 3, 0.1))
            self.net[f"f{i}"] = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 96), nn.SiLU(), nn.Dropout(0.1), nn.Linear(96, width)
            )
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4)) + self.pos
        for layer in self.net.values():
            x = x + layer(x)
        return self.out(x.mean(1))


class FreshDropoutViT(nn.Module):
    """A layer made in the forward is in training mode for its whole short life."""

    def __init__(self, d: int = 32) -> None:
        super().__init__()
        self.cut, self.fc = nn.Unfold(4, stride=4), nn.Linear(48, d)
        self.positions = nn.Parameter(torch.randn(64, 1, d) * 0.02)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(d, 2, 64, norm_first=True) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(self.cut(x).permute(2, 0, 1)) + self.positions
        x = nn.Dropout(0.1)(x)
        return self.head(self.norm(self.layers(x)).mean(0))


# M28


class InPlaceViT(nn.Module):
    """Normalises the batch that it was lent."""

    def __init__(self, d: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))
        self.patches = nn.Conv2d(3, d, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 64, d) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 3, 96, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x -= self.mean
        x /= self.std
        x = self.patches(x).flatten(2).transpose(1, 2) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


MAPS: list[Tensor] = []


class KeepingAttention(nn.Module):
    """Keeps what it shows for a figure: on itself, or in a list of the module."""

    def __init__(self, dim: int, heads: int, maps: list[Tensor]) -> None:
        super().__init__()
        self.heads, self.maps = heads, maps
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attn = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
        self.maps.append(attn.detach())
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class KeepingViT(nn.Module):
    """Each call leaves its attention maps in memory."""

    def __init__(self, everywhere: bool, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.attention_maps: list[Tensor] = []
        self.embed = nn.Linear(48, dim)
        self.cls, self.pos = nn.Parameter(torch.randn(dim) * 0.02), nn.Parameter(torch.randn(65, dim) * 0.02)
        maps = MAPS if everywhere else self.attention_maps
        self.attns = nn.ModuleList(KeepingAttention(dim, 4, maps) for _ in range(depth))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim)) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth + 1))
        self.fc = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(F.unfold(x, 4, stride=4).mT)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], dim=1) + self.pos
        for i, attn in enumerate(self.attns):
            x = x + attn(self.norms[2 * i](x))
            x = x + self.mlps[i](self.norms[2 * i + 1](x))
        return self.fc(self.norms[-1](x)[:, 0])


class CountingViT(nn.Module):
    """Follows the mean of its tokens and its calls, in evaluation too."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.project, self.pos = nn.Linear(48, c), nn.Parameter(torch.randn(64, c) * 0.02)
        self.register_buffer("token_mean", torch.zeros(c))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.qkv, self.o = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.w1, self.w2, self.w3 = nn.Linear(c, 64), nn.Linear(c, 64), nn.Linear(64, c)
        self.norm1, self.norm2, self.norm3 = nn.RMSNorm(c), nn.RMSNorm(c), nn.RMSNorm(c)
        self.head = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 64, 48)) + self.pos
        self.calls += 1
        self.token_mean.lerp_(x.detach().mean(dim=(0, 1)), 0.1)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = self.norm2(x)
        x = x + self.w3(F.silu(self.w1(h)) * self.w2(h))
        return self.head(self.norm3(x).mean(dim=1))


# M29


DEVICE = torch.device("cpu")


class DoorViT(nn.Module):
    """Sound, but for what those who extend it do with the images at the door."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.pos = nn.Parameter(torch.randn(64, 1, dim) * 0.02)
        self.encoder = nn.Sequential(*(nn.TransformerEncoderLayer(dim, 4, 128, norm_first=True) for _ in range(2)))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def receive(self, images: Tensor) -> Tensor:
        return images

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(self.receive(images)).flatten(2).permute(2, 0, 1) + self.pos
        return self.head(self.encoder(x).mean(dim=0))


class FloatViT(DoorViT):
    def receive(self, images: Tensor) -> Tensor:
        return images.float()


class ToDeviceViT(DoorViT):
    """The tutorial's DEVICE, wherever the model is."""

    def receive(self, images: Tensor) -> Tensor:
        return images.to(DEVICE)


class FloatMeanViT(nn.Module):
    """Its mean is a product with ones of float32."""

    def __init__(self, d: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.lin, self.pos = nn.Linear(48, d), nn.Parameter(torch.randn(64, d) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(depth))
        self.qkvs = nn.ModuleList(nn.Linear(d, 3 * d) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(d, d) for _ in range(depth))
        self.ffs = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 96), nn.ReLU(), nn.Linear(96, d)) for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)) + self.pos
        for norm, qkv, out, ff in zip(self.norms, self.qkvs, self.outs, self.ffs, strict=True):
            q, k, v = rearrange(qkv(norm(x)), "b n (s h d) -> s b h n d", s=3, h=3)
            x = x + out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
            x = x + ff(x)
        ones = torch.ones(x.shape[0], 1, x.shape[1], dtype=torch.float32, device=x.device)
        return self.head(torch.bmm(ones / x.shape[1], x)[:, 0])


class CPUConstantsViT(nn.Module):
    """Makes its registers and its waves anew each time, on the CPU or on the script's own DEVICE."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.unfold, self.embed = nn.Unfold(4, stride=4), nn.Linear(48, width)
        self.attns = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(2))
        self.ups, self.downs = (nn.ModuleList(nn.Linear(a, b) for _ in range(2)) for a, b in ((width, 64), (64, width)))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(5))
        self.classifier = nn.Linear(width, 10)

    def waves(self, n: int) -> Tensor:
        angles = torch.arange(n, device="cpu")[:, None] / 100 ** torch.linspace(0, 1, self.width // 2, device=DEVICE)
        return 0.03 * torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.unfold(x).transpose(1, 2))
        x = torch.cat([torch.zeros(x.shape[0], 1, self.width, device="cpu"), x], dim=1) + self.waves(65)
        for i in range(2):
            h = self.norms[2 * i](x)
            x = x + self.attns[i](h, h, h, need_weights=False)[0]
            x = x + self.downs[i](F.gelu(self.ups[i](self.norms[2 * i + 1](x))))
        return self.classifier(self.norms[4](x)[:, 0])


CASES: tuple[Case, ...] = (
    Case("functional-dropout", "M27", "determinism", "error", FunctionalDropoutViT),
    Case("dropout-p", "M27", "determinism", "error", DropoutPViT),
    Case("fresh-dropout", "M27", "determinism", "error", FreshDropoutViT),
    Case("input-in-place", "M28", "forward", "warning", InPlaceViT),
    Case("maps-on-the-model", "M28", "forward", "warning", lambda: KeepingViT(everywhere=False)),
    Case("maps-in-a-global", "M28", "forward", "warning", lambda: KeepingViT(everywhere=True)),
    Case("counts-in-eval", "M28", "forward", "warning", CountingViT),
    Case("float-at-the-door", "M29", "forward", "warning", FloatViT),
    Case("to-device", "M29", "forward", "warning", ToDeviceViT),
    Case("float32-mean", "M29", "forward", "warning", FloatMeanViT),
    Case("cpu-constants", "M29", "forward", "warning", CPUConstantsViT),
)
