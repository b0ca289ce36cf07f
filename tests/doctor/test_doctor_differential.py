"""Differences of two maps over one head's values are examined like other attention: merged heads are found, nothing else is, and no error ends it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from healthy_case import Healthy
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


class TwoMaps(nn.Module):
    """As Ye et al. 2024 have it: twice as many queries and keys as values, the second map taken from the first."""

    is_merged = False

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads // 2
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.weight, self.norm = nn.Parameter(torch.tensor(0.3)), nn.RMSNorm(2 * self.width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k = (each(x).view(b, n, 2 * self.heads, self.width).transpose(1, 2) for each in (self.q, self.k))
        v = self.v(x).view(b, n, self.heads, 2 * self.width).transpose(1, 2)
        shares = (q @ k.mT * self.width**-0.5).softmax(-1).view(b, self.heads, 2, n, n)
        y = self.norm((shares[:, :, 0] - self.weight * shares[:, :, 1]) @ v) * 0.8
        return self.out(y.reshape(b, n, d) if self.is_merged else y.transpose(1, 2).reshape(b, n, d))


class TwoMapsMerged(TwoMaps):
    is_merged = True


class TwoPairs(nn.Module):
    """Two pairs of queries and keys, in other layouts: windows of heads in the batch."""

    is_merged = False

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.pairs, self.values, self.back = nn.Linear(dim, 4 * dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def fold(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q1, k1, q2, k2 = map(self.fold, self.pairs(x).chunk(4, dim=-1))
        both = torch.bmm(torch.cat([q1, q2]), torch.cat([k1, k2]).mT) / q1.shape[-1] ** 0.5
        first, second = both.softmax(-1).chunk(2)
        y = F.layer_norm(torch.bmm(first - 0.2 * second, self.fold(self.values(x))), (d // self.heads,))
        y = y.view(b, self.heads, n, -1)
        return self.back(y.reshape(b, n, d) if self.is_merged else y.transpose(1, 2).flatten(2))


class TwoPairsMerged(TwoPairs):
    is_merged = True


CASES = [
    (Healthy("two maps", "by hand", lambda: ConvHost(TwoMaps)), []),
    (Healthy("two pairs", "by hand", lambda: LinearHost(TwoPairs)), []),
    (Healthy("two maps, merged", "by hand", lambda: ConvHost(TwoMapsMerged)), ["heads-merged-across-tokens"]),
    (Healthy("two pairs, merged", "by hand", lambda: LinearHost(TwoPairsMerged)), ["heads-merged-across-tokens"]),
]


@pytest.mark.parametrize(("case", "expected"), CASES, ids=[case.name for case, _ in CASES])
def test_differential_attention_is_examined(case: Healthy, expected: list[str]) -> None:
    torch.manual_seed(0)
    found = diagnose(case.build(), image_size=32, num_classes=10, checks=["token-mixing"])
    assert ([each.id for each in found.findings], [each.why.en for each in found.skipped]) == (expected, [])
