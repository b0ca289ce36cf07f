"""ViTs of which one block's attention lets no token hear of another, and ViTs normed over their tokens (M3)."""

import torch
import torch.nn.functional as F
from sick_case import Case
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn


class SoundAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class AmongHeads(SoundAttention):
    """The transpose in front of the product forgotten: the heads of a token attend to one another."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return self.proj(F.scaled_dot_product_attention(q, k, v).flatten(2))


class ToItselfOnly(SoundAttention):
    """A mask that was to forbid the diagonal forbids all else."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).masked_fill(
            ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device), float("-inf")
        )
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class LastAmongHeads(ConvHost):
    def __init__(self) -> None:
        super().__init__(SoundAttention, depth=3)
        self.blocks[1].attn = AmongHeads(64, 4)


class SecondToItself(LinearHost):
    def __init__(self) -> None:
        super().__init__(SoundAttention)
        self.layers[1][1] = ToItselfOnly(48, 2)  # type: ignore[operator, index]


class OverTokens(nn.Module):
    """A layer norm of as many numbers as there are tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(tokens)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class ByHand(nn.Module):
    """Mean and spread along the wrong axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(dim=1, keepdim=True)) / (x.std(dim=1, keepdim=True) + 1e-6) * self.gain + self.bias


class NormedOverTokens(ConvHost):
    def __init__(self) -> None:
        super().__init__(SoundAttention)
        for block in self.blocks:
            block.norm1 = OverTokens(65)


class NormedByHand(LinearHost):
    def __init__(self) -> None:
        super().__init__(SoundAttention)
        for layer in self.layers:
            layer[0] = ByHand(48)  # type: ignore[operator]


CASES: tuple[Case, ...] = (
    Case("heads-among-themselves", "M3", "token-mixing", "warning", LastAmongHeads),
    Case("one-block-to-itself", "M3", "token-mixing", "warning", SecondToItself),
    Case("normed-over-tokens", "M3", "token-mixing", "warning", NormedOverTokens),
    Case("normed-by-hand", "M3", "token-mixing", "warning", NormedByHand),
)
