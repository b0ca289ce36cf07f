"""Which images somebody's model takes: its own word in go, else sizes that are tried, out comes the first that runs.

A model's own word is what it or a part of it holds under a usual name, what a position table counts, or what the function that makes it takes by
default. A model that says nothing and runs on several sizes is taken to be meant for small ones, which are cheap to examine: 32 before 224. Only
patches of 14 pixels and more come with 224 as a rule (ViT-B/16), and 32 pixels would be a handful of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from vitscope._core.raised import CodeError, Raised, raised
from vitscope._core.text import Text
from vitscope.train.randomness import global_generator_restored

SMALL_FIRST = (32, 28, 64, 96, 128, 160, 192, 224, 240, 256, 288, 336, 384, 448, 512, 518)
"""Image sizes that are tried, in this order, on a model that does not say its own."""
LARGE_PATCH, FEWEST_A_SIDE = 14, 4
"""Pixels of a patch from which on 224 is tried first; patches in a row, with fewer of which a size is tried last."""
_SIDES, _DEPTHS = ("image_size", "img_size", "input_size", "resolution"), ("channels", "in_chans", "in_channels")
MOST_OTHERS = 8
"""Shapes that are tried beside those that somebody asked for, to say what a model takes instead."""
Size = tuple[int, int]
Shape = tuple[Size, int]
"""Of images: height and width, and channels."""


def own_word(model: nn.Module, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What a model says of its images: timm's `pretrained_cfg`, transformers' `config`, an attribute of a usual name, its position table, or what
    it was made with (`size`, `channels`, `mean`, `std` and `names`, as far as they are said)."""
    found: dict[str, Any] = {}
    cfg = getattr(model, "pretrained_cfg", None)
    if isinstance(cfg, Mapping):
        shape, mean, std = cfg.get("input_size"), cfg.get("mean"), cfg.get("std")
        if isinstance(shape, tuple | list) and len(shape) == 3:
            found |= {"channels": int(shape[0]), "size": (int(shape[1]), int(shape[2]))}
        if isinstance(mean, tuple | list) and isinstance(std, tuple | list):
            found |= {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    config = getattr(model, "config", None)
    _take_over(found, getattr(config, "image_size", None), getattr(config, "num_channels", None))
    for name, depth in (("image_size", "channels"), ("img_size", "in_chans")):
        _take_over(found, getattr(model, name, None), getattr(model, depth, None))
    # the patch embedding knows better than a pretrained configuration what this very model was made for
    own = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if isinstance(own, tuple) and len(own) == 2:
        found["size"] = own
    for part in model.modules():
        for name in ("image_size", "img_size"):
            _take_over(found, getattr(part, name, None), None)
    for name in (*_SIDES, "size"):
        _take_over(found, made_with.get(name), None)
    for name in (*_DEPTHS, "chans"):
        _take_over(found, None, made_with.get(name))
    counted = _of_position_table(model)
    if counted is not None:
        found.setdefault("size", counted)
    names = getattr(config, "id2label", None)
    if isinstance(names, Mapping) and not all(str(v).startswith("LABEL_") for v in names.values()):
        found["names"] = tuple(str(names[key]) for key in sorted(names))
    return found


def _take_over(found: dict[str, Any], size: Any, depth: Any) -> None:
    """What is said of size and channels, where nothing was said before."""
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        found.setdefault("size", (size, size))
    elif isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(x, int) for x in size):
        found.setdefault("size", (size[0], size[1]))
    if depth in (1, 3) and not isinstance(depth, bool):
        found.setdefault("channels", depth)


def _of_position_table(model: nn.Module) -> Size | None:
    """The square image whose patches a position table counts, with or without tokens that are no patch."""
    patch = patch_side(model)
    if patch is None:
        return None
    for name, table in [*model.named_parameters(), *model.named_buffers()]:
        if "pos" not in name.lower() or table.ndim not in (2, 3) or (table.ndim == 3 and len(table) != 1):
            continue
        for extra in (0, 1, 2, 5):
            side = math.isqrt(max(0, table.shape[-2] - extra))
            if side > 1 and side * side == table.shape[-2] - extra:
                return (side * patch, side * patch)
    return None


