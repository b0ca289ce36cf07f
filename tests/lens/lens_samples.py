"""Tiny random ViTs of every family that the lens is for, and what is known of each; peers that are not installed are left to skip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.bench.torchvision_names import make_torchvision_importable
from vitscope.model.create import create_model

SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 4,
    "num_classes": 10,
}
OURS: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "dim": 48,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 96,
    "classes": 10,
}


@dataclass(frozen=True)
class Family:
    """How to build one, and what the lens must find: tokens that are no patches, and how many tokens the head reads."""

    build: Callable[[], nn.Module]
    extra: int
    reads: int
    needs: str | None = None
    fused: bool | None = None


class SequenceFirst(nn.Module):
    """Tokens stand first, T B D, as torch's attention takes them by default."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 48, 8, 8)
        self.first = nn.Parameter(torch.randn(1, 1, 48))
        self.place = nn.Parameter(torch.randn(17, 1, 48))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(48, 4, 96, norm_first=True) for _ in range(2))
        self.out = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).permute(2, 0, 1)
        tokens = torch.cat([self.first.expand(-1, len(x), -1), tokens]) + self.place
        for layer in self.layers:
            tokens = layer(tokens)
        scores: Tensor = self.out(tokens[0])
        return scores


class ByHand(nn.Module):
    """Blocks without modules of their own, einsum, operations in place, registers behind the patches, no position, an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Linear(192, 48)
        self.first, self.registers = nn.Parameter(torch.randn(1, 1, 48)), nn.Parameter(torch.randn(1, 3, 48))
        self.qkv = nn.ModuleList(nn.Linear(48, 144) for _ in range(2))
        self.mix = nn.ModuleList(nn.Linear(48, 48) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(48, 96) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(96, 48) for _ in range(2))
        self.norm = nn.RMSNorm(48)
        self.out = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        B = len(x)
        patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(B, 16, 192)
        tokens = torch.cat([self.first.expand(B, -1, -1), self.cut(patches), self.registers.expand(B, -1, -1)], dim=1)
        for qkv, mix, wide, narrow in zip(self.qkv, self.mix, self.wide, self.narrow, strict=True):
            q, k, v = qkv(self.norm(tokens)).view(B, -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
            scores = torch.einsum("bhqe,bhke->bhqk", q, k)
            scores *= 12**-0.5
            mixed = torch.einsum("bhqk,bhke->bhqe", scores.softmax(dim=-1), v)
            tokens += mix(mixed.transpose(1, 2).flatten(2))
            tokens = tokens + narrow(torch.relu_(wide(self.norm(tokens))))
        return self.out(self.norm(tokens)[:, 0]), None


class KeysFirst(nn.Module):
    """One block whose map stands on its side: keys down, queries across, softmax down the columns, values from the left."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.place = nn.Conv2d(3, 48, 8, 8), nn.Parameter(torch.randn(1, 16, 48))
        self.q, self.k, self.v = (nn.Linear(48, 48) for _ in range(3))
        self.out = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).mT + self.place
        side = torch.softmax(self.k(tokens) @ self.q(tokens).mT / 48**0.5, dim=1)
        tokens = tokens + (self.v(tokens).mT @ side).mT
        scores: Tensor = self.out(tokens.mean(dim=1))
        return scores


def _timm(room: str, name: str, fused: bool, **settings: Any) -> nn.Module:
    make_torchvision_importable()
    import_module("timm.layers").set_fused_attn(fused)
    made: nn.Module = getattr(import_module(f"timm.models.{room}"), name)(**SIZES, **settings)
    return made


def _timm_part(name: str) -> Any:
    return getattr(import_module("timm.models.vision_transformer"), name)


def _transformers(name: str, attention: str) -> nn.Module:
    make_torchvision_importable()
    library = import_module("transformers")
    words = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    kind = {"ViT": "ViTForImageClassification", "DeiT": "DeiTForImageClassificationWithTeacher"}
    config = getattr(library, f"{name}Config")(image_size=32, patch_size=8, num_labels=10, **words)
    made: nn.Module = getattr(library, kind.get(name, f"{name}ForImageClassification"))._from_config(
        config, attn_implementation=attention
    )
    return made


