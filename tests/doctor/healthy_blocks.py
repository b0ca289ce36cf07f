"""Blocks and start values without a fault that look like one: branches that begin at nothing, norms elsewhere, weights in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from healthy_case import Healthy
from healthy_hosts import DEPTH, DIM, HEADS, Block, Host, N, Split, mlp
from torch import Tensor, nn


class PostNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


class Sandwich(Block):
    """A norm before and behind each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.after1, self.after2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.after1(self.attn(self.norm1(x)))
        return x + self.after2(self.mlp(self.norm2(x)))


class ResPostNorm(Block):
    """Swin v2: the norm behind the branch, none on the stream."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class Parallel(Block):
    """Attention and MLP beside each other, of one norm."""

    def __init__(self) -> None:
        super().__init__()
        del self.norm2

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm1(x)
        return x + self.attn(seen) + self.mlp(seen)


class Scaled(Block):
    """A learned factor for each channel of each branch: LayerScale, or ReZero where it starts at 0."""

    def __init__(self, start: float = 1e-6, shape: tuple[int, ...] = (DIM,)) -> None:
        super().__init__()
        self.gamma1, self.gamma2 = nn.Parameter(torch.full(shape, start)), nn.Parameter(torch.full(shape, start))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma1 * self.attn(self.norm1(x))
        return x + self.gamma2 * self.mlp(self.norm2(x))


class ReZero(Scaled):
    """Without norms, as published."""

    def __init__(self) -> None:
        super().__init__(0.0, ())
        self.norm1 = self.norm2 = nn.Identity()


class ZeroBranches(Block):
    """The last layer of each branch starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        for last in (self.attn.out, self.mlp[3]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


class SwiGLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(DIM, 4 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class ConvMLP(nn.Module):
    """A depthwise convolution between the two layers; tokens stand on their grid, the class token passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(DIM, 2 * DIM), nn.Linear(2 * DIM, DIM)
        self.deep = nn.Conv2d(2 * DIM, 2 * DIM, 3, padding=1, groups=2 * DIM)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x)
        grid = self.deep(y[:, 1:].mT.unflatten(-1, (8, 8))).flatten(2).mT
        return self.down(F.gelu(torch.cat([y[:, :1], grid], dim=1)))


class Experts(nn.Module):
    """Each token goes to the better of two MLPs, without a limit of how many go there."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(DIM, 2), nn.ModuleList([mlp(), mlp()])

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).softmax(-1)
        chosen = F.one_hot(share.argmax(-1), 2) * share
        return sum(expert(x) * chosen[..., i, None] for i, expert in enumerate(self.experts))


class Dropping(Block):
    """Dropout everywhere and stochastic depth, in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp, self.drop = mlp(dropout=0.2), nn.Dropout(0.2)

    def skip(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        return branch * torch.empty(len(branch), 1, 1, dtype=branch.dtype).bernoulli_(0.9) / 0.9

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.skip(self.drop(self.attn(self.norm1(x))))
        x = x + self.skip(self.mlp(self.norm2(x)))
        return F.dropout(x, 0.1, self.training)


class BatchNorms(Block):
    """BatchNorm over channels in the place of LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm1d(DIM), nn.BatchNorm1d(DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x.mT).mT)
        return x + self.mlp(self.norm2(x.mT).mT)


