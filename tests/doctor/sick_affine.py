"""Small ViTs whose MLPs have no activation (M14-affine): two layers that come to one."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class IdentityLayersViT(nn.Module):
    """torch's own layers, told to use nothing as their activation."""

    def __init__(self, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 2, 256, 0.1, nn.Identity(), batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim), enable_nested_tensor=False)
        for weight in (p for p in self.encoder.parameters() if p.ndim > 1):
            nn.init.xavier_uniform_(weight)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        return self.head(self.encoder(x)[:, 0])


class MapBlock(nn.Module):
    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.bn1, self.bn2 = nn.GroupNorm(1, c), nn.GroupNorm(1, c)
        self.qkv, self.proj = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)
        self.expand, self.act, self.shrink = nn.Conv2d(c, 4 * c, 1), nn.GELU(), nn.Conv2d(4 * c, c, 1)
        self.drop = nn.Dropout(0.1)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b (k h d) i j -> k b h (i j) d", k=3, h=self.heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(y, "b h (i j) d -> b (h d) i j", i=x.shape[2]))

    def forward(self, tokens: Tensor) -> Tensor:
        x = rearrange(tokens, "b (i j) c -> b c i j", i=8)
        x = x + self.drop(self.attend(self.bn1(x)))
        x = x + self.drop(self.shrink(self.drop(self.expand(self.bn2(x)))))
        return rearrange(x, "b c i j -> b (i j) c")


class MapViT(nn.Module):
    """Each block works on a map B C I J; the activation is built, printed and never called."""

    def __init__(self, c: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, c, 4, 4)
        self.where = nn.Parameter(torch.randn(1, c, 8, 8) * 0.02)
        self.stages = nn.Sequential(*(MapBlock(c, 2) for _ in range(depth)))
        self.norm, self.fc = nn.LayerNorm(c), nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = (self.stem(x) + self.where).flatten(2).transpose(1, 2)
        return self.fc(self.norm(self.stages(tokens)).mean(1))


class BareWeightsBlock(nn.Module):
    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.h = h
        self.n1, self.n2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.wq, self.wk, self.wv, self.wo = (nn.Parameter(torch.randn(d, d) * d**-0.5) for _ in range(4))
        self.up, self.down = nn.Parameter(torch.randn(d, 3 * d) * d**-0.5), nn.Parameter(torch.randn(3 * d, d) * 0.05)
        self.b = nn.Parameter(torch.zeros(3 * d))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("bnd,de->bne", x, w).unflatten(-1, (self.h, -1)) for w in (self.wq, self.wk, self.wv))
        w = (torch.einsum("bihe,bjhe->bhij", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        x = self.n1(x + torch.einsum("bhij,bjhe->bihe", w, v).flatten(2) @ self.wo)
        return self.n2(x + (x @ self.up + self.b) @ self.down)


class BareWeightsViT(nn.Module):
    """No module of torch's but its norms, which stand behind the sums."""

    def __init__(self, d: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(48, d) * 0.1)
        self.pe = nn.Parameter(torch.randn(64, d) * 0.1)
        self.blocks = nn.ModuleList(BareWeightsBlock(d, 3) for _ in range(depth))
        self.to_class = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c (i p) (j q) -> b (i j) (p q c)", p=4, q=4) @ self.w + self.pe
        for block in self.blocks:
            x = block(x)
        return self.to_class(x.mean(dim=1))


CASES: tuple[Case, ...] = (
    Case("identity-activation", "M14-affine", "residual", "warning", IdentityLayersViT),
    Case("maps-without-activation", "M14-affine", "residual", "warning", MapViT),
    Case("bare-weights-without-activation", "M14-affine", "residual", "warning", BareWeightsViT),
)
