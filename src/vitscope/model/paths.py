"""Which of its two ways an attention is computed: device and length in, path out. No torch, so that `size.py` can ask too."""

from __future__ import annotations

from typing import Literal

AttentionPath = Literal["auto", "fused", "explicit"]
TakenPath = Literal["fused", "explicit"]

# On a CPU the fused kernel loses to two batched products and a softmax while the maps fit the caches (docs/lab-notes.md, 2026-11-23).
EXPLICIT_TOKENS_ON_CPU = 256


def quicker_path(tokens: int, device: str) -> TakenPath:
    """The path that `auto` stands for: T and a device type (`cpu`, `cuda`, …) in."""
    return "explicit" if device == "cpu" and tokens <= EXPLICIT_TOKENS_ON_CPU else "fused"
