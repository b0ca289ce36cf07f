"""`bad-vit`: images in, scores out. A ViT on `nn.MultiheadAttention`; `print` shows what `spec/bad_vit.txt` shows, whatever the fault.

Here it stands as it is right (`bad-vit:none`). The readings under which it is not are in `exhibits.py`, each as the few lines
that differ. Start values are DeiT's for position and class token (truncated normal, 0.02), PyTorch's for the layers.
What the print leaves open and is chosen here: no dropout on the attention probabilities; the block's dropout stands on the attention
output only, the MLP's own behind the activation and behind fc2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.dropout import Dropout
from vitscope.model.specimens.spec import BadViTSpec
from vitscope.model.vit import check_images


class PatchEmbedding(nn.Module):
    """One strided convolution: B C H W -> B N D."""

    def __init__(self, spec: BadViTSpec) -> None:
        super().__init__()
        self.proj = nn.Conv2d(spec.channels, spec.dim, kernel_size=spec.patch_size, stride=spec.patch_size)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        return self.proj(x).flatten(2).transpose(1, 2)


class MLP(nn.Module):
    """fc1, activation, fc2, each token by itself: B T D -> B T D."""

    def __init__(self, spec: BadViTSpec) -> None:
        super().__init__()
        self.fc1 = nn.Linear(spec.dim, spec.mlp_dim)
        self.fc2 = nn.Linear(spec.mlp_dim, spec.dim)
        self.act = nn.GELU()
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = self.dropout(self.act(self.fc1(x)))
        return self.dropout(self.fc2(x))


class TransformerEncoderBlock(nn.Module):
    """Pre-norm block: B T D -> B T D."""

    def __init__(self, spec: BadViTSpec, parts: Parts) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(spec.dim)
        self.attn = nn.MultiheadAttention(spec.dim, spec.heads, batch_first=parts.batch_first)
        self.norm2 = nn.LayerNorm(spec.dim)
        self.mlp = parts.mlp(spec)
        self.dropout = Dropout(spec.dropout)

    def attend(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        # Asking for the weights, which nobody reads, keeps torch off its fused kernel; see docs/lab-notes.md.
        return self.attn(x, x, x, need_weights=True)[0]

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """The bad one, with nothing wrong yet: images B C H W -> scores B Y."""

    def __init__(self, spec: BadViTSpec, parts: Parts) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = parts.patch_embedding(spec)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, spec.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, spec.patches + 1, spec.dim))
        self.pos_drop = Dropout(spec.dropout)
        self.blocks = nn.ModuleList(parts.block(spec, parts) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.dim)
        self.head = nn.Linear(spec.dim, spec.classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def embed(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        return self.pos_drop(x + self.pos_embed)

    def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Y"]:
        return self.head(self.norm(x)[:, 0])

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B Y"]:
        check_images(images, self.spec)
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.read_out(x)


@dataclass(frozen=True)
class Parts:
    """Which classes a `bad-vit` is put together from; an exhibit swaps one or two for its own of the same name."""

    vit: type[ViT] = ViT
    patch_embedding: type[PatchEmbedding] = PatchEmbedding
    block: type[TransformerEncoderBlock] = TransformerEncoderBlock
    mlp: type[MLP] = MLP
    batch_first: bool = True


def build_bad_vit(spec: BadViTSpec) -> nn.Module:
    """The bad specimen of these sizes under the spec's fault; 2,102,218 parameters with the printed ones."""
    from vitscope.model.specimens.exhibits import EXHIBITS

    parts = EXHIBITS[spec.fault]
    return parts.vit(spec, parts)