def with_mlp(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def block() -> nn.Module:
        made = Block()
        made.mlp = make()
        return made

    return block


class Albert(Host):
    """One block, again and again."""

    def encode(self, tokens: Tensor) -> Tensor:
        for _ in range(3):
            tokens = self.blocks[0](tokens)
        return self.norm(tokens)


class PostNormHost(Host):
    """Each block ends in a norm: there is none at the end."""

    def prepare(self, dim: int) -> None:
        self.norm = nn.Identity()


class Skips(Host):
    """U-ViT: the first block's tokens come again before the last."""

    def prepare(self, dim: int) -> None:
        self.join = nn.Linear(2 * dim, dim)

    def encode(self, tokens: Tensor) -> Tensor:
        first = self.blocks[0](tokens)
        second = self.blocks[1](first)
        return self.norm(self.blocks[2](self.join(torch.cat([first, second], dim=-1))))


class Torchs(Host):
    """torch's own encoder, whose layers start alike."""

    def __init__(self, pre: bool, batch_first: bool) -> None:
        self.pre, self.batch_first = pre, batch_first
        super().__init__(nn.Identity)

    def prepare(self, dim: int) -> None:
        layer = nn.TransformerEncoderLayer(
            dim, HEADS, 2 * dim, 0.1, norm_first=self.pre, batch_first=self.batch_first, activation="gelu"
        )
        last = nn.LayerNorm(dim) if self.pre else None
        self.blocks = nn.TransformerEncoder(layer, DEPTH, norm=last, enable_nested_tensor=False)
        self.norm = nn.Identity()

    def encode(self, tokens: Tensor) -> Tensor:
        if self.batch_first:
            return self.blocks(tokens)
        return self.blocks(tokens.transpose(0, 1)).transpose(0, 1)


class SequenceFirst(Host):
    """T B D from the first layer to the last, as torch's attention takes it by default."""

    def __init__(self) -> None:
        super().__init__(partial(nn.TransformerEncoderLayer, DIM, HEADS, 2 * DIM, norm_first=True))

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).permute(2, 0, 1)
        return torch.cat([self.cls_token.expand(-1, len(x), -1), tokens]) + self.pos_embed.transpose(0, 1)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[0])


class Functional(nn.Module):
    """No module but the whole: parameters in a dictionary, F.linear, F.layer_norm, sums in place."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"patch": (DIM, 48), "qkv": (3 * DIM, DIM), "mix": (DIM, DIM), "up": (96, DIM), "down": (DIM, 96)}
        self.weights = nn.ParameterDict({name: 0.1 * torch.randn(size) for name, size in sizes.items()})
        self.place, self.out = nn.Parameter(0.02 * torch.randn(N, DIM)), nn.Parameter(0.1 * torch.randn(10, DIM))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weights
        t = F.linear(F.unfold(x, 4, stride=4).mT, w["patch"]) + self.place
        q, k, v = F.linear(F.layer_norm(t, (DIM,)), w["qkv"]).reshape(len(x), N, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), N, DIM)
        t = F.linear(y, w["mix"]).add_(t)
        h = F.linear(F.layer_norm(t, (DIM,)), w["up"]).relu_()
        return F.linear(F.layer_norm(t + h @ w["down"].T, (DIM,)).mean(1), self.out)


def _case(name: str, build: Any, quick: bool = False) -> Healthy:
    return Healthy(f"by hand: {name}", "by hand", build, quick=quick)


CASES = [
    _case("post-norm", partial(PostNormHost, PostNorm)),
    _case("norms before and behind", partial(Host, Sandwich)),
    _case("norms behind the branches", partial(Host, ResPostNorm)),
    _case("parallel branches", partial(Host, Parallel)),
    _case("LayerScale from 1e-6", partial(Host, Scaled), quick=True),
    _case("SkipInit, factors from 0", partial(Host, partial(Scaled, 0.0))),
    _case("ReZero, no norms", partial(Host, ReZero)),
    _case("branches from zero", partial(Host, ZeroBranches), quick=True),
    _case("SwiGLU", partial(Host, with_mlp(SwiGLU))),
    _case("MLP with a convolution", partial(Host, with_mlp(ConvMLP))),
    _case("two experts", partial(Host, with_mlp(Experts))),
    _case("dropout and stochastic depth", partial(Host, Dropping), quick=True),
    _case("batch norm", partial(Host, BatchNorms)),
    _case("one block again and again", partial(Albert, depth=1)),
    _case("skips from first to last", partial(Skips, depth=3)),
    _case("deep and narrow", partial(Host, partial(Block, Split, 24, 2), dim=24, depth=12)),
    _case("torch's encoder, post-norm", partial(Torchs, False, True), quick=True),
    _case("torch's encoder, pre-norm", partial(Torchs, True, True)),
    _case("torch's encoder between transposes", partial(Torchs, True, False)),
    _case("sequence first", SequenceFirst, quick=True),
    _case("functions only", Functional),
]