def patch_side(model: nn.Module) -> int | None:
    """Pixels along a patch, where the first layer cuts them: a convolution that steps over whole patches, or a linear layer over square ones."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)), None)
    if isinstance(first, nn.Conv2d):
        sides = {*first.kernel_size, *first.stride}
        return sides.pop() if len(sides) == 1 and max(sides) > 1 else None
    if isinstance(first, nn.Linear):
        for channels in (3, 1):
            side = math.isqrt(first.in_features // channels)
            if side > 1 and channels * side * side == first.in_features:
                return side
    return None


def _in_order(model: nn.Module) -> list[int]:
    patch = patch_side(model)
    if patch is None:
        return list(SMALL_FIRST)
    sizes = sorted(SMALL_FIRST, key=lambda size: (size % patch != 0, size // patch < FEWEST_A_SIDE))
    return [224, *(size for size in sizes if size != 224)] if patch >= LARGE_PATCH else sizes


def first_that_runs(
    place: str, model: nn.Module, size: Size | None, channels: int | None, batches: Sequence[int], *, is_sure: bool
) -> tuple[Size, int, bool]:
    """The first size and number of channels that the model takes, and whether the size was a guess.

    Args:
        place: what the model is called.
        model: it.
        size: the only one that is tried; where it is not sure, the first.
        channels: the only number that is tried.
        batches: batch sizes of which it has to take one.
        is_sure: whether somebody asked for this very size.

    Raises:
        ModelError: it takes none of those that are tried; with what it said of the first, and what helps.
    """
    others = [(each, each) for each in _in_order(model)]
    sizes = [*([size] if size is not None else []), *(each for each in others if each != size)]
    asked = sizes[:1] if is_sure and size is not None else sizes
    depths = _depths(model) if channels is None else [channels]
    first: BaseException | None = None
    said: set[str] = set()
    for batch, side, depth in [(batch, *each) for batch in batches for each in _candidates(asked, depths)]:
        error = _error_of(model, batch, side, depth)
        if error is None:
            return side, depth, side != size
        first = first or error
        said.add(f"{type(error)}{error}")
        if raised(error).advice is not None:
            break  # another size would end alike
    assert first is not None
    tried = list(_candidates(asked, depths))
    rest = [each for each in _candidates(sizes, _depths(model)) if each not in tried]
    raise CodeError(_refused(place, model, raised(first), said, tried, rest)) from first


def _refused(
    place: str, model: nn.Module, first: Raised, words: set[str], tried: Sequence[Shape], rest: Sequence[Shape]
) -> Text:
    """Why a model takes none of the images that were tried; others show whether that is because of their shape."""
    did, advice = first.did, first.advice
    if advice is not None:
        return Text(
            f"{place} does not run: its forward {did.en}; {advice.en}",
            f"{place}は実行できません。forwardが{did.ja}。{advice.ja}",
        )
    (height, width), depth = tried[0]
    shape, shape_ja = f"images of {height}×{width} pixels", f"{height}×{width}画素の画像を"
    if len(tried) > 2:
        span = f"{min(SMALL_FIRST)}", f"{max(SMALL_FIRST)}"
        shape = f"any size that was tried ({span[0]} to {span[1]} pixels)"
        shape_ja = f"試したどのサイズの画像（{span[0]}〜{span[1]}画素）も"
    said = Text(f"{place} does not take {shape}: it {did.en}", f"{place}は{shape_ja}受け付けません。{did.ja}")
    for (height, width), depth in rest[:MOST_OTHERS]:
        error = _error_of(model, 1, (height, width), depth)
        if error is None:
            return Text(
                f"{said.en}; it takes {height}×{width} pixels with {depth} channel{'s' if depth > 1 else ''}: give these with --image-size and "
                "--channels, or neither",
                f"{said.ja}。{height}×{width}画素、{depth}チャネルの画像なら受け付けます。--image-sizeと--channelsにそれを指定するか、どちらも省略して"
                "ください",
            )
        words.add(f"{type(error)}{error}")
    if len(tried) + len(rest) > 1 and len(words) == 1:
        return Text(
            f"{place} does not run: whatever the size of the images, its forward {did.en}; mend it (--debug shows the traceback), or give the "
            "model other arguments with --kwargs",
            f"{place}は実行できません。画像のサイズにかかわらず、forwardが{did.ja}。forwardを修正するか（--debugでトレースバックを表示）、--kwargsで"
            "モデルに別の引数を渡してください",
        )
    return Text(
        f"{said.en}; say its own with --image-size and --channels, or mend its forward if this is not for the size",
        f"{said.ja}。正しいサイズを--image-sizeと--channelsで指定するか、サイズが原因でなければforwardを修正してください",
    )


def _error_of(model: nn.Module, batch: int, side: Size, depth: int) -> BaseException | None:
    """What a forward of black images raises; None where it ends well."""
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    try:
        with torch.no_grad(), global_generator_restored(), torch.compiler.set_stance("force_eager"):
            model(torch.zeros(batch, depth, *side, device=weight.device, dtype=weight.dtype))
    except (Exception, SystemExit) as error:
        return error
    return None


def _candidates(sizes: Sequence[Size], depths: Sequence[int]) -> Iterator[Shape]:
    for depth in depths:
        for side in sizes:
            yield side, depth


def _depths(model: nn.Module) -> list[int]:
    """Colour, grey, then what the first convolution takes."""
    first = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), 3)
    return list(dict.fromkeys((3, 1, first)))
