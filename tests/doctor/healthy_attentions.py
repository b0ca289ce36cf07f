"""Attentions without a fault whose weights are not those of the textbook: other scores, rows that do not sum to 1, no rows at all."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from healthy_case import Healthy
from healthy_hosts import SIDE, Block, Host, MeanHost, Split
from torch import Tensor, nn


class NoKeyBias(Split):
    bias = False


class QKNorm(Split):
    def prepare(self, dim: int, heads: int) -> None:
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.RMSNorm(self.head_dim)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(self.q_norm(q), self.k_norm(k))


class Cosine(Split):
    """Swin v2: cosine times a learned scale."""

    def prepare(self, dim: int, heads: int) -> None:
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.logit_scale.clamp(max=math.log(100.0)).exp()


class LocalitySelf(Split):
    """ViT for small data sets: learned temperature, and no token attends to itself."""

    def prepare(self, dim: int, heads: int) -> None:
        self.temperature = nn.Parameter(torch.tensor(math.log(self.head_dim**-0.5)))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        itself = torch.eye(q.shape[-2], dtype=torch.bool, device=q.device)
        return (q @ k.mT * self.temperature.exp()).masked_fill(itself, -torch.finfo(q.dtype).max)


class MuP(Split):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / self.head_dim


class TalkingHeads(Split):
    def prepare(self, dim: int, heads: int) -> None:
        self.before, self.after = nn.Conv2d(heads, heads, 1, bias=False), nn.Conv2d(heads, heads, 1, bias=False)
        nn.init.dirac_(self.before.weight)

    def weights(self, scores: Tensor) -> Tensor:
        return self.after(self.before(scores).softmax(dim=-1))


class Sigmoid(Split):
    def weights(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(scores - math.log(scores.shape[-1]))


class Softmax1(Split):
    """One more in the denominator: a head may attend to nothing."""

    def weights(self, scores: Tensor) -> Tensor:
        top = scores.amax(dim=-1, keepdim=True).clamp(min=0)
        raised = torch.exp(scores - top)
        return raised / (raised.sum(dim=-1, keepdim=True) + torch.exp(-top))


class Sink(Split):
    """A learned score to which no value belongs."""

    def prepare(self, dim: int, heads: int) -> None:
        self.sink = nn.Parameter(torch.zeros(heads, 1, 1))

    def weights(self, scores: Tensor) -> Tensor:
        sink = self.sink.expand(len(scores), -1, scores.shape[-2], 1)
        return torch.cat([sink, scores], dim=-1).softmax(dim=-1)[..., 1:]


class TopK(Split):
    def weights(self, scores: Tensor) -> Tensor:
        least = scores.topk(16, dim=-1).values[..., -1:]
        return scores.masked_fill(scores < least, float("-inf")).softmax(dim=-1)


class SoftCap(Split):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return 30 * torch.tanh(super().scores(q, k) / 30)


class ReluAttention(Split):
    """ReLU over the number of tokens instead of softmax."""

    def weights(self, scores: Tensor) -> Tensor:
        return scores.relu() / scores.shape[-1]


class DotProduct(Split):
    """Non-local (Wang et al. 2018), dot product: no softmax, over the number of tokens."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT

    def weights(self, scores: Tensor) -> Tensor:
        return scores / scores.shape[-1]


class SimA(Split):
    """Queries and keys of one L1 norm along the tokens, and no softmax (Koohpayegani and Pirsiavash 2022)."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return F.normalize(q, p=1, dim=-2) @ F.normalize(k, p=1, dim=-2).mT

    def weights(self, scores: Tensor) -> Tensor:
        return scores


class Differential(Split):
    """The difference of two maps."""

    def prepare(self, dim: int, heads: int) -> None:
        self.share = nn.Parameter(torch.full((heads, 1, 1), 0.3))
        self.after = nn.RMSNorm(self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        (q1, q2), (k1, k2) = q.chunk(2, dim=-1), k.chunk(2, dim=-1)
        half = (self.head_dim / 2) ** -0.5
        one, two = (q1 @ k1.mT * half).softmax(dim=-1), (q2 @ k2.mT * half).softmax(dim=-1)
        return self.merge(self.after((one - self.share * two) @ v))


class Linear(Split):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return self.merge(q @ (k.mT @ v) / (q @ k.sum(dim=-2, keepdim=True).mT))


class CrossCovariance(Split):
    """XCiT: channels attend to channels; a depthwise convolution lets tokens meet."""

    def prepare(self, dim: int, heads: int) -> None:
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.mT for part in self.split(x))
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature).softmax(dim=-1)
        y = self.merge((weights @ v).mT)
        return y + self.local(y.mT.unflatten(-1, (SIDE, SIDE))).flatten(2).mT


class Gated(Split):
    def prepare(self, dim: int, heads: int) -> None:
        self.gate = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.sigmoid(self.gate(x))


def case_of(name: str, attention: Any, by_token: bool, quick: bool = False) -> Healthy:
    """`by_token`: beside a class token; otherwise in the model that knows patches only."""
    build = partial(Host, partial(Block, attention)) if by_token else partial(MeanHost, attention)
    return Healthy(f"by hand: attention, {name}", "by hand", build, quick=quick)


CASES = [
    case_of("plain, with a bias of the keys", Split, True),
    case_of("no bias of queries, keys and values", NoKeyBias, False),
    case_of("norms of queries and keys", QKNorm, True),
    case_of("cosine with a learned scale", Cosine, False),
    case_of("learned temperature, not to itself", LocalitySelf, True),
    case_of("divided by the head's width", MuP, True),
    case_of("talking heads", TalkingHeads, True),
    case_of("sigmoid", Sigmoid, True, quick=True),
    case_of("softmax with one more below", Softmax1, False),
    case_of("a sink", Sink, True),
    case_of("the 16 highest scores", TopK, False),
    case_of("scores capped by tanh", SoftCap, True),
    case_of("ReLU over the number of tokens", ReluAttention, True),
    case_of("dot product over the number of tokens", DotProduct, True),
    case_of("SimA", SimA, False),
    case_of("differential", Differential, True),
    case_of("linear", Linear, True, quick=True),
    case_of("across channels", CrossCovariance, False),
    case_of("gated", Gated, False),
]
