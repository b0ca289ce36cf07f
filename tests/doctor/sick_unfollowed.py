"""ViTs whose inside the lens follows only in part, or not at all, and whose fault shows all the same (M3, M4, M6)."""

import torch
import torch.nn.functional as F
from sick_case import Case
from sound_hosts import ConvHost, LinearHost, RegisterHost
from torch import Tensor, nn


class OwnValues(nn.Module):
    """A slip in the last einsum: the shares are summed and multiply the own value."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = torch.einsum("bhqd,bhkd->bhqk", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
        return self.proj(torch.einsum("bhqk,bhqd->bhqd", weights, v).transpose(1, 2).flatten(2))


class SummedShares(nn.Module):
    """Sequence first; a product number by number where one of matrices belongs, and a sum over the keys to make the shapes fit."""

    def __init__(self, emb: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(emb, emb) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        t, b, e = x.shape
        q, k, v = (f(x).view(t, b * self.heads, -1).transpose(0, 1) for f in (self.q, self.k, self.v))
        weights = F.softmax(torch.bmm(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5, dim=-1)
        own = weights.sum(dim=-1, keepdim=True) * v
        return self.o(own.transpose(0, 1).reshape(t, b, e))


class TalkingHeads(nn.Module):
    """Talking heads as convolutions of one pixel over the heads; put together without going back."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.before, self.after = (nn.Conv2d(heads, heads, 1, bias=False) for _ in range(2))

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return self.after(self.before(q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(self.together(self.weights(q, k) @ v))

    def together(self, y: Tensor) -> Tensor:
        return y.reshape(y.shape[0], y.shape[2], -1)


class SoundTalkingHeads(TalkingHeads):
    def together(self, y: Tensor) -> Tensor:
        return y.transpose(1, 2).flatten(2)


class TurnedTalkingHeads(SoundTalkingHeads):
    """Keys turned by a reshape."""

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        k = k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
        return self.after(self.before(q @ k * q.shape[-1] ** -0.5).softmax(-1))


class Merger(nn.Module):
    """Learned queries bring the tokens down to eight."""

    def __init__(self, dim: int, tokens: int = 8) -> None:
        super().__init__()
        self.norm, self.queries = nn.LayerNorm(dim), nn.Parameter(torch.randn(tokens, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return (self.queries @ x.mT * x.shape[-1] ** -0.5).softmax(-1) @ x


class WrongCut(nn.Module):
    """The number of the patch and the place in it changed about, and a merger of tokens behind the first block."""

    def __init__(self, attention: type[nn.Module] = SoundTalkingHeads, *, merges: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 32)
        self.pos = nn.Parameter(torch.randn(1, 64, 32) * 0.02)
        self.attns = nn.ModuleList(attention(32, 2) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(5))
        self.merger, self.head = Merger(32) if merges else None, nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), 3, 4, 8, 4, 8).permute(0, 3, 5, 2, 4, 1).reshape(len(x), 64, 48)  # (place, number)
        t = self.embed(x) + self.pos
        for i in range(2):
            t = t + self.attns[i](self.norms[2 * i](t))
            t = t + self.mlps[i](self.norms[2 * i + 1](t))
            if self.merger is not None and i == 0:
                t = self.merger(t)
        return self.head(self.norms[4](t).mean(1))


class Fused(SoundTalkingHeads):
    """Plain attention, as torch has it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(self.together(F.scaled_dot_product_attention(q, k, v)))


class Written(Fused):
    """The same, written out."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(self.together((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v))


class Strips(LinearHost):
    """Channels last, and reshaped at once: each token is a piece of one row."""

    def __init__(self, *, by_columns: bool = False) -> None:
        super().__init__(Fused)
        self.order = (0, 3, 2, 1) if by_columns else (0, 2, 3, 1)

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_tokens(img.permute(self.order).reshape(len(img), 64, 48))
        x = x + self.position(torch.arange(64, device=img.device))
        for norm, attn, mlp in self.layers:  # type: ignore[misc]
            x = attn(norm(x)) + x
            x = mlp(x) + x
        return self.to_logits(x.mean(dim=1))


CASES: tuple[Case, ...] = (
    Case("own-values", "M3", "token-mixing", "error", lambda: LinearHost(OwnValues, depth=1)),
    Case("summed-shares", "M3", "token-mixing", "error", lambda: RegisterHost(SummedShares, depth=1)),
    Case("talking-flat-merge", "M6", "token-mixing", "error", lambda: ConvHost(TalkingHeads)),
    Case("talking-turned-keys", "M6", "token-mixing", "error", lambda: LinearHost(TurnedTalkingHeads)),
    Case("talking-wrong-cut", "M4", "patch-layout", "error", WrongCut),
    Case("merged-wrong-cut", "M4", "patch-layout", "error", lambda: WrongCut(Written, merges=True)),
    Case("strips-of-rows", "M4", "patch-layout", "warning", Strips),
    Case("strips-of-columns", "M4", "patch-layout", "warning", lambda: Strips(by_columns=True)),
)
