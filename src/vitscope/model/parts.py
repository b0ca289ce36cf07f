"""The parts of a ViT, in the order in which an image meets them. Each is a few lines; a switch that is off is an `nn.Identity`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from einops import rearrange, repeat
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.attention import attend, split_heads
from vitscope.model.dropout import Dropout
from vitscope.model.paths import AttentionPath
from vitscope.model.position import Rotary
from vitscope.model.spec import ViTSpec

ACTIVATION: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU("tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class LinearPatchEmbedding(nn.Sequential):
    """Cut into patches, one matrix for all: B C H W -> B N D (ViT, equation 1)."""

    def __init__(self, spec: ViTSpec) -> None:
        ph, pw = spec.patch_size
        super().__init__(
            Rearrange("B C (Gh Ph) (Gw Pw) -> B (Gh Gw) (Ph Pw C)", Ph=ph, Pw=pw),
            nn.Linear(spec.patch_dim, spec.dim),
        )


class ConvPatchEmbedding(nn.Sequential):
    """The same function as one strided convolution: B C H W -> B N D."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__(
            nn.Conv2d(spec.channels, spec.dim, kernel_size=spec.patch_size, stride=spec.patch_size),
            Rearrange("B D Gh Gw -> B (Gh Gw) D"),
        )


class ConvTokenizer(nn.Sequential):
    """3×3 convolution, ReLU, 3×3 max pooling of stride 2, so often as asked: B C H W -> B N D (Compact Transformers, section 3.3).

    The ReLU stands behind the pooling, where it is the same function of a quarter of the numbers: both only ever pass on larger ones.
    """

    def __init__(self, spec: ViTSpec) -> None:
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise(spec.tokenizer_channels):
            layers += [nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False), nn.MaxPool2d(3, 2, padding=1), nn.ReLU()]
        super().__init__(*layers, Rearrange("B D Gh Gw -> B (Gh Gw) D"))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        # channels last in memory: pooling on a CPU takes a fraction of the time, and the tokens need no copy
        x: Tensor = super().forward(images.contiguous(memory_format=torch.channels_last))  # type: ignore[no-untyped-call]
        return x


class ClassToken(nn.Module):
    """Puts one learned token in front: B N D -> B 1+N D."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, spec.dim))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B T D"]:
        return torch.cat([repeat(self.token, "1 1 D -> B 1 D", B=x.shape[0]), x], dim=1)


class PatchDropout(nn.Module):
    """In training, keeps a random share of each image's patch tokens: B T D -> B Tk D (PatchDropout, arXiv 2208.07220, section 3)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.prefix = int(spec.class_token)
        self.lay_out(spec)

    def lay_out(self, spec: ViTSpec) -> None:
        """Takes the number of patches from a spec."""
        self.kept = spec.patches_in_training

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Tk D"]:
        if not self.training:
            return x
        patches = x[:, self.prefix :]
        chosen = torch.rand(patches.shape[:2], device=x.device).argsort(dim=1)[:, : self.kept]
        kept = patches.gather(1, chosen.unsqueeze(2).expand(-1, -1, x.shape[2]))
        return torch.cat([x[:, : self.prefix], kept], dim=1) if self.prefix else kept


class Registers(nn.Module):
    """Puts R learned tokens behind the class token: B T D -> B T+R D."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.after = int(spec.class_token)
        self.tokens = nn.Parameter(torch.empty(1, spec.registers, spec.dim))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B TR D"]:
        tokens = repeat(self.tokens, "1 R D -> B R D", B=x.shape[0])
        return torch.cat([x[:, : self.after], tokens, x[:, self.after :]], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention: B T D -> B T D (ViT, appendix A)."""

    attention_path: AttentionPath = "auto"

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim, bias=spec.qkv_bias)
        self.query_norm = nn.LayerNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else nn.Identity()
        self.key_norm = nn.LayerNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else nn.Identity()
        self.rotate = Rotary(spec) if spec.position == "rotary" else nn.Identity()
        self.out = nn.Linear(spec.dim, spec.dim)
        self.dropout = Dropout(spec.dropout_at("projection"))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = split_heads(self.qkv(x), self.heads)
        q, k = self.rotate(self.query_norm(q)), self.rotate(self.key_norm(k))
        x = attend(q, k, v, self.attention_path)
        return self.dropout(self.out(rearrange(x, "B K T E -> B T (K E)")))


class MLP(nn.Sequential):
    """Two linear layers with an activation, for each token by itself: B T D -> B T M -> B T D (ViT, appendix A)."""

    def __init__(self, spec: ViTSpec) -> None:
        p = spec.dropout_at("mlp")
        super().__init__(
            nn.Linear(spec.dim, spec.mlp_width),
            ACTIVATION[spec.activation](),
            Dropout(p),
            nn.Linear(spec.mlp_width, spec.dim),
            Dropout(p),
        )


class LayerScale(nn.Module):
    """One learned factor a channel (arXiv 2103.17239, section 2.1)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(spec.dim))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x * self.scale


class StochasticDepth(nn.Module):
    """In training, drops the whole branch of an image with probability p, and scales the others by 1/(1 - p) (arXiv 1603.09382)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        if not self.training:
            return x
        keep = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.p
        return x * keep / (1 - self.p)


class PreNormBlock(nn.Module):
    """Encoder block, normed before each branch (ViT, equations 2 and 3)."""

    def __init__(self, spec: ViTSpec, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.dim, spec.norm_eps)
        self.attention = Attention(spec)
        self.attention_residual = _branch_end(spec, layer)
        self.mlp_norm = nn.LayerNorm(spec.dim, spec.norm_eps)
        self.mlp = MLP(spec)
        self.mlp_residual = _branch_end(spec, layer)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = x + self.attention_residual(self.attention(self.attention_norm(x)))
        return x + self.mlp_residual(self.mlp(self.mlp_norm(x)))


class PostNormBlock(PreNormBlock):
    """Encoder block, normed after each sum (arXiv 1706.03762, section 3.1)."""

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = self.attention_norm(x + self.attention_residual(self.attention(x)))
        return self.mlp_norm(x + self.mlp_residual(self.mlp(x)))


class ReadClassToken(nn.Module):
    """B T D -> B D: the first token."""

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        return x[:, 0]


class MeanOfPatches(nn.Module):
    """B T D -> B D: the mean of the patch tokens, registers left out."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.prefix = spec.tokens - spec.patches

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        return x[:, self.prefix :].mean(dim=1)


PATCH_EMBEDDING: dict[str, Callable[[ViTSpec], nn.Module]] = {
    "linear": LinearPatchEmbedding,
    "conv": ConvPatchEmbedding,
    "conv-tokenizer": ConvTokenizer,
}
BLOCK: dict[str, Callable[[ViTSpec, int], nn.Module]] = {"pre": PreNormBlock, "post": PostNormBlock}


def _branch_end(spec: ViTSpec, layer: int) -> nn.Module:
    """LayerScale and stochastic depth, where they are on."""
    p = spec.stochastic_depth * (layer / (spec.depth - 1) if spec.depth > 1 else 1.0)
    ends: list[nn.Module] = [LayerScale(spec)] if spec.layer_scale is not None else []
    ends += [StochasticDepth(p)] if p > 0 else []
    return nn.Sequential(*ends) if ends else nn.Identity()
