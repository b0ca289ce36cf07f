"""How a model makes tokens of an image: a patient in, what a row of a structural comparison says out; two, what a difference means."""

from __future__ import annotations

from contextlib import suppress
from math import prod

from vitscope._core.text import Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, factors
from vitscope.race.carrying import mixes, weight_of
from vitscope.race.structure_texts import CUT_OTHERWISE, OTHER_SHAPE, PATCHES_ALIKE, TOKENS_APART, filled, which


def embedding(patient: Patient) -> Text:
    """The operation that maps a patch to a token, and what it takes."""
    call = patient.anatomy.patch_embedding
    weight = weight_of(patient, call)
    if call.name in CONVOLUTIONS and weight is not None:
        size, stride = "×".join(map(str, weight.shape[2:])), "×".join(map(str, call.args[3]))
        return Text(
            f"convolution {size}, stride {stride}, to {weight.shape[0]}",
            f"畳み込み{size}、ストライド{stride}、{weight.shape[0]}次元へ",
        )
    width = call.outputs[0].shape[-1]
    given = factors(call)[0].tensor.shape[-1] if call.name in PRODUCTS else 0
    strips, strips_ja = _strips(patient)
    return Text(
        f"cut{strips}, then linear {given} to {width}", f"{strips_ja}切り出してから線形変換（{given}→{width}次元）"
    )


def _strips(patient: Patient) -> tuple[str, str]:
    """What shape is cut out, where that is no square."""
    with suppress(Skipped):
        size = [whole // parts for whole, parts in zip(patient.images.shape[-2:], patient.layout.grid, strict=True)]
        if patient.layout.pixels is not None and patient.layout.are_squares and size[0] != size[1]:
            return f" into {size[0]}×{size[1]}", f"{size[0]}×{size[1]}ずつ"
    return "", ""


def tokens(patient: Patient) -> Text:
    """How many there are, and what is in them."""
    layout = patient.layout
    extra = len(layout.extra)
    rows, columns = layout.grid
    patches = Text(f"patches in {rows} rows of {columns}", f"パッチ{rows}行×{columns}列")
    if mixes(patient):
        patches = Text("pieces of several patches in each", "それぞれに複数のパッチの値が混在")
    elif not layout.are_squares:
        patches = Text("pixels of no square in each", "それぞれの画素が正方形にまとまらない")
    return Text(
        f"{len(layout.patch_of_token)} ({patches.en}, {extra} more)",
        f"{len(layout.patch_of_token)}個（{patches.ja}、その他{extra}個）",
    )


def beside_patches(one: Patient, other: Patient) -> Text | None:
    """What it means that of as many patches other tokens are made (the class token is no finer detail), or that patches are no squares."""
    first, second = (mixes(each) or not each.layout.are_squares for each in (one, other))
    if first or second:
        return filled(CUT_OTHERWISE, which=which(first, second))
    grids = one.layout.grid, other.layout.grid
    if grids[0] != grids[1]:
        return OTHER_SHAPE if prod(grids[0]) == prod(grids[1]) else None
    count = abs(len(one.layout.extra) - len(other.layout.extra))
    if not count:
        return TOKENS_APART
    return PATCHES_ALIKE.format(count=count)
