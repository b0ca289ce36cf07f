"""Which of its two ways an attention is computed: device and length in, path out. No torch, so that `size.py` can ask too."""

from __future__ import annotations

from typing import Literal

AttentionPath = Literal["auto", "fused", "explicit"]
TakenPath = Literal["fused", "explicit"]

# On a CPU the fused kernel loses to two batched products and a softmax: in fp32 while the maps fit the caches, in bf16, of which it makes
# little, at every length that was tried (docs/lab-notes.md, 2026-11-23 and 2026-11-25). Memory for maps grows with T².
EXPLICIT_TOKENS_ON_CPU = 256
EXPLICIT_TOKENS_ON_CPU_BF16 = 1025


def quicker_path(tokens: int, device: str, *, bf16: bool = False) -> TakenPath:
    """The path that `auto` stands for: T, a device type (`cpu`, `cuda`, …) and whether queries are in bf16, in."""
    limit = EXPLICIT_TOKENS_ON_CPU_BF16 if bf16 else EXPLICIT_TOKENS_ON_CPU
    return "explicit" if device == "cpu" and tokens <= limit else "fused"
