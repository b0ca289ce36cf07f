"""ViTs whose attentions have no softmax of torch's: written out, or none at all (linear, sigmoid), and one fault (M3, M4, M7, M8, M18)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sick_case import Case
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

Core = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values B K T E in, tokens of each head out."""


def shares(scores: Tensor, dim: int = -1) -> Tensor:
    raised = torch.exp(scores - scores.amax(dim, keepdim=True))
    return raised / raised.sum(dim, keepdim=True)


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return shares(q @ k.mT * q.shape[-1] ** -0.5) @ v


def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return shares(q @ k.mT) @ v


def unscaled_by_logarithms(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k)
    return torch.einsum("bhij,bhjd->bhid", (scores - scores.logsumexp(dim=-1, keepdim=True)).exp(), v)


def shares_of_shares(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A softmax that is written out, and torch's behind it."""
    raised = (q @ k.mT * q.shape[-1] ** -0.5).exp()
    return (raised / raised.sum(dim=-1, keepdim=True)).softmax(dim=-1) @ v


def scaled_behind(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = (q @ k.mT).exp()
    return raised / raised.sum(dim=-1, keepdim=True) * q.shape[-1] ** -0.5 @ v


def scaled_shares(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return shares(torch.einsum("bhid,bhjd->bhij", q, k)).div(q.shape[-1] ** 0.5) @ v


def over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return shares(q @ k.mT * q.shape[-1] ** -0.5, dim=-2) @ v


def over_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).exp()
    return torch.div(raised, raised.sum(dim=1, keepdim=True)) @ v


def later_than(q: Tensor) -> Tensor:
    return torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return shares((q @ k.mT * q.shape[-1] ** -0.5).masked_fill(later_than(q), -1e9)) @ v


def causal_triangle(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = (q @ k.mT * q.shape[-1] ** -0.5).exp() * torch.tril(q.new_ones(q.shape[-2], q.shape[-2]))
    return (raised / raised.sum(-1, keepdim=True)) @ v


def causal_sigmoid(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT * q.shape[-1] ** -0.5 - torch.tensor(float(k.shape[-2])).log()
    return torch.sigmoid(scores.masked_fill(later_than(q), -torch.inf)) @ v


def causal_rectified(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.relu(q @ k.mT).masked_fill(later_than(q), 0) / k.shape[-2] @ v


def only_itself_with_a_sink(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A mask the wrong way round."""
    apart = ~torch.eye(q.shape[-2], dtype=torch.bool, device=q.device)
    raised = (q @ k.mT * q.shape[-1] ** -0.5).exp().masked_fill(apart, 0)
    return (raised / (1 + raised.sum(dim=-1, keepdim=True))) @ v


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Katharopoulos et al. 2020."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    beneath = torch.einsum("bhnd,bhd->bhn", q, k.sum(dim=2))
    return torch.einsum("bhnd,bhde->bhne", q, torch.einsum("bhnd,bhne->bhde", k, v)) / beneath.unsqueeze(-1)


def efficient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Shen et al. 2021."""
    return q.softmax(dim=-1) @ (k.softmax(dim=-2).mT @ v)


def sigmoid(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Ramapuram et al. 2024."""
    return torch.sigmoid(q @ k.mT * q.shape[-1] ** -0.5 - torch.tensor(float(k.shape[-2])).log()) @ v


def with_a_sink(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One more in the sum of the exponentials: "softmax1"."""
    raised = (q @ k.mT * q.shape[-1] ** -0.5).exp()
    return (raised / (1 + raised.sum(dim=-1, keepdim=True))) @ v


def rectified(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Wortsman et al. 2023."""
    return F.relu(q @ k.mT * q.shape[-1] ** -0.5) / k.shape[-2] @ v


class OfCore(nn.Module):
    def __init__(self, core: Core, dim: int, heads: int) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(self.core(q, k, v).transpose(1, 2).flatten(2))


class OfCoreApart(OfCore):
    """Attention between the heads of one token: the transpose in front of the tokens was forgotten."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 1, 3, 4)
        return self.proj(self.core(q, k, v).flatten(2))


class WithoutSkips(ConvHost):
    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block.mlp(block.norm2(block.attn(block.norm1(x))))  # type: ignore[operator, union-attr]
        return self.head(self.norm(x)[:, 0])


class CutWrong(LinearHost):
    def forward(self, img: Tensor) -> Tensor:
        return super().forward(img.reshape(len(img), 8, 8, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(img.shape))


CORES: dict[str, Core] = {
    "written-out": written_out,
    "linear": linear,
    "efficient": efficient,
    "sigmoid": sigmoid,
    "sink": with_a_sink,
    "rectified": rectified,
}
CASES = [
    *(
        Case(f"no-skips-{name}", "M18", "residual", "warning", partial(WithoutSkips, partial(OfCore, core)))
        for name, core in CORES.items()
    ),
    *(
        Case(f"cut-wrong-{name}", "M4", "patch-layout", "error", partial(CutWrong, partial(OfCore, core)))
        for name, core in CORES.items()
    ),
    *(
        Case(f"apart-{name}", "M3", "token-mixing", "error", partial(ConvHost, partial(OfCoreApart, CORES[name])))
        for name in ("written-out", "sigmoid", "rectified")
    ),
    Case("over-queries", "M7", "attention", "error", partial(LinearHost, partial(OfCore, over_queries))),
    Case("over-heads", "M7", "attention", "error", partial(ConvHost, partial(OfCore, over_heads))),
    Case("unscaled", "M8", "attention", "warning", partial(ConvHost, partial(OfCore, unscaled))),
    Case("unscaled-log", "M8", "attention", "warning", partial(LinearHost, partial(OfCore, unscaled_by_logarithms))),
    Case("twice", "M9", "attention", "warning", partial(ConvHost, partial(OfCore, shares_of_shares))),
    Case("behind", "M10", "attention", "error", partial(ConvHost, partial(OfCore, scaled_behind))),
    Case("behind-shares", "M10", "attention", "error", partial(LinearHost, partial(OfCore, scaled_shares))),
    Case("causal", "M3", "token-mixing", "error", partial(ConvHost, partial(OfCore, causal))),
    Case("causal-sigmoid", "M3", "token-mixing", "error", partial(LinearHost, partial(OfCore, causal_sigmoid))),
    Case("causal-rectified", "M3", "token-mixing", "error", partial(ConvHost, partial(OfCore, causal_rectified))),
    Case("alone-sink", "M3", "token-mixing", "error", partial(ConvHost, partial(OfCore, only_itself_with_a_sink))),
    Case("causal-triangle", "M3", "token-mixing", "error", partial(LinearHost, partial(OfCore, causal_triangle))),
]
