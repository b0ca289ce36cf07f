"""Attentions whose weights are none: the softmax over everything, by hand along the wrong axis, taken twice, as a logarithm or not at all (M7, M9),
scores of zero or of a foreign size (M9), a mean that is averaged once more (M10)."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sick_case import Case
from sound_hosts import ConvHost, LinearHost, RegisterHost
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Separate(nn.Module):
    """A layer each for queries, keys and values; `attend` does the rest. `after` is what becomes of the module's answer."""

    def __init__(
        self, attend: Attend, dim: int, heads: int, *, after: Callable[[Tensor], Tensor] = lambda y: y
    ) -> None:
        super().__init__()
        self.attend, self.heads, self.after = attend, heads, after
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.after(self.o(self.attend(q, k, v).transpose(1, 2).flatten(2)))


class SequenceFirst(nn.Module):
    """One layer for all three, tokens in front, heads folded into the batch."""

    def __init__(self, attend: Attend, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attend, self.n_heads = attend, n_heads
        self.in_proj, self.out_proj = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        n, b, d = x.shape
        q, k, v = (t.reshape(n, b * self.n_heads, -1).transpose(0, 1) for t in self.in_proj(x).chunk(3, dim=-1))
        return self.out_proj(self.attend(q, k, v).transpose(0, 1).reshape(n, b, d))


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT * q.shape[-1] ** -0.5


def bare(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.dropout(scores(q, k), 0.1, training=False) @ v


def bare_in_words(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    dots = torch.einsum("bqd,bkd->bqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bqk,bkd->bqd", dots, v)


def integer_scale(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * (1 // q.shape[-1])).softmax(dim=-1) @ v


def integer_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q * (1 // q.shape[-1]) @ k.mT).softmax(dim=-1) @ v


def integer_in_one_operation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1 // q.shape[-1])


def over_a_heads_whole_map(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raw = scores(q, k)
    return raw.flatten(-2).softmax(dim=-1).view_as(raw) @ v


def over_all_maps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raw = scores(q, k)
    return raw.flatten(1).softmax(dim=-1).view_as(raw) @ v


def sums_along_the_keys(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = scores(q, k).exp()
    return raised / raised.sum(dim=-1).unsqueeze(-2) @ v


def shifted_sums_along_the_keys(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raw = scores(q, k)
    raised = torch.exp(raw - raw.amax(dim=-1, keepdim=True))
    return raised * raised.sum(dim=-1).reciprocal()[:, None] @ v


def sums_over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = scores(q, k).exp()
    return torch.div(raised, raised.sum(dim=-2, keepdim=True)) @ v


def logarithms(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.log_softmax(scores(q, k), dim=-1) @ v


def logarithm_of_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scores(q, k).softmax(dim=-1).log().matmul(v)


def twice(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scores(q, k).softmax(dim=-1).softmax(dim=-1) @ v


def sigmoid_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scores(q, k).sigmoid().softmax(dim=-1) @ v


def over_the_square(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 2).softmax(dim=-1) @ v


def over_the_tokens(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q / q.shape[-2], k, v, scale=1.0)


def times_the_tokens(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-2]).softmax(dim=-1) @ v


def averaged(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scores(q, k).softmax(dim=-1) @ v / v.shape[-2]


def averaged_map(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scores(q, k).softmax(dim=-1).div(k.shape[-2]) @ v


def averaged_values(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v / v.shape[-2])


def separate(attend: Attend) -> Callable[[int, int], nn.Module]:
    return partial(Separate, attend)


def sequence_first(attend: Attend) -> Callable[[int, int], nn.Module]:
    return partial(SequenceFirst, attend)


def averaged_answer(dim: int, heads: int) -> nn.Module:
    return Separate(F.scaled_dot_product_attention, dim, heads, after=lambda y: y / y.shape[1])


WEIGHED: dict[str, tuple[str, str, str, Callable[[], nn.Module]]] = {
    "integer-scale": ("M9", "error", "scores-without-influence", lambda: ConvHost(separate(integer_scale))),
    "integer-queries": ("M9", "error", "scores-without-influence", lambda: LinearHost(separate(integer_queries))),
    "integer-scale-in-one-operation": (
        "M9",
        "error",
        "scores-without-influence",
        lambda: RegisterHost(sequence_first(integer_in_one_operation)),
    ),
    "softmax-over-a-map": (
        "M7",
        "error",
        "softmax-over-the-wrong-axis",
        lambda: LinearHost(separate(over_a_heads_whole_map)),
    ),
    "softmax-over-all-maps": ("M7", "error", "softmax-over-the-wrong-axis", lambda: ConvHost(separate(over_all_maps))),
    "sums-along-the-keys": (
        "M7",
        "error",
        "softmax-over-the-wrong-axis",
        lambda: LinearHost(separate(sums_along_the_keys)),
    ),
    "shifted-sums-along-the-keys": (
        "M7",
        "error",
        "softmax-over-the-wrong-axis",
        lambda: RegisterHost(sequence_first(shifted_sums_along_the_keys)),
    ),
    "sums-over-queries": ("M7", "error", "softmax-over-the-wrong-axis", lambda: ConvHost(separate(sums_over_queries))),
    "log-softmax-weights": ("M7", "error", "weights-are-logarithms", lambda: LinearHost(separate(logarithms))),
    "logarithm-of-softmax": (
        "M7",
        "error",
        "weights-are-logarithms",
        lambda: RegisterHost(sequence_first(logarithm_of_softmax)),
    ),
    "no-softmax": ("M7", "warning", "softmax-missing", lambda: ConvHost(separate(bare))),
    "no-softmax-in-words": (
        "M7",
        "warning",
        "softmax-missing",
        lambda: RegisterHost(sequence_first(bare_in_words)),
    ),
    "softmax-twice": ("M9", "warning", "weights-always-nearly-even", lambda: ConvHost(separate(twice))),
    "sigmoid-before-softmax": (
        "M9",
        "warning",
        "weights-always-nearly-even",
        lambda: RegisterHost(sequence_first(sigmoid_before)),
    ),
    "over-the-square": ("M9", "warning", "scaled-by-another-number", lambda: LinearHost(separate(over_the_square))),
    "over-the-tokens": (
        "M9",
        "warning",
        "scaled-by-another-number",
        lambda: RegisterHost(sequence_first(over_the_tokens)),
    ),
    "times-the-tokens": ("M9", "warning", "scaled-by-another-number", lambda: ConvHost(separate(times_the_tokens))),
    "averaged": ("M10", "error", "averaged-behind-the-softmax", lambda: ConvHost(separate(averaged))),
    "averaged-map": ("M10", "error", "averaged-behind-the-softmax", lambda: RegisterHost(sequence_first(averaged_map))),
    "averaged-values": ("M10", "error", "averaged-behind-the-softmax", lambda: LinearHost(separate(averaged_values))),
    "averaged-answer": ("M10", "error", "averaged-behind-the-softmax", lambda: LinearHost(averaged_answer)),
}
"""By name: mode, severity, the fault that is found, the model."""
CASES: tuple[Case, ...] = tuple(
    Case(name, mode, "attention", severity, build) for name, (mode, severity, _, build) in WEIGHED.items()
)
