"""Which pixels go into which patch and which token: found by sending numbers of places, instead of pixels, the way that the image went.

In go a tape and what stands where on it; out comes a `Layout`. Only what moves numbers about is played again (views, transposes, joins);
what changes them one by one (a norm, a sum) leaves them where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._pytree import tree_map

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.anatomy import Anatomy, as_tokens
from vitscope.lens.flow import way_to
from vitscope.lens.operations import CONVOLUTIONS, MOVES, POOLINGS, VIEWS, factors
from vitscope.lens.tape import Call, Source, Tape

EXTRA, MIXED = -1, -2
"""In place of a patch's number: a token that no patch goes into, and one that several go into."""


@dataclass(frozen=True, eq=False, repr=False)
class Layout:
    """Where pixels and tokens are. Patches are numbered from the top left, row by row; tokens as the first block takes them."""

    grid: tuple[int, int]
    """Patches down and across."""
    pixels: Int[Tensor, "N P"] | None
    """For each patch the pixels in it, as places in the flattened image (C H W); None where patches overlap, as in a tokenizer."""
    patch_of_token: tuple[int, ...]
    """For each token its patch, or `EXTRA` or `MIXED`."""
    are_squares: bool
    """Whether each patch is a rectangle of neighbouring pixels; where there are no patches, it is not asked."""
    notes: tuple[Text, ...]

    @property
    def token_of_patch(self) -> dict[int, int]:
        """The other way round."""
        return {patch: token for token, patch in enumerate(self.patch_of_token) if patch >= 0}

    @property
    def extra(self) -> tuple[int, ...]:
        """The tokens that are not patches."""
        return tuple(token for token, patch in enumerate(self.patch_of_token) if patch == EXTRA)


