"""Words that tables and pictures of the bench share: numbers in, text out."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.bench.plan import Mode

MODE: dict[Mode, Text] = {"train": Text("training", "学習"), "inference": Text("inference", "推論")}


def rate(images_per_second: float) -> str:
    """Whole numbers from a hundred on, else three digits."""
    return f"{images_per_second:,.0f}" if images_per_second >= 99.95 else f"{images_per_second:#.3g}"
