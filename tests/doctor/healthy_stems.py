"""Ways into a ViT without a fault: patches cut in many hands, and convolutions that overlap."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops.layers.torch import Rearrange
from healthy_case import Healthy
from healthy_hosts import PATCH, SIDE, Host, N
from torch import Tensor, nn

PIXELS = 3 * PATCH * PATCH


class Cut(Host):
    """Patches as vectors, then a linear layer: each subclass cuts in its own way."""

    def prepare(self, dim: int) -> None:
        self.patch = nn.Linear(PIXELS, dim)

    def cut(self, x: Tensor) -> Tensor:
        return x.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5).reshape(len(x), N, PIXELS)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(self.cut(x))
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed


class CutByUnfold(Cut):
    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.unfold = nn.Unfold(kernel_size=PATCH, stride=PATCH)

    def cut(self, x: Tensor) -> Tensor:
        return self.unfold(x).transpose(1, 2)


class CutByReshape(Cut):
    def cut(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 3, SIDE, PATCH, SIDE, PATCH)
        return torch.einsum("nchpwq->nhwpqc", x).reshape(-1, N, PIXELS)


class CutByRearrange(Cut):
    """Down the columns first: any order of the patches will do."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.cutter = Rearrange("b c (h p1) (w p2) -> b (w h) (c p1 p2)", p1=PATCH, p2=PATCH)

    def cut(self, x: Tensor) -> Tensor:
        return self.cutter(x)


class CutBySlices(Cut):
    def cut(self, x: Tensor) -> Tensor:
        steps = [(i, j) for i in range(0, 32, PATCH) for j in range(0, 32, PATCH)]
        return torch.stack([x[:, :, i : i + PATCH, j : j + PATCH].flatten(1) for i, j in steps], dim=1)


class CutByStrides(Cut):
    """One view with strides of its own, no copy before the last reshape."""

    def cut(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        b, c, h, w = x.stride()
        view = x.as_strided((len(x), SIDE, SIDE, 3, PATCH, PATCH), (b, PATCH * h, PATCH * w, c, h, w))
        return view.reshape(len(x), N, PIXELS)


class CutByPixelUnshuffle(Cut):
    def cut(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, PATCH).permute(0, 2, 3, 1).flatten(1, 2)


class Grey(Host):
    """With one channel, unfold and reshape need no permute between them."""

    def prepare(self, dim: int) -> None:
        self.patch = nn.Linear(PATCH * PATCH, dim)

    def embed(self, x: Tensor) -> Tensor:
        cut = x.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).reshape(len(x), N, PATCH * PATCH)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(cut)], dim=1) + self.pos_embed


class Stem(Host):
    """A convolutional stem that ends on the same grid; all tokens are patches."""

    placed, by_batch, pooled = True, False, False

    def prepare(self, dim: int) -> None:
        widths = (3, dim // 2, dim)
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            step = 1 if self.pooled else 2
            parts.append(nn.Conv2d(before, after, 3, step, padding=1, bias=not self.by_batch))
            parts.append(nn.BatchNorm2d(after) if self.by_batch else nn.Identity())
            parts += [nn.ReLU(), nn.MaxPool2d(3, 2, 1) if self.pooled else nn.Identity()]
        self.patch = nn.Sequential(*parts, nn.Conv2d(dim, dim, 1))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, N, dim)) if self.placed else None
        del self.cls_token

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return tokens if self.pos_embed is None else tokens + self.pos_embed

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(1))


class StemWithoutPositions(Stem):
    placed = False


class StemOfBatchNorms(Stem):
    by_batch = True


class StemThatFades(Stem):
    """MobileViT's way: many convolutions that start small, each with a batch norm. Before the first batch nothing is normalised, and what is left of
    the picture behind them is less than float64 tells from nothing."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        layers: list[nn.Module] = [self.patch]
        for _ in range(8):
            layers += [nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()]
            nn.init.normal_(layers[-3].weight, std=0.001)  # type: ignore[arg-type]
        self.patch = nn.Sequential(*layers)


class StemOfPooling(Stem):
    """Compact Transformers: convolution, ReLU, pooling, and no position."""

    placed, pooled = False, True


class Overlap(Stem):
    """One convolution whose kernel is wider than its step."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.patch = nn.Conv2d(3, dim, 7, PATCH, padding=3)


class Shifted(Stem):
    """Shifted patch tokenization: each patch beside the four of the image moved by half a patch."""

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.patch = nn.Sequential(nn.LayerNorm(5 * PIXELS), nn.Linear(5 * PIXELS, dim))

    def embed(self, x: Tensor) -> Tensor:
        half = PATCH // 2
        sides = ((0, 0, 0, 0), (half, -half, 0, 0), (-half, half, 0, 0), (0, 0, half, -half), (0, 0, -half, half))
        seen = torch.cat([F.pad(x, side) for side in sides], dim=1)
        return self.patch(F.unfold(seen, PATCH, stride=PATCH).mT) + self.pos_embed


class Hybrid(Stem):
    """Residual convolutions, then tokens; the positions are a depthwise convolution."""

    placed = False

    def prepare(self, dim: int) -> None:
        super().prepare(dim)
        self.body = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.GroupNorm(4, dim), nn.ReLU())
        self.where = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def embed(self, x: Tensor) -> Tensor:
        grid = self.patch(x)
        grid = grid + self.body(grid)
        return (grid + self.where(grid)).flatten(2).mT


def case_of(name: str, build: Any, quick: bool = False, channels: int = 3) -> Healthy:
    return Healthy(f"by hand: {name}", "by hand", build, channels=channels, quick=quick)


CASES = [
    case_of("plain", Host, quick=True),
    case_of("cut by unfold and permute", Cut),
    case_of("cut by nn.Unfold and transpose", CutByUnfold, quick=True),
    case_of("cut by reshape and einsum", CutByReshape),
    case_of("cut by einops, columns first", CutByRearrange),
    case_of("cut by slices", CutBySlices),
    case_of("cut by strides", CutByStrides),
    case_of("cut by pixel_unshuffle", CutByPixelUnshuffle),
    case_of("grey, unfold and reshape", Grey, quick=True, channels=1),
    case_of("grey, convolution", partial(Host, channels=1), channels=1),
    case_of("convolutions that overlap", Stem),
    case_of("convolutions without positions", StemWithoutPositions, quick=True),
    case_of("convolutions with batch norm", StemOfBatchNorms),
    case_of("convolutions that fade until batch norm has seen a batch", StemThatFades, quick=True),
    case_of("convolutions and pooling, no positions", StemOfPooling),
    case_of("one wide convolution", Overlap),
    case_of("shifted patches", Shifted),
    case_of("hybrid, position by convolution", Hybrid),
]
