"""Patches that are no squares but strips, and too few of them. In go a patient and its layout, out come findings of `patch-layout`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import Patient
from vitscope.lens.anatomy import Anatomy
from vitscope.lens.layout import Layout
from vitscope.lens.operations import CONVOLUTIONS, POOLINGS

FEW_TOKENS, SMALL_SIDE = 36, 28
"""Fewer patches than this are few for an image of at least this side (a rule of thumb for small images: 32 pixels want patches of 4 or 5)."""
SMALL_GRID, LARGE_GRID, LARGE_SIDE = 7, 14, 112
"""So many patches along a side are enough, for small images and for those of at least this side."""
SHORTEST = 4
"""A strip of fewer pixels than this is none."""

FEW = Fault(
    "too-few-tokens",
    "M25",
    "patch-layout",
    "warning",
    Text(
        "Attention has little to compare, and each token has to hold a large piece of the picture in one linear map: accuracy stays low.",
        "アテンションが比較できる対象が少なく、1つのトークンが画像の広い範囲を1回の線形変換だけで表すことになり、正解率が上がりません。",
    ),
    Text(
        "use smaller patches (4 for 32 pixels, 16 for 224)",
        "パッチを小さくしてください（32画素なら4、224画素なら16）",
    ),
    "patch_size = 4   # of 32 pixels",
)

STRIPS = Fault(
    "patches-are-strips",
    "M4",
    "patch-layout",
    "warning",
    Text(
        "A strip of one row holds no shape: what stands above and below each pixel is in other tokens. That is legal and may be meant; it is also "
        "what a reshape makes of an image whose rows were not cut into patches first.",
        "1行だけの細長い断片には形が写りません。各画素のすぐ上と下は別のトークンに入ります。意図した設計なら問題ありませんが、行方向と列方向を分割せずに"
        "reshapeした場合にも、こうなります。",
    ),
    Text(
        "cut rows and columns first, then bring both cuts to the front, or use a convolution with stride = kernel = patch size; leave it where "
        "strips are meant",
        "先に行と列をそれぞれ分割し、パッチの番号の軸を前に移してからreshapeするか、カーネルとストライドをパッチサイズにした畳み込みを使ってください。"
        "細長い断片が意図どおりなら、そのままでかまいません",
    ),
    "x = x.reshape(B, C, H // P, P, W // P, P).permute(0, 2, 4, 3, 5, 1).reshape(B, N, P * P * C)",
)
_CUT_BOTH = Text(
    "cut rows and columns both, so that patches are squares; where strips are meant, leave it",
    "行と列の両方を分割し、パッチを正方形にしてください。帯状の分割が意図どおりなら、そのままでかまいません",
)


def few(patient: Patient, grid: tuple[int, int]) -> Finding:
    """Too few patches; of whole rows or columns, no patch size makes more of them."""
    (height, width), patches = patient.images.shape[-2:], grid[0] * grid[1]
    down, across = height // grid[0], width // grid[1]
    evidence = {"patches": patches, "grid": list(grid), "height": height, "width": width}
    if down == across or 1 not in grid:
        return replace(FEW, code=_enough(height, width)).found(
            Text(
                f"The image of {height}×{width} pixels becomes {patches} patches ({grid[0]}×{grid[1]}) only.",
                f"{height}×{width}画素の画像が、わずか{patches}個のパッチ（{grid[0]}×{grid[1]}）にしか分割されていません。",
            ),
            evidence,
        )
    lines, lines_ja = ("rows", "行") if across == width else ("columns", "列")
    return replace(FEW, advice=_CUT_BOTH, code=STRIPS.code).found(
        Text(
            f"The image of {height}×{width} pixels becomes {patches} strips of whole {lines} ({down}×{across} pixels each, height × width), not "
            "squares: how things lie along a strip is inside of one token.",
            f"{height}×{width}画素の画像が、正方形のパッチではなく、{lines_ja}全体にわたる{patches}本の帯（高さ×幅で各{down}×{across}画素）に"
            "分割されています。帯に沿った方向の配置は、1つのトークンの中に入ってしまいます。",
        ),
        evidence | {"patch": [down, across]},
    )


def _enough(height: int, width: int) -> str:
    """The largest patch that divides the image and leaves enough of them: 4 of 28 or 32 pixels, 16 of 224."""
    side = min(height, width)
    most = side // (LARGE_GRID if side >= LARGE_SIDE else SMALL_GRID)
    size = next((each for each in range(most, 1, -1) if height % each == 0 and width % each == 0), 0)
    return f"patch_size = {size}   # of {side} pixels" if size else FEW.code


def strips(patient: Patient, anatomy: Anatomy, layout: Layout) -> Iterator[Finding]:
    """Patches that are pieces of a single row or column, as many pixels as a square patch would have: axes flattened as they lay. Whole rows and
    columns, and what a convolution or an unfolding cuts, are meant."""
    height, width = patient.images.shape[-2:]
    down, across = height // layout.grid[0], width // layout.grid[1]
    made = anatomy.patch_embedding
    if layout.pixels is None or min(down, across) > 1 or (down, across) in ((1, width), (height, 1)):
        return
    length = down * across
    side = round(length**0.5)
    is_meant = made.name in CONVOLUTIONS | POOLINGS or any(c.name in ("im2col", "unfold") for c in patient.tape.calls)
    if length < SHORTEST or side * side != length or height % side or width % side or is_meant:
        return
    yield STRIPS.found(
        Text(
            f"Each token is a strip of {down}×{across} pixels (height × width) of one {'row' if down == 1 else 'column'}, not a square of "
            f"{side}×{side}.",
            f"各トークンが、{side}×{side}の正方形ではなく、1つの{'行' if down == 1 else '列'}の中の{down}×{across}画素（高さ×幅）の細長い断片に"
            "なっています。",
        ),
        {"patch": [down, across], "square": side, "patches": layout.grid[0] * layout.grid[1]},
    )
