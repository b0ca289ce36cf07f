"""Linear attention has no map; heads that a view cuts out across tokens are found in it all the same, and nothing else is accused of that."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose

Host = type[ConvHost] | type[LinearHost]


class ByElu(nn.Module):
    """Katharopoulos et al. 2020, in one projection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = map(self.split, self.qkv(x).chunk(3, dim=-1))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        y = (q @ (k.mT @ v)) / (q @ k.sum(dim=2).unsqueeze(-1))
        return self.out(y.transpose(1, 2).reshape(x.shape))


class ByEluCut(ByElu):
    def split(self, t: Tensor) -> Tensor:
        return t.reshape(t.shape[0], self.heads, t.shape[1], -1)


class Efficient(nn.Module):
    """Shen et al. 2021: two softmaxes, three projections, einsum."""

    pattern = "b n (h d) -> b h n d"

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.q, self.k, self.v, self.back = heads, *(nn.Linear(dim, dim, bias=False) for _ in range(4))

    def split(self, t: Tensor) -> Tensor:
        return rearrange(t, self.pattern, h=self.heads, d=t.shape[-1] // self.heads)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(each(x)) for each in (self.q, self.k, self.v))
        context = torch.einsum("bhnd,bhne->bhde", k.softmax(dim=-2), v)
        y = torch.einsum("bhnd,bhde->bhne", q.softmax(dim=-1), context)
        return self.back(rearrange(y, "b h n d -> b n (h d)"))


class EfficientCut(Efficient):
    def split(self, t: Tensor) -> Tensor:
        return t.contiguous().view(t.shape[0], self.heads, -1, t.shape[-1] // self.heads)


class InWindows(ByElu):
    """One head, and windows where others have heads; beside it a mean, in which windows meet."""

    def split(self, t: Tensor) -> Tensor:
        return rearrange(t, "b (w n) d -> b w n d", w=4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = map(self.split, self.qkv(x).chunk(3, dim=-1))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        y = q @ (k.mT @ v) / (q @ k.sum(dim=2).unsqueeze(-1))
        return self.out(y.flatten(1, 2) + x.mean(dim=1, keepdim=True))


class OfScales(nn.Module):
    """Cai et al. 2023: half of the heads see tokens through a convolution."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(2 * dim, dim)
        self.near = nn.Conv2d(3 * dim, 3 * dim, 5, padding=2, groups=3 * dim)

    def forward(self, x: Tensor) -> Tensor:
        one = self.qkv(x).mT
        extra = one.shape[-1] % 8
        grid = self.near(one[..., extra:].unflatten(-1, (8, 8))).flatten(2)
        both = torch.cat([one, torch.cat([one[..., :extra], grid], dim=-1)], dim=1)
        q, k, v = both.unflatten(1, (2 * self.heads, 3, -1)).mT.unbind(2)
        q, k, v = F.relu(q), F.relu(k), F.pad(v, (0, 1), value=1.0)
        y = q @ (k.mT @ v)
        return self.out((y[..., :-1] / (y[..., -1:] + 1e-6)).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("host", [ConvHost, LinearHost], ids=["65 tokens", "64 tokens"])
@pytest.mark.parametrize("kind", [ByEluCut, EfficientCut])
def test_heads_cut_by_a_view_are_found(kind: type[nn.Module], host: Host) -> None:
    torch.manual_seed(0)
    found = diagnose(host(kind), image_size=32, num_classes=10, checks=["token-mixing"])
    assert [(each.id, each.severity) for each in found.findings] == [("heads-split-across-tokens", "error")]
    evidence = found.findings[0].evidence
    heads = 4 if host is ConvHost else 2
    assert (evidence["heads"], evidence["places_changed_by_head"][0]) == (heads, list(range(heads)))


@pytest.mark.parametrize(
    ("kind", "host"),
    [(kind, host) for kind in (ByElu, Efficient, OfScales) for host in (ConvHost, LinearHost)]
    + [(InWindows, LinearHost)],
)
def test_other_linear_attention_is_accused_of_nothing(kind: type[nn.Module], host: Host) -> None:
    torch.manual_seed(0)
    assert not diagnose(host(kind), image_size=32, num_classes=10, checks=["token-mixing"]).findings