def _torchvision() -> nn.Module:
    make_torchvision_importable()
    kind = import_module("torchvision.models").VisionTransformer
    made: nn.Module = kind(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=48, mlp_dim=96, num_classes=10
    )
    nn.init.normal_(made.heads.head.weight)  # type: ignore[union-attr, arg-type]  it starts at zero, where all scores are alike
    return made


def _vit_pytorch(name: str) -> nn.Module:
    make_torchvision_importable()
    words = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96}
    made: nn.Module = getattr(import_module("vit_pytorch"), name)(**words, dim_head=12)
    return made


FAMILIES: dict[str, Family] = {
    "vitscope": Family(lambda: create_model("vit-ti4-32", **OURS), 1, 1),
    "vitscope, mean, registers, sincos, post": Family(
        lambda: create_model("vit-ti4-32", **OURS, pooling="mean", registers=2, position="sincos", norm="post"), 2, 16
    ),
    "vitscope, rotary, qk norm": Family(
        lambda: create_model("vit-ti4-32", **OURS, position="rotary", qk_norm=True), 1, 1
    ),
    "vitscope, tokenizer": Family(
        lambda: create_model("vit-ti4-32", **OURS, patch_embedding="conv-tokenizer", tokenizer_layers=3), 1, 1
    ),
    "good-vit": Family(lambda: create_model("good-vit", depth=2), 1, 1),
    "bad-vit": Family(lambda: create_model("bad-vit", depth=2), 1, 1),
    "bad-vit:none": Family(lambda: create_model("bad-vit:none", depth=2), 1, 1),
    "sequence first": Family(SequenceFirst, 1, 1, fused=True),
    "by hand": Family(ByHand, 4, 1, fused=False),
    "keys first": Family(KeysFirst, 0, 16, fused=False),
    **{
        f"timm {name}, {'fused' if fused else 'explicit'}": Family(build, extra, reads, "timm", fused)
        for fused in (True, False)
        for name, extra, reads, build in (
            ("ViT", 1, 1, lambda fused=fused: _timm("vision_transformer", "VisionTransformer", fused)),
            (
                "ViT, mean",
                0,
                16,
                lambda fused=fused: _timm(
                    "vision_transformer", "VisionTransformer", fused, class_token=False, global_pool="avg"
                ),
            ),
            (
                "DINOv2-style",
                5,
                1,
                lambda fused=fused: _timm(
                    "vision_transformer",
                    "VisionTransformer",
                    fused,
                    init_values=1.0,
                    reg_tokens=4,
                    no_embed_class=True,
                    qk_norm=True,
                ),
            ),
            (
                "SigLIP-style, attention pooling",
                0,
                16,
                lambda fused=fused: _timm(
                    "vision_transformer", "VisionTransformer", fused, class_token=False, global_pool="map"
                ),
            ),
            (
                "parallel attentions and MLPs",
                1,
                1,
                lambda fused=fused: _timm(
                    "vision_transformer", "VisionTransformer", fused, block_fn=_timm_part("ParallelThingsBlock")
                ),
            ),
            ("DeiT, distilled", 2, 2, lambda fused=fused: _timm("deit", "VisionTransformerDistilled", fused)),
            (
                "EVA",
                1,
                16,
                lambda fused=fused: _timm("eva", "Eva", fused),
            ),
            (
                "EVA02",
                1,
                16,
                lambda fused=fused: _timm("eva", "Eva", fused, use_rot_pos_emb=True, swiglu_mlp=True, qkv_fused=False),
            ),
            ("BEiT", 1, 16, lambda fused=fused: _timm("beit", "Beit", fused)),
        )
    },
    **{
        f"transformers {name}, {attention}": Family(
            lambda name=name, attention=attention: _transformers(name, attention),
            extra,
            reads,
            "transformers",
            attention == "sdpa",
        )
        for attention in ("sdpa", "eager")
        for name, extra, reads in (("ViT", 1, 1), ("DeiT", 2, 2), ("Dinov2", 1, 17), ("Dinov2WithRegisters", 5, 17))
    },
    "torchvision VisionTransformer": Family(_torchvision, 1, 1, "torchvision", True),
    "vit-pytorch ViT": Family(lambda: _vit_pytorch("ViT"), 1, 1, "vit_pytorch", False),
    "vit-pytorch SimpleViT": Family(lambda: _vit_pytorch("SimpleViT"), 0, 16, "vit_pytorch", False),
}


def tiny_image(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
