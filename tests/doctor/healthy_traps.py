"""Read-outs and outputs without a fault that look like one, and all hand-written healthy models together."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import healthy_attentions
import healthy_behind
import healthy_blocks
import healthy_layouts
import healthy_places
import healthy_stems
import torch
import torch.nn.functional as F
from healthy_case import Healthy
from healthy_hosts import DIM, Host, N
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class ZeroHead(Host):
    def prepare(self, dim: int) -> None:
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class LogSoftmax(Host):
    """Its loss is the negative log-likelihood."""

    def read(self, tokens: Tensor) -> Tensor:
        return F.log_softmax(super().read(tokens), dim=-1)


class MeanOfPatches(Host):
    """The class token is attended to, but not read."""

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[:, 1:].mean(dim=1))


class MeanOfAll(Host):
    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class LargestOfAll(Host):
    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.amax(dim=1))


class Both(Host):
    """DINOv2's linear probe: class token and mean of the patches."""

    def prepare(self, dim: int) -> None:
        self.head = nn.Linear(2 * dim, 10)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=-1))


class AllTokens(Host):
    """Every token has weights of its own in the head."""

    def prepare(self, dim: int) -> None:
        self.head = nn.Linear((1 + N) * dim, 10)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.flatten(1))


class ClassTokenLast(Host):
    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return torch.cat([tokens, self.cls_token.expand(len(x), -1, -1)], dim=1) + self.pos_embed

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[:, -1])


class Registers(Host):
    def prepare(self, dim: int) -> None:
        self.registers = nn.Parameter(0.02 * torch.randn(1, 4, dim))

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([super().embed(x), self.registers.expand(len(x), -1, -1)], dim=1)


class TwoClassTokens(Host):
    """DeiT: class token and distillation token, each with its head; their mean counts."""

    def prepare(self, dim: int) -> None:
        self.dist_token, self.head_dist = nn.Parameter(torch.zeros(1, 1, dim)), nn.Linear(dim, 10)

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([super().embed(x), self.dist_token.expand(len(x), -1, -1)], dim=1)

    def read(self, tokens: Tensor) -> Tensor:
        return (self.head(tokens[:, 0]) + self.head_dist(tokens[:, -1])) / 2


class LateClassToken(Host):
    """CaiT: only the last layer knows a class token, and it alone asks there."""

    def prepare(self, dim: int) -> None:
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, N, dim))
        self.ask, self.norm_ask = nn.MultiheadAttention(dim, 4, batch_first=True), nn.LayerNorm(dim)

    def embed(self, x: Tensor) -> Tensor:
        return self.patch(x).flatten(2).mT + self.pos_embed

    def read(self, tokens: Tensor) -> Tensor:
        asking = self.cls_token.expand(len(tokens), -1, -1)
        seen = self.norm_ask(torch.cat([asking, tokens], dim=1))
        return self.head((asking + self.ask(seen[:, :1], seen, seen, need_weights=False)[0])[:, 0])


class SequencePooling(Host):
    """Compact Transformers: a learned weight for each token."""

    def prepare(self, dim: int) -> None:
        self.attention_pool = nn.Linear(dim, 1)

    def read(self, tokens: Tensor) -> Tensor:
        weights = F.softmax(self.attention_pool(tokens), dim=1)
        return self.head(torch.matmul(weights.transpose(-1, -2), tokens).squeeze(-2))


