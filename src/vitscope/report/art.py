"""Numbers as pictures inside a page: arrays in, `data:` addresses and inline SVG out. Colours of text and lines follow the page's theme."""

from __future__ import annotations

import base64
import io
import math
import re
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vitscope._core.pictures import COLOURS, GREY, INK, picture_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THEMED = {
    INK: "var(--ink)",
    GREY: "var(--soft)",
    "#555555": "var(--soft)",
    "#999999": "var(--soft)",
    "#eeeeee": "var(--line)",
    "#000000": "var(--ink)",
    COLOURS[0].lower(): "var(--series)",
}
"""What matplotlib's style draws words, lines and the first series in, and the page's own colour for it."""


def data_url(pixels: UInt8[np.ndarray, "H W *C"]) -> str:
    """A PNG as an address; grey, RGB or RGBA."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def photograph(image: Image.Image, side: int) -> str:
    """A picture, no longer than `side`, as an address: small pictures as PNG, larger ones as JPEG."""
    shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if max(shown.size) <= 64:
        return data_url(np.asarray(shown))
    shown.thumbnail((side, side))
    white = Image.new("RGB", shown.size, "white")
    white.paste(shown, mask=shown.getchannel("A") if shown.mode == "RGBA" else None)
    buffer = io.BytesIO()
    white.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour_table(name: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of one of matplotlib's maps."""
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def coloured(values: Tensor, low: float, high: float, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """A matrix in the colours of a map, from `low` to `high`."""
    span = high - low if high > low else 1.0
    codes = ((values.detach().double().numpy() - low) / span).clip(0, 1) * 255
    return colour_table(name)[codes.round().astype(np.uint8)]


def packed(codes: UInt8[np.ndarray, "*S"]) -> str:
    """Bytes for the page's script, deflated, as text."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(codes).tobytes(), 9)).decode()


def mosaic(
    images: Float[np.ndarray, "N Ph Pw C"], across: int, *, gap: int = 1, scale: int = 1
) -> UInt8[np.ndarray, "H W 4"]:
    """Little pictures (0 to 1) side by side with see-through gaps, each pixel `scale` wide."""
    count, height, width, channels = images.shape
    rgb = np.repeat(images, 3, axis=3) if channels == 1 else images
    rgb = rgb.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width, down = height * scale, width * scale, math.ceil(count / across)
    sheet = np.zeros((down * (height + gap) - gap, across * (width + gap) - gap, 4), dtype=np.uint8)
    for number, image in enumerate(rgb):
        row, column = divmod(number, across)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width, :3] = (image.clip(0, 1) * 255).round()
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def map_of_maps(values: Float[Tensor, "N N"], grid: tuple[int, int], side: int) -> UInt8[np.ndarray, "H W 4"]:
    """Cosines of each place with all: a little map for each place of a grid, in its place, about `side` pixels wide."""
    down, across = grid
    maps = [coloured(each, -1.0, 1.0, "RdBu_r") for each in values.view(-1, down, across)]
    scale = max(1, round(side / across**2))
    return mosaic(np.stack(maps).astype(np.float64) / 255, across, gap=2, scale=scale)


def inline_svg(figure: Figure) -> str:
    """A figure as SVG inside the page: no line of caveat (the page prints it), no background, words and lines in the theme's colours."""
    figure.supxlabel("")
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
        legend: Any = axes.get_legend()
        if legend is not None:
            legend.get_frame().set_visible(False)
    buffer = io.StringIO()
    with picture_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "vitscope"})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r"#[0-9a-fA-F]{6}\b", lambda m: _THEMED.get(m[0].lower(), m[0]), text)
    return re.sub(r'<svg ([^>]*?)height="[^"]*" ', r'<svg role="img" \1', text, count=1).replace(
        'width="', 'data-width="', 1
    )
