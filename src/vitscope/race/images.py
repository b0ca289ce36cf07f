"""What images the two take: sizes and channels in, a sentence out where they differ."""

from __future__ import annotations

from vitscope._core.errors import UsageError
from vitscope._core.text import Text

Images = tuple[tuple[int, int], int]
"""Height and width, and channels."""


def refuse_other_images(names: tuple[str, str], ours: Images, theirs: Images) -> None:
    """Says that the two take other images.

    Raises:
        UsageError: they do.
    """
    if ours == theirs:
        return
    one_takes, other_takes = said(ours), said(theirs)
    raise UsageError(
        Text(
            f"{names[0]} takes images of {one_takes.en} and {names[1]} of {other_takes.en}; a race needs the same for both: choose models of one "
            "size, or say it with --image-size and --channels where code takes several",
            f"{names[0]}が受け付けるのは{one_takes.ja}の画像、{names[1]}が受け付けるのは{other_takes.ja}の画像です。競争では両方が同じ画像を受け付ける"
            "必要があります。サイズの同じモデルを選ぶか、複数のサイズを受け付けるコードなら--image-sizeと--channelsで指定してください",
        )
    )


def said(images: Images) -> Text:
    """What images a model takes, in words."""
    (height, width), channels = images
    return Text(
        f"{height}×{width} pixels with {channels} channel{'s' if channels > 1 else ''}",
        f"{height}×{width}画素、{channels}チャネル",
    )
