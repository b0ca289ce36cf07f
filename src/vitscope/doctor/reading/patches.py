"""Whether tokens are made of patches: squares of neighbouring pixels, one a token, and enough of them. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.cutting import fitting
from vitscope.doctor.reading.strips import FEW_TOKENS, SMALL_SIDE, few, strips
from vitscope.lens.anatomy import Anatomy, as_tokens
from vitscope.lens.layout import MIXED, Layout, find_layout
from vitscope.lens.operations import CONVOLUTIONS, POOLINGS
from vitscope.lens.tape import Call

_WHY = Text(
    "Neighbouring pixels do not stay together, so no token shows a piece of the picture and its place means nothing. The model learns all the same, "
    "clearly worse, with a large gap between training and test: it looks as if data were missing.",
    "隣り合う画素がばらばらになり、どのトークンも画像の一部分を表さず、位置にも意味がなくなります。学習自体は進みますが正解率は明らかに低く、"
    "学習画像とテスト画像の正解率の差が大きくなるため、データ不足のように見えます。",
)
SCRAMBLED = Fault(
    "patches-cut-wrong",
    "M4",
    "patch-layout",
    "error",
    _WHY,
    Text(
        "bring the axes into order before they are flattened (permute, then reshape; images come as batch, channels, height, width), or use a "
        "convolution with stride = kernel = patch size",
        "平坦化する前に軸を並べ替えてください（permuteしてからreshape。画像は(バッチ, チャネル, 高さ, 幅)の順で入力されます）。または、カーネルと"
        "ストライドをパッチサイズにした畳み込みを使ってください",
    ),
    "x = x.unfold(2, P, P).unfold(3, P, P)   # B C H/P W/P P P\n"
    "x = x.permute(0, 2, 3, 1, 4, 5).reshape(B, N, C * P * P)\n"
    "# or: nn.Conv2d(C, dim, P, stride=P)(x).flatten(2).transpose(1, 2)",
    explains=("overfit", "position"),
)
NOT_TRANSPOSED = Fault(
    "unfold-not-transposed",
    "M5",
    "patch-layout",
    "error",
    _WHY,
    Text(
        "nn.Unfold gives (batch, numbers of a patch, patches): transpose the last two axes, do not view",
        "nn.Unfoldの出力は(バッチ, パッチ内の数値, パッチ)の順です。viewではなく、最後の2軸を転置してください",
    ),
    "tokens = nn.Unfold(P, stride=P)(x).transpose(1, 2)   # not .view(B, N, -1)",
    explains=("overfit", "position"),
)


def patch_layout(patient: Patient) -> Iterator[Finding]:
    """Whether each token is one square of neighbouring pixels.

    Does: follows each pixel through the cutting, embedding and joining to the tokens that the first block takes, and proves what it finds by changing
    one square of pixels and counting the tokens that change.
    Finds: patches cut by a reshape without a permute, pieces of single rows (M4), `nn.Unfold` without a transpose (M5), too few patches for the
    image (M25).
    Must not accuse: overlapping stems, convolutions over tokens, shifted patches, grey images for which the reshape is right, crops side by side
    in the batch, whole rows or columns as tokens, strips that a convolution cuts; where pixels are mixed before they are cut, the lens finds no
    patches and nothing is said.
    """
    anatomy, layout = _front(patient)
    entering, patches = _entering(anatomy), layout.grid[0] * layout.grid[1]
    _refuse_maps(anatomy, entering)
    is_mixed = MIXED in layout.patch_of_token
    is_scattered = layout.pixels is None and _scattered(patient, entering)
    each_has_its_own = set(range(patches)) <= set(
        layout.patch_of_token
    )  # tokens that mix all stand beside them: frequencies
    if not layout.are_squares and _are_of_crops(patient, anatomy.patch_embedding):
        return
    if (is_mixed and not each_has_its_own) or is_scattered or not layout.are_squares:
        tokens = len(as_tokens(patient.tape.value(entering)))
        side = _side(patient, tokens if is_scattered else patches)
        changed, places = _tokens_changed(patient, anatomy.patch_embedding, entering, side)
        if changed > (places if is_mixed else 1):  # a stem's own reach is no scrambling
            fault = fitting(SCRAMBLED, NOT_TRANSPOSED, patient, anatomy.patch_embedding, side)
            yield _cut_wrong(fault, tokens, changed, side, is_mixed=is_mixed)
            return
    if "layout" not in patient._known or isinstance(patient._known["layout"], Skipped):
        return  # what was not followed may have had more patches before
    yield from strips(patient, anatomy, layout)
    if patches < FEW_TOKENS and min(patient.images.shape[-2:]) >= SMALL_SIDE:
        yield few(patient, layout.grid)


def _front(patient: Patient) -> tuple[Anatomy, Layout]:
    """The parts of a model and its patches; where the inside was not followed to its end, as far as its front was.

    Raises:
        Skipped: the front was not followed either.
    """
    try:
        return patient.anatomy, patient.layout
    except Skipped as why:
        try:
            anatomy = patient.loose.anatomy
            return anatomy, find_layout(patient.tape, anatomy)
        except (Skipped, LensError, RuntimeError, IndexError):
            raise why from None


def _side(patient: Patient, patches: int) -> tuple[int, int]:
    """Height and width of a patch, where so many cover the image."""
    height, width = patient.images.shape[-2:]
    down = next((n for n in range(int(patches**0.5), 0, -1) if patches % n == 0 and height % n == 0), 1)
    return height // down, max(1, width // max(patches // down, 1))


def _cut_wrong(fault: Fault, tokens: int, changed: int, side: tuple[int, int], *, is_mixed: bool) -> Finding:
    square = f"{side[0]}×{side[1]}"
    what = (
        Text("numbers of several patches are mixed into each token", "各トークンに複数のパッチの値が混ざっています")
        if is_mixed
        else Text(
            "the pieces that become tokens are no squares of neighbouring pixels",
            "トークンになる断片が、隣り合う画素の正方形になっていません",
        )
    )
    return fault.found(
        Text(
            f"Changing one square of {square} pixels changes {changed} of {tokens} tokens instead of one: {what.en}.",
            f"{square}画素の正方形を1つ変えると、1個ではなく{tokens}個中{changed}個のトークンが変わります。{what.ja}。",
        ),
        {"tokens_changed_by_one_patch": changed, "tokens": tokens, "patch": list(side)},
    )


def _scattered(patient: Patient, entering: Call) -> bool:
    """Whether tokens read pixels that lie apart, and other tokens other colours: no stem does that, whatever it overlaps."""
    image = patient.tape.image.clone().requires_grad_(True)
    with torch.enable_grad():
        tokens = as_tokens(patient.tape.play({None: image}, entering))
        weights = torch.randn(tokens.shape[-1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        read = []
        for token in {0, len(tokens) // 2, len(tokens) - 1}:
            (gradient,) = torch.autograd.grad(
                (tokens[token] * weights.to(tokens.dtype)).sum(), image, retain_graph=True
            )
            read.append(gradient[0] != 0)
    read = [each for each in read if bool(each.any())]  # a class token reads nothing
    colours = [tuple(each.flatten(1).any(dim=1).tolist()) for each in read]
    return (
        bool(read) and all(not all(each) for each in colours) and all(_filled(each.any(dim=0)) < 0.5 for each in read)
    )


def _are_of_crops(patient: Patient, made: Call) -> bool:
    """Whether one image is several to the convolution that cuts patches, and what it makes of a place, in each of a few, is a filled rectangle of the
    image's own pixels: crops, side by side in the batch."""
    given = made.outputs[0]
    if made.name not in CONVOLUTIONS or given.ndim != 4 or len(given) < 2:
        return False
    image, (images, _, height, width) = patient.tape.image.detach().clone().requires_grad_(True), given.shape
    with torch.enable_grad():
        cut = patient.tape.play({None: image}, made)
        for place in ((0, 0, 0), (images // 2, height // 2, width // 2), (images - 1, height - 1, width - 1)):
            piece = cut[place[0], :, place[1], place[2]]
            weights = torch.randn(len(piece), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            (gradient,) = torch.autograd.grad((piece * weights.to(piece)).sum(), image, retain_graph=True)
            read = gradient[0] != 0
            if not bool(read.any()) or any(_filled(colour) < 1 for colour in (read.any(dim=0), *read) if colour.any()):
                return False
    return True


def _filled(pixels: Tensor) -> float:
    """How much of the rectangle around these pixels they fill."""
    rows, columns = pixels.any(dim=1).nonzero().flatten(), pixels.any(dim=0).nonzero().flatten()
    return float(pixels.sum()) / float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))


def _entering(anatomy: Anatomy) -> Call:
    return anatomy.blocks[0].enters or anatomy.with_position or anatomy.with_class or anatomy.embedded


def _refuse_maps(anatomy: Anatomy, entering: Call) -> None:
    """Where the first block takes a map of channels, there are no tokens to count.

    Raises:
        Skipped: it does.
    """
    made, shape = anatomy.patch_embedding, entering.outputs[0].shape
    is_convolution = made.name in CONVOLUTIONS | POOLINGS
    width = made.outputs[0].shape[1 if is_convolution else -1]
    if shape[-1] != width or (
        is_convolution and len(shape) == 4 and shape[1] == width
    ):  # a map may be as wide as it has channels
        raise Skipped(_MAPS)


_MAPS = Text(
    "the first block takes a map of channels, not tokens in a row, so there are no patches to look at",
    "最初のブロックの入力がトークン列ではなくチャネルのマップなので、調べるべきパッチがありません",
)


@torch.no_grad()
def _tokens_changed(patient: Patient, made: Call, entering: Call, side: tuple[int, int]) -> tuple[int, int]:
    """How many tokens change with one aligned square of pixels, and at how many places the embedding's own result does: the most of a few
    squares."""
    tape, height, width = patient.tape, *side
    noise, most, places = patient.noise(1, seed=4), 0, 0
    rows, columns = patient.images.shape[-2] // height, patient.images.shape[-1] // width
    for row, column in {(0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)}:
        image = tape.image.clone()
        place = (..., slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        image[place] += noise[place]
        most = max(most, _rows_changed(as_tokens(tape.value(entering)), as_tokens(tape.play({None: image}, entering))))
        was, now = tape.value(made), tape.play({None: image}, made)
        is_map = made.name in CONVOLUTIONS | POOLINGS
        flat = [x[0].flatten(1).T if is_map and x.ndim == 4 else as_tokens(x) for x in (was, now)]
        places = max(places, _rows_changed(*flat))
    return most, places


def _rows_changed(was: Tensor, now: Tensor) -> int:
    return int(((now - was).abs() > 1e-12).any(dim=1).sum())
