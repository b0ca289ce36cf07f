"""The style that all pictures share, fonts for Japanese, and writing a figure whole. In go figures, out come files.

Matplotlib is imported when a picture is drawn, never its global state: no backend is chosen and no settings are left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitscope._core.files import written_whole
from vitscope._core.text import Lang

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B5A800")
"""Okabe and Ito's palette; its yellow is darkened to be seen on white."""
GREY, INK = "#767676", "#222222"
LATIN = "DejaVu Sans"
"""Comes with matplotlib."""
JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "BIZ UDGothic",
    "Hiragino Sans",
    "Hiragino Maru Gothic Pro",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
    "TakaoGothic",
    "VL Gothic",
    "Droid Sans Fallback",
)


def save(figure: Figure, path_png: Path | None = None, path_svg: Path | None = None) -> None:
    """Writes the figure as PNG, as SVG with text as text, or both; each whole or not at all.

    The same figure gives the same bytes: neither file holds a date, a version or a random name.

    Raises:
        RunError: a file cannot be written.
    """
    with picture_style():
        if path_png is not None:
            with written_whole(path_png) as temporary:
                figure.savefig(temporary, format="png", metadata={"Software": None})
        if path_svg is not None:
            with written_whole(path_svg) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "vitscope"})


def japanese_font() -> str | None:
    """The first font on this machine that holds Japanese, or None.

    matplotlib keeps its list of fonts in a file; fonts installed since it was written are looked up here.
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    def known() -> str | None:
        present = {font.name for font in fontManager.ttflist}
        return next((name for name in JAPANESE_FONTS if name in present), None)

    if known() is None:
        for file in set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}:
            with suppress(Exception):  # a file that is no font after all
                fontManager.addfont(file)
    return known()


def families(font: str | None, lang: Lang) -> list[str]:
    """Fonts in the order in which they are asked for a letter; English looks the same with and without a Japanese font."""
    japanese = [font] if font else []
    return [*japanese, LATIN] if lang == "ja" else [LATIN, *japanese]


@contextmanager
def picture_style(lang: Lang = "en", *, grid: Literal["both", "y"] = "both") -> Iterator[Lang]:
    """Matplotlib's own defaults and ours, whatever the user's configuration says, until the block ends.

    Gives the language that the fonts of this machine allow: without a Japanese one it is English.
    """
    from matplotlib import style

    font = japanese_font()
    shown: Lang = lang if font is not None else "en"
    ours: dict[str, Any] = {
        "font.family": [*families(font, shown), "sans-serif"],
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": "#999999",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": grid,
        "axes.axisbelow": True,
        "axes.unicode_minus": False,
        "grid.color": "#EEEEEE",
        "xtick.color": "#555555",
        "ytick.color": "#555555",
        "hatch.linewidth": 0.6,
        "svg.fonttype": "none",
        "svg.hashsalt": "vitscope",
    }
    with style.context(["default", ours]):
        yield shown


def set_title(axes: Axes, words: str, lang: Lang, *, size: int = 10) -> None:
    """The title of a panel, to the left, bold where the fonts can be."""
    # few Japanese fonts have a bold face, and matplotlib asks each family that it is given for one
    face: dict[str, Any] = {} if lang == "ja" else {"fontfamily": LATIN, "fontweight": "bold"}
    axes.set_title(words, loc="left", fontsize=size, **face)
