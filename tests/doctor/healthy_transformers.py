"""transformers' models for image classification, tiny and random."""

from __future__ import annotations

from functools import partial
from typing import Any

from healthy_case import Healthy, peer
from torch import nn

PLAIN: dict[str, Any] = {
    "image_size": 32, "patch_size": 4, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
}  # fmt: skip
FEATURES: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 48, "mlp_ratio": 2}
SWIN: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
FOUR: dict[str, Any] = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 4, 4]}

LEVIT: dict[str, Any] = {
    "image_size": 128, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 2, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8],
}  # fmt: skip
ABSOLUTE: dict[str, Any] = {**PLAIN, "use_absolute_position_embeddings": True, "use_mean_pooling": False}
RELATIVE: dict[str, Any] = {**PLAIN, "use_relative_position_bias": True}


def _built(name: str, attention: str, ending: str, settings: dict[str, Any]) -> nn.Module:
    library = peer("transformers")
    config = getattr(library, f"{name}Config")(num_labels=10, **settings)
    kind = getattr(library, f"{name}ForImageClassification{ending}")
    made: nn.Module = kind._from_config(config, attn_implementation=attention)
    return made


def _case(
    name: str, settings: dict[str, Any], size: int = 32, attention: str = "eager", ending: str = "", label: str = ""
) -> Healthy:
    build = partial(_built, name, attention, ending, settings)
    words = ", ".join(word for word in (name + ending, label, attention) if word)
    return Healthy(f"transformers {words}", "transformers", build, image_size=size)


# fmt: off
BOTH: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ViT", "", PLAIN), ("DeiT", "", PLAIN), ("DeiT", "WithTeacher", PLAIN), ("ViTMSN", "", PLAIN),
    ("Beit", "", RELATIVE), ("Data2VecVision", "", RELATIVE), ("IJepa", "", PLAIN),
    ("Dinov2", "", {**PLAIN, **FEATURES}), ("Dinov2WithRegisters", "", {**PLAIN, **FEATURES}),
    ("CLIP", "", {"vision_config": PLAIN}), ("Siglip", "", {"vision_config": {**PLAIN, "vision_use_head": False}}),
    ("MetaClip2", "", {"vision_config": PLAIN}),
)
OTHERS: tuple[tuple[str, str, str, int, dict[str, Any]], ...] = (
    ("Beit", "", "absolute positions, class token", 32, {**PLAIN, "use_absolute_position_embeddings": True, "use_mean_pooling": False}),
    ("Dinov2", "", "SwiGLU", 32, {**PLAIN, **FEATURES, "use_swiglu_ffn": True}),
    ("Siglip", "", "with the pooling head that classification does not read", 32, {"vision_config": PLAIN}),
    ("Swin", "", "", 32, SWIN), ("Swin", "", "absolute positions", 32, {**SWIN, "use_absolute_embeddings": True}),
    ("Swinv2", "", "", 32, SWIN), ("DonutSwin", "", "", 32, SWIN),
    ("Pvt", "", "", 64, {**FOUR, "image_size": 64}), ("PvtV2", "", "", 64, {**FOUR, "image_size": 64}), ("Segformer", "", "", 64, FOUR),
    ("Cvt", "", "", 64, {"embed_dim": [16, 24, 48], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}),
    ("Hiera", "", "", 64, {"image_size": [64, 64], "embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}),
    ("Levit", "", "", 128, LEVIT),
    ("Levit", "WithTeacher", "", 128, LEVIT),
    ("MobileViT", "", "", 64, {"image_size": 64, "hidden_sizes": [32, 40, 48], "neck_hidden_sizes": [8, 16, 16, 24, 32, 40, 64]}),
    ("MobileViTV2", "", "", 64, {"image_size": 64, "width_multiplier": 0.25, "base_attn_unit_dims": [64, 96, 128], "n_attn_blocks": [1, 1, 1]}),
    ("SwiftFormer", "", "", 64, {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 24, 32, 48]}),
)
# fmt: on
CASES = [
    _case(name, settings, attention=attention, ending=ending)
    for attention in ("sdpa", "eager")
    for name, ending, settings in BOTH
]
CASES += [_case(name, settings, size, "eager", ending, label) for name, ending, label, size, settings in OTHERS]
