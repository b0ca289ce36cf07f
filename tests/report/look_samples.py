"""Looks at tiny models, and what is read back out of their pages: words that a reader sees, data that the page's script draws from."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html import unescape
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from vitscope._core.preprocessing import Preprocessing
from vitscope.model.create import create_model
from vitscope.recipes.subject import Subject
from vitscope.report.looking.look import Look, look_at

TINY: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "dim": 48,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 96,
    "classes": 10,
}
STAGES = ["image", "patches", "patch_embedding", "with_class", "with_position", "encoder", "pooled", "logits"]


def our_vit(*, stirred: bool = True, **changed: Any) -> Any:
    """A ViT of ours; stirred, its weights are no start values, which say nothing (positions near zero, a head of zeros)."""
    torch.manual_seed(0)
    model = create_model("vit-ti4-32", **{**TINY, **changed}).eval()
    for parameter in model.parameters() if stirred else ():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def subject_of(model: nn.Module, *, channels: Any = 3, size: Any = (32, 32), **changed: Any) -> Subject:
    half = (0.5,) * channels
    values: dict[str, Any] = {
        "name": "tiny",
        "model": model,
        "preprocessing": Preprocessing(image_size=size, channels=channels, mean=half, std=half),
        "label_names": tuple(f"kind {i}" for i in range(10)),
        "spec": None,
        "data": None,
        "notes": (),
    }
    return Subject(**{**values, **changed})


def picture(height: int = 40, width: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def looked(
    model: nn.Module, image: Image.Image | None = None, name: str = "img.png", label: str | None = None, **changed: Any
) -> Look:
    return look_at(subject_of(model, **changed), picture() if image is None else image, name, label)


def data_of(page: str) -> Any:
    """What stands in the page for its script."""
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[0])


def unpacked(text: str, *shape: int) -> Any:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(shape)


def words_of(page: str) -> list[str]:
    """What a reader sees, line by line, without the letters in charts (English where a machine has no Japanese font)."""
    bare = re.sub(r"<(script|style|svg)\b.*?</\1>", "\n", page, flags=re.S)
    shown = [*re.split(r"<[^>]*>", bare), *re.findall(r'(?:alt|aria-label)="([^"]*)"', bare)]
    return [unescape(line).strip() for line in shown if line.strip()]
