"""Attentions whose queries, keys or values are rows of several tokens, or whose tokens are shared out (M6), alike in every head."""

import torch
import torch.nn.functional as F
from sick_case import Case
from sound_hosts import ConvHost, LinearHost, RegisterHost
from torch import Tensor, nn


class ViewedKeys(nn.Module):
    """Keys brought to heads × width × tokens by a reshape."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.reshape(B, self.num_heads, -1, N) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class OneHead(nn.Module):
    """A single head, its keys turned by view."""

    def __init__(self, dim: int, _: int) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        weights = F.softmax(torch.bmm(self.wq(x), self.wk(x).view(b, d, n)) / d**0.5, dim=2)
        return self.wo(torch.bmm(weights, self.wv(x)))


class ValuesOfNoToken(nn.Module):
    """Sequence first; values kept as width × tokens, and read as tokens × width."""

    def __init__(self, emb: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qk, self.to_v, self.out = nn.Linear(emb, 2 * emb), nn.Linear(emb, emb), nn.Linear(emb, emb)

    def forward(self, x: Tensor) -> Tensor:
        t, b, _ = x.shape
        q, k = self.to_qk(x).view(t, b, 2, self.heads, -1).permute(2, 1, 3, 0, 4)
        v = self.to_v(x).view(t, b, self.heads, -1).permute(1, 2, 3, 0).reshape(q.shape)
        return self.out(F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2))


class NormedKeys(nn.Module):
    """Keys normed as they should be, then turned by view."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(dim // heads)
        self.q, self.kv, self.o = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = self.norm(self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2))
        k, v = self.kv(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        k = self.norm(k).reshape(*q.shape[:2], q.shape[3], q.shape[2])
        weights = torch.softmax(q @ k / q.shape[-1] ** 0.5, dim=-1)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class OneHeadBack(nn.Module):
    """A single head whose output is turned over on its way back."""

    def __init__(self, dim: int, _: int) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(*self.qkv(x).chunk(3, dim=-1))
        return self.o(y.mT.reshape(x.shape))


class ThreeInFront(nn.Module):
    """The three put in front of the tokens by a reshape, not by a permute."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, 3, N, self.heads, C // self.heads).transpose(2, 3).unbind(1)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))


class ChunkedTokens(nn.Module):
    """The wrong axis in chunk."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = (
            t.reshape(B, N, self.heads, -1).transpose(1, 2) for t in self.qkv(x).reshape(B, 3 * N, C).chunk(3, dim=1)
        )
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, N, C))


CASES: tuple[Case, ...] = (
    Case("viewed-keys", "M6", "token-mixing", "error", lambda: ConvHost(ViewedKeys)),
    Case("one-head-viewed-keys", "M6", "token-mixing", "error", lambda: LinearHost(OneHead)),
    Case("values-of-no-token", "M6", "token-mixing", "error", lambda: RegisterHost(ValuesOfNoToken)),
    Case("normed-viewed-keys", "M6", "token-mixing", "error", lambda: LinearHost(NormedKeys)),
    Case("one-head-back", "M6", "token-mixing", "error", lambda: ConvHost(OneHeadBack)),
    Case("three-in-front", "M6", "token-mixing", "error", lambda: ConvHost(ThreeInFront)),
    Case("chunked-tokens", "M6", "token-mixing", "error", lambda: LinearHost(ChunkedTokens)),
)