class Neck(Host):
    """Like SAM: tokens on their grid, convolutions, the mean of all places."""

    def prepare(self, dim: int) -> None:
        self.neck = nn.Sequential(nn.Conv2d(dim, 32, 1), nn.Conv2d(32, 32, 3, padding=1), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(32, 10)

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(self.neck(tokens[:, 1:].mT.unflatten(-1, (8, 8))).flatten(1))


class Merging(Host):
    """Half the patches, the least like others, go on alone; the rest is added to the nearest of them (without weights of the sizes)."""

    def encode(self, tokens: Tensor) -> Tensor:
        tokens = self.blocks[0](tokens)
        first, kept, given = tokens[:, :1], tokens[:, 1::2], tokens[:, 2::2]
        to = (F.normalize(given, dim=-1) @ F.normalize(kept, dim=-1).mT).argmax(-1)
        merged = kept.scatter_reduce(1, to[..., None].expand_as(given), given, reduce="mean")
        return self.norm(self.blocks[1](torch.cat([first, merged], dim=1)))


class CosineHead(Host):
    """Cosines with one vector for each class, times a learned scale."""

    def prepare(self, dim: int) -> None:
        self.scale, self.head = nn.Parameter(torch.tensor(16.0)), nn.Linear(dim, 10, bias=False)

    def read(self, tokens: Tensor) -> Tensor:
        return self.scale * F.normalize(tokens[:, 0], dim=-1) @ F.normalize(self.head.weight, dim=-1).T


class WeightNormHead(Host):
    def prepare(self, dim: int) -> None:
        self.head = weight_norm(nn.Linear(dim, 10, bias=False))


class DeepHead(Host):
    """The published ViT's head of pre-training: tanh between two layers; dropout before the last."""

    def prepare(self, dim: int) -> None:
        parts = {"pre_logits": nn.Linear(dim, dim), "act": nn.Tanh(), "drop": nn.Dropout(0.1), "fc": nn.Linear(dim, 10)}
        self.head = nn.Sequential(OrderedDict(parts))


class Pretraining(Host):
    """What only pre-training needs is still there: a mask token and a pooler, both unused."""

    def prepare(self, dim: int) -> None:
        self.mask_token, self.pooler = nn.Parameter(torch.zeros(1, 1, dim)), nn.Linear(dim, dim)


class DroppedPatches(Host):
    """In training a quarter of the patches is left out."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = super().embed(x)
        if not self.training:
            return tokens
        kept = 1 + torch.rand(len(x), N).argsort(dim=1)[:, : N * 3 // 4]
        picked = tokens.gather(1, kept[..., None].expand(-1, -1, DIM))
        return torch.cat([tokens[:, :1], picked], dim=1)


class Returning(Host):
    """Scores and something beside them."""

    kind = "tuple"

    def forward(self, x: Tensor) -> Any:
        tokens = self.encode(self.embed(x))
        scores = self.read(tokens)
        if self.kind == "dict":
            return {"logits": scores, "features": tokens[:, 0]}
        if self.kind == "object":
            return Output(logits=scores, hidden_states=(tokens,))
        return scores, tokens


class Output(OrderedDict[str, Any]):
    """As transformers returns it: by key, by attribute and by number."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]


class ReturningDict(Returning):
    kind = "dict"


class ReturningObject(Returning):
    kind = "object"


class Auxiliary(Host):
    """In training a second head on the first block comes out too."""

    def prepare(self, dim: int) -> None:
        self.second = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Any:
        first = self.blocks[0](self.embed(x))
        scores = self.read(self.norm(self.blocks[1](first)))
        return (scores, self.second(first[:, 0])) if self.training else scores


def _copies() -> nn.Module:
    """Blocks copied from one start."""
    model = Host()
    model.blocks = nn.ModuleList(copy.deepcopy(model.blocks[0]) for _ in range(2))
    return model


def _case(name: str, build: Any, quick: bool = False, loss: str | None = None) -> Healthy:
    return Healthy(f"by hand: {name}", "by hand", build, loss=loss, quick=quick)


CASES = [
    _case("zero head", ZeroHead, quick=True),
    _case("log softmax", LogSoftmax, loss="nll", quick=True),
    _case("mean of the patches, class token unread", MeanOfPatches, quick=True),
    _case("mean of all", MeanOfAll),
    _case("largest of all", LargestOfAll),
    _case("class token and mean", Both),
    _case("all tokens", AllTokens),
    _case("class token last", ClassTokenLast),
    _case("registers", Registers),
    _case("two class tokens", TwoClassTokens),
    _case("late class token", LateClassToken),
    _case("sequence pooling", SequencePooling),
    _case("neck of convolutions", Neck),
    _case("merging", Merging),
    _case("cosine head", CosineHead),
    _case("head with weight norm", WeightNormHead),
    _case("deep head", DeepHead),
    _case("left over from pre-training", Pretraining),
    _case("patch dropout", DroppedPatches),
    _case("returns a tuple", Returning),
    _case("returns a dict", ReturningDict),
    _case("returns an object", ReturningObject),
    _case("second head in training", Auxiliary),
    _case("blocks start alike", _copies),
    *healthy_attentions.CASES,
    *healthy_behind.CASES,
    *healthy_layouts.CASES,
    *healthy_stems.CASES,
    *healthy_places.CASES,
    *healthy_blocks.CASES,
]
