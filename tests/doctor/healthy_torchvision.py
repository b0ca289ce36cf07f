"""torchvision's models with attention, tiny and random."""

from __future__ import annotations

from functools import partial
from typing import Any

from healthy_case import Healthy, peer
from torch import nn

PLAIN: dict[str, Any] = {
    "image_size": 32, "patch_size": 4, "num_layers": 2, "num_heads": 4, "hidden_dim": 48, "mlp_dim": 96, "num_classes": 10,
}  # fmt: skip
SWIN: dict[str, Any] = {
    "patch_size": [2, 2], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4], "num_classes": 10,
}  # fmt: skip
MAXVIT: dict[str, Any] = {
    "input_size": (64, 64), "stem_channels": 16, "partition_size": 4, "block_channels": [16, 32], "block_layers": [1, 1], "head_dim": 16,
    "stochastic_depth_prob": 0.1, "num_classes": 10,
}  # fmt: skip


def _vit(**more: Any) -> nn.Module:
    made: nn.Module = peer("torchvision.models").VisionTransformer(**PLAIN, **more)
    return made


def _with_convolutions() -> nn.Module:
    layer = peer("torchvision.models.vision_transformer").ConvStemConfig
    return _vit(conv_stem_configs=[layer(16, 3, 2), layer(32, 3, 2)])


def _swin(second: bool) -> nn.Module:
    room = peer("torchvision.models.swin_transformer")
    parts = (
        {"block": room.SwinTransformerBlockV2, "downsample_layer": room.PatchMergingV2}
        if second
        else {"block": room.SwinTransformerBlock}
    )
    made: nn.Module = room.SwinTransformer(**SWIN, **parts)
    return made


def _maxvit() -> nn.Module:
    made: nn.Module = peer("torchvision.models").MaxVit(**MAXVIT)
    return made


CASES = [
    Healthy("torchvision VisionTransformer", "torchvision", _vit),
    Healthy("torchvision VisionTransformer, dropouts", "torchvision", partial(_vit, dropout=0.1, attention_dropout=0.1)),
    Healthy("torchvision VisionTransformer, tanh before the head", "torchvision", partial(_vit, representation_size=32)),
    Healthy("torchvision VisionTransformer, convolutions", "torchvision", _with_convolutions),
    Healthy("torchvision SwinTransformer", "torchvision", partial(_swin, False)),
    Healthy("torchvision SwinTransformer, v2", "torchvision", partial(_swin, True)),
    Healthy("torchvision MaxVit", "torchvision", _maxvit, image_size=64),
]  # fmt: skip
