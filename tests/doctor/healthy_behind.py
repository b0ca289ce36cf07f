"""Models without a fault whose blocks keep groups of patches apart: what meets behind them, and views or crops that lie side by side in the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from healthy_case import Healthy
from healthy_hosts import DIM, SIDE, Host, N
from torch import Tensor, nn


class RowsOnly(Host):
    """Attention within each row of patches; the mean is read."""

    def prepare(self, dim: int) -> None:
        del self.cls_token

    def embed(self, x: Tensor) -> Tensor:
        return self.patch(x).flatten(2).mT + self.pos_embed[:, 1:]

    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens.reshape(-1, SIDE, DIM)).view(-1, N, DIM)
        return self.norm(tokens)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class TokenMixerBehind(RowsOnly):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.mix = nn.Sequential(nn.Linear(N, N), nn.GELU(), nn.Linear(N, N))

    def encode(self, tokens: Tensor) -> Tensor:
        tokens = super().encode(tokens)
        return tokens + self.mix(tokens.mT).mT


class RecurrentBehind(RowsOnly):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.rnn = nn.GRU(dim, dim, batch_first=True)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(tokens)[1][0])


class RecurrentBehindZeroHead(RecurrentBehind):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class FourierBehind(RowsOnly):
    def encode(self, tokens: Tensor) -> Tensor:
        tokens = super().encode(tokens)
        return F.gelu(tokens + torch.fft.fft(tokens, dim=1).real / SIDE)


class DeepHeadOfAll(RowsOnly):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(N * dim, 64), nn.GELU(), nn.Linear(64, 10))

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens)


class ChannelsApart(Host):
    def prepare(self, dim: int) -> None:
        self.patch = nn.Conv2d(1, dim, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x.flatten(0, 1)[:, None])
        return scores.unflatten(0, (len(x), 3)).mean(dim=1)


class TwoScales(Host):
    def prepare(self, dim: int) -> None:
        self.head = nn.Linear(2 * dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        coarse = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)
        tokens = self.encode(self.embed(torch.cat([x, coarse])))[:, 0]
        return self.head(torch.cat(tokens.chunk(2), dim=-1))


class TwoViews(Host):
    def forward(self, x: Tensor) -> Tensor:
        views = torch.stack([x, x.flip(3)], dim=1)
        return super().forward(views.flatten(0, 1)).unflatten(0, (-1, 2)).amax(dim=1)


class Crops(Host):
    """Four quarters as images of their own, weighed by what is in all of them."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + N // 4, dim))
        self.gate = nn.Sequential(nn.Linear(dim, 16), nn.Tanh(), nn.Linear(16, 1))

    def quarters(self, x: Tensor) -> Tensor:
        return x.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        found = self.encode(self.embed(self.quarters(x)))[:, 0].unflatten(0, (-1, 4))
        return self.head((self.gate(found).softmax(dim=1) * found).sum(dim=1))


def _case(name: str, build: Callable[[], nn.Module]) -> Healthy:
    return Healthy(f"by hand: {name}", "by hand", build)


CASES = [
    _case("rows, then a token mixer", TokenMixerBehind),
    _case("rows, then a recurrent layer", RecurrentBehind),
    _case("rows, a recurrent layer, zero head", RecurrentBehindZeroHead),
    _case("rows, then Fourier", FourierBehind),
    _case("rows, then a deep head of all tokens", DeepHeadOfAll),
    _case("channels side by side", ChannelsApart),
    _case("two scales side by side", TwoScales),
    _case("two views side by side", TwoViews),
    _case("four crops side by side", Crops),
]
