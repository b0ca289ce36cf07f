"""Which part of the image is never read, in words, and what follows for the fix. In goes a mask of unread pixels, out come sentences."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.layout import Layout
from vitscope.lens.operations import CONVOLUTIONS, POOLINGS, factors

_LEFT_OUT = Text(
    "look on the way from the pixels to the scores for what leaves them out: a slice, a crop, a mask, a stride larger than the kernel",
    "画素からスコアまでの経路で、この部分が抜け落ちる箇所を探してください。スライス、切り抜き、マスク、カーネルより大きいストライドなどが考えられます",
)
_NO_SLICE = "x = self.patch(x).flatten(2).transpose(1, 2)   # no "


def fitting(fault: Fault, patient: Patient, pixels: Tensor) -> Fault:
    """The fault with the fix for the part that is lost. H W: where it is."""
    lost = lost_patches(patient, pixels)
    if lost:
        count, from_the_end = len(lost), lost[0] > 0
        first, ja = ("last", "最後") if from_the_end else ("first", "先頭")
        cut = f"x[:, :-{count}]" if from_the_end else f"x[:, {count}:]"
        one = count == 1
        advice = Text(
            f"take a slice such as {cut} off the tokens: the {first} {'token' if one else f'{count} tokens'} there "
            f"{'is a patch' if one else 'are patches'} and no class token",
            f"トークンに対する{cut}のようなスライスを取り除いてください。そこでの{ja}の{count}トークンは、クラストークンではなくパッチです",
        )
        return replace(fault, advice=advice, code=_NO_SLICE + cut)
    if not _is_a_border_at_the_end(pixels):
        return replace(fault, advice=_LEFT_OUT, code="")
    return replace(fault, code=f"{_size_that_divides(patient)}{fault.code}")


def _size_that_divides(patient: Patient) -> str:
    """A line of code with the next smaller size of a patch that divides the image, where the model's own does not; nothing where there is none."""
    height, width = patient.images.shape[-2:]
    with suppress(Skipped):
        rows, columns = patient.loose.layout.grid
        own = height // rows
        if height == width and rows == columns and height % own:
            size = next(each for each in range(own, 0, -1) if height % each == 0)
            return f"patch_size = {size}   # not {own}\n" if size > 1 else ""
    return ""


def lost_patches(patient: Patient, pixels: Tensor) -> list[int]:
    """The patches that make up just these pixels, in order, where they are the first or the last ones, and no others are missing among the tokens."""
    try:
        layout: Layout = patient.loose.layout
    except Skipped:
        return []
    if layout.pixels is None:
        return []
    count, kept = len(layout.pixels), layout.token_of_patch
    lost = [patch for patch in range(count) if patch not in kept]
    shown = torch.zeros(patient.images[0].numel(), dtype=torch.bool)
    shown[layout.pixels[lost].flatten()] = True
    is_just_these = torch.equal(shown.view(patient.images[0].shape).any(dim=0), pixels)
    is_at_an_end = lost in (list(range(len(lost))), list(range(count - len(lost), count)))
    return lost if kept and is_just_these and is_at_an_end else []


def _is_a_border_at_the_end(pixels: Tensor) -> bool:
    """Whether whole rows or columns, the last ones among them, are lost and nothing within: what patches or a smaller size leave over."""
    for axis in (0, 1):
        whole = pixels.all(dim=axis)
        read = (~whole).nonzero().flatten()
        if len(read) and bool(whole[-1]) and int(read[-1] - read[0]) + 1 == len(read):
            return True
    return False


def where(pixels: Tensor) -> Text:
    """` (the last 2 of 32 columns)`, where it is such a strip; else ` (rows 0–3, columns 0–3)`, where it is less than all of them."""
    for axis, (en, ja) in ((1, ("rows", "行")), (0, ("columns", "列"))):
        whole = pixels.all(dim=axis)
        count, total = int(whole.sum()), len(whole)
        if not count:
            continue
        if bool(whole[total - count :].all()):
            return Text(
                f" (the last {count} of {total} {en} among it)", f"（{total}{ja}のうち最後の{count}{ja}を含む）"
            )
        if bool(whole[:count].all()):
            return Text(
                f" (the first {count} of {total} {en} among it)", f"（{total}{ja}のうち最初の{count}{ja}を含む）"
            )
    (top, bottom), (left, right) = (_ends(pixels.any(dim=axis)) for axis in (1, 0))
    box = pixels[top : bottom + 1, left : right + 1]
    if box.shape == pixels.shape:
        return Text("", "")
    rows, columns = _span(top, bottom), _span(left, right)
    is_all = bool(box.all())
    return Text(
        f" ({'' if is_all else 'within '}rows {rows}, columns {columns}, counted from 0)",
        f"（0から数えて行{rows}、列{columns}{'' if is_all else 'の範囲内'}）",
    )


def _ends(lines: Tensor) -> tuple[int, int]:
    """The first and the last that is so."""
    numbers = lines.nonzero().flatten()
    return int(numbers[0]), int(numbers[-1])


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def channels_told(unread: list[int], channels: int) -> Text:
    """The sentence that names them."""
    en, ja = (
        " and ".join(filter(None, [", ".join(map(str, unread[:-1])), str(unread[-1])])),
        "、".join(map(str, unread)),
    )
    numbers, reach = ("number", "reaches") if len(unread) == 1 else ("numbers", "reach")
    return Text(
        f"Of {channels} channels, {numbers} {en} (counted from 0) never {reach} the scores.",
        f"{channels}チャネルのうち、0から数えて{ja}番のチャネルはスコアにまったく影響しません。",
    )


def takes_all_channels(patient: Patient) -> bool:
    """Whether the patch embedding is given as many channels as the images have, so that it is not what leaves some out."""
    try:
        embedding = patient.loose.anatomy.patch_embedding
    except Skipped:
        return False
    image = patient.tape.image
    if embedding.name in CONVOLUTIONS | POOLINGS:
        return embedding.sources[0].tensor.shape[1] == image.shape[1]
    return any(s.tensor.numel() == image.numel() for s in factors(embedding) if patient.loose.tape.is_of_image(s))
