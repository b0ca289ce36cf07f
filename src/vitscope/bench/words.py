"""Words that tables and pictures of the bench share: numbers in, text out."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.bench.plan import Mode

MODE: dict[Mode, Text] = {"train": Text("training", "学習"), "inference": Text("inference", "推論")}


def digits(value: float) -> str:
    """Images a second or milliseconds an image: whole numbers from a hundred on, else three digits."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"
