"""ViTs that are well in evaluation mode and another model in training (T19, M12, L11), and ones whose scores are the batch's (M1)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class TrainedViT(nn.Module):
    """Sound, but for what those who extend it do in training mode."""

    def __init__(self, dim: int = 32, depth: int = 2, drop: float = 0.0, attn_drop: float = 0.0) -> None:
        super().__init__()
        self.embed, self.pos = nn.Conv2d(3, dim, 8, 8), nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth))
        self.attns = nn.ModuleList(
            nn.MultiheadAttention(dim, 2, dropout=attn_drop, batch_first=True) for _ in range(depth)
        )
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Dropout(drop), nn.Linear(64, dim)) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def encode(self, x: Tensor) -> Tensor:
        for i, (attn, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            h = self.norms[2 * i](x)
            x = x + attn(h, h, h, need_weights=False)[0]
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.norm(x)

    def read(self, x: Tensor) -> Tensor:
        return self.head(x.mean(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.encode(self.embed(images).flatten(2).transpose(1, 2) + self.pos))


class OwnViT(nn.Module):
    """Written by somebody else: one projection, a class token, an attention of its own."""

    def __init__(self, d: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches, self.cls = nn.Linear(192, d), nn.Parameter(torch.randn(d) * 0.02)
        self.pos = nn.Parameter(torch.randn(17, d) * 0.02)
        self.qkv = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(d, d) for _ in range(2))
        self.ff = nn.ModuleList(
            nn.Sequential(nn.RMSNorm(d), nn.Linear(d, 64), nn.SiLU(), nn.Linear(64, d)) for _ in range(2)
        )
        self.rms, self.out = nn.ModuleList(nn.RMSNorm(d) for _ in range(3)), nn.Linear(d, 10)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def block(self, x: Tensor, i: int) -> Tensor:
        q, k, v = rearrange(self.qkv[i](self.rms[i](x)), "b n (s h e) -> s b h n e", s=3, h=self.heads)
        x = x + self.proj[i](rearrange(self.attend(q, k, v), "b h n e -> b n (h e)"))
        return x + self.ff[i](x)

    def finish(self, cls: Tensor) -> Tensor:
        return self.out(self.rms[2](cls))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=8, q=8))
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1) + self.pos
        for i in range(2):
            x = self.block(x, i)
        return self.finish(x[:, 0])


# T19: the scores of another image


class FlippedViT(TrainedViT):
    """A random flip that took the batch's axis for the image's."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flip(0) if self.training else images)


class ShuffledViT(OwnViT):
    """Shuffles in training what goes to the head, and not the labels."""

    def finish(self, cls: Tensor) -> Tensor:
        return super().finish(cls[torch.randperm(len(cls), device=cls.device)] if self.training else cls)


# M12, in training only


class SoftmaxInTrainingViT(TrainedViT):
    def read(self, x: Tensor) -> Tensor:
        scores = super().read(x)
        return scores.softmax(dim=-1) if self.training else scores


class TurnedRoundViT(OwnViT):
    """`not` is missing."""

    def finish(self, cls: Tensor) -> Tensor:
        scores = super().finish(cls)
        return torch.exp(F.log_softmax(scores, dim=1)) if self.training else scores


# T19: what training does not reach


class DetachingViT(TrainedViT):
    def read(self, x: Tensor) -> Tensor:
        return super().read(x.detach() if self.training else x)


class SkippingViT(OwnViT):
    """Stochastic depth whose condition is always true."""

    def block(self, x: Tensor, i: int) -> Tensor:
        return x if self.training and torch.rand(()) < 1.5 else super().block(x, i)


class NoGradViT(TrainedViT):
    def encode(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.training):
            return super().encode(x)


class MovedViT(OwnViT):
    """In evaluation the class token loses its place."""

    def finish(self, cls: Tensor) -> Tensor:
        return super().finish(cls if self.training else cls - self.pos[0])


class OtherPoolViT(TrainedViT):
    """Trained on the mean, judged by the first token."""

    def read(self, x: Tensor) -> Tensor:
        return self.head(x.mean(dim=1) if self.training else x[:, 0])


# L11


class AllDroppedViT(OwnViT):
    """The share to keep, as other libraries ask for it."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        a = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        return F.dropout(a, 1.0, self.training) @ v


class FusedAllDroppedViT(OwnViT):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=1.0 if self.training else 0.0)


# M1: the scores are the batch's


class MeanOverBatchViT(TrainedViT):
    """A token's mean over the images is read as an image's over its tokens."""

    def read(self, x: Tensor) -> Tensor:
        return self.head(x.mean(0))[: len(x)]


class OneForAllViT(OwnViT):
    """All images get the mean of the batch."""

    def finish(self, cls: Tensor) -> Tensor:
        return super().finish(cls.mean(dim=0, keepdim=True)).expand(len(cls), -1)


# M28


class WarmingUpViT(TrainedViT):
    """Counts its calls, whatever they are for."""

    calls = 0

    def read(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().read(x) * (1 + 0.01 * self.calls)


class DriftingViT(OwnViT):
    """A temperature that follows what it has seen, outside of any buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(())

    def finish(self, cls: Tensor) -> Tensor:
        self.scale = 0.9 * self.scale + 0.1 * cls.detach().std()
        return super().finish(cls) / self.scale


CASES: tuple[Case, ...] = (
    Case("batch-flipped", "T19", "determinism", "error", FlippedViT),
    Case("batch-shuffled", "T19", "determinism", "error", ShuffledViT),
    Case("softmax-in-training", "M12", "determinism", "warning", SoftmaxInTrainingViT),
    Case("softmax-turned-round", "M12", "determinism", "error", TurnedRoundViT, loss="cross-entropy"),
    Case("detached-in-training", "T19", "determinism", "error", DetachingViT),
    Case("blocks-skipped-in-training", "T19", "determinism", "error", SkippingViT),
    Case("no-grad-in-training", "T19", "determinism", "error", NoGradViT),
    Case("moved-in-evaluation", "T19", "determinism", "note", MovedViT),
    Case("other-pool-in-evaluation", "T19", "determinism", "note", OtherPoolViT),
    Case("attention-dropped", "L11", "determinism", "error", AllDroppedViT),
    Case("fused-attention-dropped", "L11", "determinism", "error", FusedAllDroppedViT),
    Case("mha-dropped", "L11", "determinism", "error", lambda: TrainedViT(attn_drop=1.0)),
    Case("mlp-dropped", "L11", "determinism", "warning", lambda: TrainedViT(drop=0.9)),
    Case("mean-over-the-batch", "M1", "batch-independence", "error", MeanOverBatchViT),
    Case("one-mean-for-all", "M1", "batch-independence", "error", OneForAllViT),
    Case("counts-its-calls", "M28", "forward", "warning", WarmingUpViT),
    Case("drifts", "M28", "forward", "warning", DriftingViT),
)