def find_layout(tape: Tape, anatomy: Anatomy) -> Layout:
    """Follows places through cutting, embedding and joining.

    Raises:
        LensError: tokens do not come from patches by moving numbers alone.
    """
    grid, pixels, order = _cut(tape, anatomy.patch_embedding)
    embedded = anatomy.patch_embedding.outputs[0]
    if anatomy.patch_embedding.name in CONVOLUTIONS | POOLINGS:
        places = torch.arange(embedded.shape[-2] * embedded.shape[-1], dtype=torch.float64) if order is None else order
        places = places.view(1, 1, *embedded.shape[-2:]).repeat(*embedded.shape[:2], 1, 1)
    else:
        places = torch.arange(embedded.numel() // embedded.shape[-1], dtype=torch.float64) if order is None else order
        places = places.view(*embedded.shape[:-1], 1).repeat(*[1] * (embedded.ndim - 1), embedded.shape[-1])
    places = _moved(tape, _tokens_of(anatomy), 0, anatomy.patch_embedding, places)
    tokens = places.reshape(-1, places.shape[-1])
    first = tokens[:, 0]
    patch_of_token = torch.where((tokens == first[:, None]).all(dim=1), first, MIXED).long().tolist()
    notes: list[Text] = []
    if MIXED in patch_of_token:
        notes.append(
            Text(
                "numbers of several patches are mixed into one token: the embedding is reshaped where it should be transposed",
                "複数のパッチの値が1つのトークンに混ざっています（転置すべきところで形状だけを変えています）",
            )
        )
    are_squares = pixels is None or _are_rectangles(pixels, grid, (tape.image.shape[-2], tape.image.shape[-1]))
    if not are_squares:
        notes.append(
            Text(
                "the patches are not squares of neighbouring pixels",
                "パッチが隣り合う画素の正方形になっていません",
            )
        )
    if pixels is not None and _follow_neighbours(tape, anatomy, pixels, torch.tensor(patch_of_token)):
        pixels = None
        notes.append(
            Text(
                "each token follows pixels of other patches as well (a convolution over tokens, or patches that overlap)",
                "各トークンは、ほかのパッチの画素にも依存しています（トークン上の畳み込みや、パッチの重なり）",
            )
        )
    return Layout(grid, pixels, tuple(patch_of_token), are_squares, tuple(notes))


def _follow_neighbours(tape: Tape, anatomy: Anatomy, pixels: Tensor, tokens: Tensor) -> bool:
    """Changes the pixels of some patches at a time, each patch with a pattern of its own, and looks which tokens change: whether any changes
    beside that of a changed patch.

    Raises:
        LensError: a token does not change with its patch.
    """
    entering, patches = _tokens_of(anatomy), torch.arange(len(pixels))
    was, random = as_tokens(tape.value(entering)), torch.Generator().manual_seed(0)
    followed, expected = list[Tensor](), list[Tensor]()
    for bit in range(max(1, (len(patches) - 1).bit_length())):
        for changed in ((patches >> bit & 1).bool(), ~(patches >> bit & 1).bool()):
            image, places = tape.image.flatten().clone(), pixels[changed].flatten()
            image[places] += torch.randn(len(places), generator=random).to(image)
            now = as_tokens(tape.play({None: image.view_as(tape.image)}, entering))
            followed.append((now != was).any(dim=1))
            expected.append(changed[tokens.clamp(min=0)] & (tokens >= 0))
    seen, due = torch.stack(followed), torch.stack(expected)
    alive = seen.any(dim=0)  # a token that nothing moves may be one of a dead unit
    if bool((due & ~seen & alive).any()):
        raise LensError(
            Text(
                "tokens of this model do not follow the pixels of the patch that they seem to be made of (moved or sorted on the way), "
                "so which token stands for which patch cannot be told",
                "パッチの画素を変えても、そのパッチから作られているはずのトークンが変わりません（途中で移動や並べ替えが行われています）。"
                "そのため、どのトークンがどのパッチに対応するかが分かりません",
            )
        )
    return bool((seen & ~due)[:, tokens != MIXED].any())


def _tokens_of(anatomy: Anatomy) -> Call:
    """What gives the tokens that the first block takes."""
    first = anatomy.blocks[0].enters or anatomy.with_position or anatomy.with_class
    return first or anatomy.patch_embedding


def _cut(tape: Tape, embedding: Call) -> tuple[tuple[int, int], Tensor | None, Tensor | None]:
    """The grid of patches, which pixels each holds, and for each patch as the embedding gives it its number; None where there are none."""
    image = tape.image
    places = torch.arange(image.numel(), dtype=torch.float64).view(image.shape)
    both = embedding.sources[:1] if embedding.name in CONVOLUTIONS | POOLINGS else factors(embedding)
    source = next((each for each in both if tape.is_of_image(each)), both[0])
    try:
        if source.call is not None and embedding.name not in POOLINGS:
            places = _moved(tape, source.call, source.index, None, places)
        if source is not both[0]:
            places = places.mT  # weights stand on the left, and a patch is a column
    except LensError:  # resized, padded or mixed before it is cut: there are no patches of the image's own pixels
        shape = embedding.outputs[0].shape
        is_map = embedding.name in CONVOLUTIONS and len(shape) == 4
        if not is_map and shape.numel() == shape[-1]:
            raise LensError(
                Text(
                    "the first product in front of the blocks gives no tokens, so what embeds patches was not found",
                    "ブロックの手前にある最初の積の結果がトークンになっておらず、パッチ埋め込みが見つかりません",
                )
            ) from None
        return ((shape[-2], shape[-1]) if is_map else _square(shape.numel() // shape[-1])), None, None
    if embedding.name in POOLINGS:
        return (embedding.outputs[0].shape[-2], embedding.outputs[0].shape[-1]), None, None
    if embedding.name in CONVOLUTIONS:
        weight, stride, padding, dilation = embedding.args[1], embedding.args[3], embedding.args[4], embedding.args[5]
        grid = (embedding.outputs[0].shape[-2], embedding.outputs[0].shape[-1])
        kernel = tuple(weight.shape[-2:])
        is_cut = list(stride) == list(kernel) and not any(padding) and all(d == 1 for d in dilation)
        is_first = not any(call.name in CONVOLUTIONS for call in way_to(tape, embedding, start=None)[:-1])
        if not (is_first and is_cut):
            return grid, None, None
        cut = torch.nn.functional.unfold(places, kernel, stride=kernel)  # 1 (C Ph Pw) N
        return grid, *_in_reading_order(cut[0].T.long(), image.shape[-2], image.shape[-1])
    pixels = places.reshape(-1, places.shape[-1]).long()
    if len(pixels) * pixels.shape[1] != image.numel():
        return _square(len(pixels)), None, None
    height, width = image.shape[-2:]
    tops, lefts = pixels // width % height, pixels % width
    rows, columns = set(tops.min(dim=1).values.tolist()), set(lefts.min(dim=1).values.tolist())
    grid = (len(rows), len(columns)) if len(rows) * len(columns) == len(pixels) else _square(len(pixels))
    return grid, *_in_reading_order(pixels, height, width)


def _in_reading_order(pixels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The patches from the top left, row by row, by where in the image their pixels are; and for each as it came its number there."""
    corners = (pixels // width % height).min(dim=1).values * width + (pixels % width).min(dim=1).values
    order = corners.argsort(stable=True).argsort()
    return pixels[order.argsort()], order.double()


def _square(count: int) -> tuple[int, int]:
    side = round(count**0.5)
    return (side, side) if side * side == count else (1, count)


def _moved(
    tape: Tape,
    call: Call,
    index: int,
    start: Call | None,
    places: Tensor,
    known: dict[tuple[int, int], Tensor] | None = None,
) -> Tensor:
    """Where numbers that stood at `places` when `start` gave them (None: the image) stand in a later call's result.

    Views move them, joins put `EXTRA` beside them for what does not come from the image; what else keeps their number leaves them in place.
    """
    known = {} if known is None else known  # a tensor that is joined with itself again and again is followed once
    if call is start:
        return places
    if (call.number, index) not in known:
        known[call.number, index] = _moved_by(tape, call, index, start, places, known)
    return known[call.number, index]


def _moved_by(
    tape: Tape, call: Call, index: int, start: Call | None, places: Tensor, known: dict[tuple[int, int], Tensor]
) -> Tensor:
    def before(source: Source) -> Tensor:
        if not tape.is_of_image(source):
            return torch.full(source.tensor.shape, float(EXTRA), dtype=torch.float64)
        return places if source.call is None else _moved(tape, source.call, source.index, start, places, known)

    if call.name == "cat":
        return torch.cat(
            [before(source) for source in call.sources], dim=int(call.args[1]) if len(call.args) > 1 else 0
        )
    first = next((source for source in call.sources if tape.is_of_image(source)), None)
    if first is None:
        raise LensError(
            Text(
                f"{call.path or 'the model'} makes tokens by {call.name} of what does not come from the image; "
                "which token stands for which patch cannot be told",
                f"{call.path or 'モデル本体'}が、画像に由来しない値から{call.name}でトークンを作っています。"
                "どのトークンがどのパッチに対応するかが分かりません",
            )
        )
    moved = before(first)
    if call.name in VIEWS | MOVES and call.name != "_to_copy":
        # torch takes any strides for a view of one number; these lie as they come
        moved = moved.contiguous() if call.name in ("view", "_unsafe_view") else moved
        values = iter([moved, *(source.tensor for source in call.sources[1:])])
        args = tree_map(lambda x: next(values) if isinstance(x, Tensor) else x, call.args)
        result = call.op(*args, **call.kwargs)
        return result if isinstance(result, Tensor) else tuple(result)[index]
    if call.outputs[0].shape != moved.shape:
        raise LensError(
            Text(
                f"between the image and the first block, {call.path or 'the model'} does {call.name}, which does not only move numbers; "
                "which token stands for which patch cannot be told",
                f"画像から最初のブロックまでの間に、{call.path or 'モデル本体'}が、値の移動にとどまらない演算（{call.name}）を行っています。"
                "どのトークンがどのパッチに対応するかが分かりません",
            )
        )
    return moved


def _are_rectangles(pixels: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether each patch holds a rectangle of the grid's patch size, with all of its pixels."""
    height, width = size
    rows, columns = pixels // width % height, pixels % width
    down = rows.max(dim=1).values - rows.min(dim=1).values + 1
    across = columns.max(dim=1).values - columns.min(dim=1).values + 1
    return bool((down == height // grid[0]).all() and (across == width // grid[1]).all())
