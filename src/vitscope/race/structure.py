"""Two ViTs part by part: patients in, rows out, aligned by what each part does; what differs, and whether it can matter.

Parts are found on the tape of a forward, so a convolution and a product of cut patches stand in the same row. Where two patch embeddings are the
same function, that is shown: the weights of one are carried into the other and give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from vitscope._core.errors import LensError
from vitscope._core.text import Lang, Text
from vitscope.doctor.blocks.stream import stream_of
from vitscope.doctor.finding import Skipped
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS, FUSED, NORMS, PRODUCTS, factors
from vitscope.lens.reading import find_class_token, read_tokens
from vitscope.lens.tape import Call, Source, Tape
from vitscope.race.carrying import carried, mixes, weight_of
from vitscope.race.insides import NORMS_BY_HAND, attention_bias, bias_numbers, mlp, norms
from vitscope.race.structure_texts import (
    CUT_OTHERWISE,
    IN_NEITHER,
    NOT_FOUND,
    OTHER_SHAPE,
    PARTS,
    PATCHES_ALIKE,
    TOKENS_APART,
    UNKNOWN,
    UNKNOWN_IN_BOTH,
    filled,
    which,
)


@dataclass(frozen=True)
class Row:
    """One part of both models."""

    role: Text
    one: Text
    other: Text
    differs: bool
    """Whether they differ, as far as is known: what could not be followed is not called the same."""
    matters: Text
    """Whether a difference can matter, and why; empty where there is none."""

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {
            "role": self.role[lang],
            "one": self.one[lang],
            "other": self.other[lang],
            "differs": self.differs,
            "matters": self.matters[lang],
        }


@torch.no_grad()
def structure(one: Patient, other: Patient) -> tuple[Row, ...]:
    """All parts, in the order in which an image passes them; in the last row those that were followed in neither."""
    rows, unknown = list[Row](), list[Text]()
    for name, describe in _PARTS.items():
        role, said = PARTS[name]
        a, b = _described(describe, one), _described(describe, other)
        if a is b is NOT_FOUND:
            unknown.append(role)
            continue
        differs, meant = a.en != b.en, None
        if NOT_FOUND in (a, b):
            meant = UNKNOWN
        elif name == "embedding":
            found = carried(one, other)
            meant = found.said if found is not None else None
            differs = differs or not (found is None or found.is_same)
        elif differs and name == "tokens":
            meant = _beside_patches(one, other)
        elif differs and name == "bias":
            count = max(bias_numbers(one), bias_numbers(other))
            meant = said.format(count=f"{count:,}")
        rows.append(Row(role, a, b, differs, (meant or said) if differs else Text("", "")))
    if unknown:
        names = Text(", ".join(each.en for each in unknown), "、".join(each.ja for each in unknown))
        rows.append(Row(IN_NEITHER, names, names, True, UNKNOWN_IN_BOTH))
    return tuple(rows)


def _described(describe: Callable[[Patient], Text], patient: Patient) -> Text:
    try:
        return describe(patient)
    except (Skipped, LensError):
        return NOT_FOUND


def _parameters(patient: Patient) -> Text:
    return Text(f"{patient.parameter_count:,}", f"{patient.parameter_count:,}")


def _embedding(patient: Patient) -> Text:
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


def _embedding_norm(patient: Patient) -> Text:
    entering = _entering(patient)
    numbers = range(patient.anatomy.patch_embedding.number, entering.number)
    count = sum(patient.tape.calls[number].name in NORMS for number in numbers)
    return (
        Text("none", "なし") if not count else Text(f"{count} before the first block", f"最初のブロックの前に{count}個")
    )


def _tokens(patient: Patient) -> Text:
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


def _beside_patches(one: Patient, other: Patient) -> Text | None:
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


def _position(patient: Patient) -> Text:
    call = patient.anatomy.with_position
    if call is None:
        return Text("none added", "加算なし")
    table = next((s.tensor for s in call.sources if not patient.tape.is_of_image(s)), None)
    spread = float(table.detach().double().std()) if table is not None and table.numel() > 1 else 0.0
    return Text(f"added, spread {spread:.1g}", f"加算あり（標準偏差{spread:.1g}）")


def _blocks(patient: Patient) -> Text:
    count = len(patient.anatomy.blocks)
    return Text(str(count), str(count))


def _heads(patient: Patient) -> Text:
    # along the batch each token is a batch of its own, and so are its heads: those of one token are what the width holds
    along, width = bool(attentions_along_the_batch(patient)), int(_entering(patient).outputs[0].shape[-1])
    kinds = dict.fromkeys(
        (width // int(a.q.shape[-1]) if along else len(a.map), int(a.q.shape[-1])) for a in patient.attentions
    )
    words = [f"{heads} × {each}" for heads, each in kinds]
    return Text(", ".join(words), "、".join(words))


def _axis(patient: Patient) -> Text:
    along = attentions_along_the_batch(patient)
    return Text("the batch", "バッチ") if along else Text("the tokens", "トークン")


def _skips(patient: Patient) -> Text:
    blocks = patient.anatomy.blocks
    if any(block.leaves is None for block in blocks):  # no sum was found there; whether there is none, experiments show
        stream = stream_of(patient)
        said = [
            Text(
                f"none round the {en} in {len(without)} of {len(blocks)} blocks",
                f"{ja}に残差接続なし（{len(blocks)}ブロック中{len(without)}ブロック）",
            )
            for en, ja, without in (
                ("attention", "アテンション", stream.attentions_without_skip),
                ("MLP", "MLP", stream.mlps_without_skip),
            )
            if without
        ]
        return Text(", ".join(each.en for each in said), "、".join(each.ja for each in said)) if said else NOT_FOUND
    sums = sum((block.after_attention is not None) + (block.after_mlp is not None) for block in blocks)
    return Text(f"{sums} sums in {len(blocks)} blocks", f"{len(blocks)}ブロックに加算{sums}個")


def _final_norm(patient: Patient) -> Text:
    tape, anatomy = patient.tape, patient.anatomy
    has_norm = anatomy.final_norm is not None
    if anatomy.blocks[-1].leaves is None:  # where the last block ends is not known; what lies before the head is
        if not anatomy.head:
            return NOT_FOUND
        source = factors(anatomy.head[0])[0]
        has_norm = any(call.name in NORMS | NORMS_BY_HAND for call in _up_to_a_product(tape, source))
    return Text("yes", "あり") if has_norm else Text("none", "なし")


def _up_to_a_product(tape: Tape, source: Source) -> Iterator[Call]:
    """The calls that lead to a source, from the nearest product on."""
    call = source.call
    while call is not None and call.name not in PRODUCTS | CONVOLUTIONS and not call.name.startswith(FUSED):
        yield call
        call = next((each.call for each in call.sources if tape.is_of_image(each)), None)


def _read_out(patient: Patient) -> Text:
    tape, anatomy, layout = patient.tape, patient.anatomy, patient.layout
    if anatomy.blocks[-1].leaves is None:
        return NOT_FOUND
    reads = read_tokens(tape, anatomy)
    token = find_class_token(tape, anatomy, layout, reads)
    if token is not None and len(reads) == 1:
        return Text(f"class token (number {token})", f"クラストークン（{token}番）")
    return Text(
        f"{len(reads)} of {len(layout.patch_of_token)} tokens",
        f"{len(layout.patch_of_token)}個中{len(reads)}個のトークン",
    )


def _classes(patient: Patient) -> Text:
    return Text(str(patient.classes), str(patient.classes))


_PARTS: dict[str, Callable[[Patient], Text]] = {
    "embedding": _embedding,
    "embedding norm": _embedding_norm,
    "tokens": _tokens,
    "position": _position,
    "blocks": _blocks,
    "heads": _heads,
    "axis": _axis,
    "bias": attention_bias,
    "mlp": mlp,
    "norms": norms,
    "skips": _skips,
    "final norm": _final_norm,
    "read out": _read_out,
    "classes": _classes,
    "parameters": _parameters,
}


def _entering(patient: Patient) -> Call:
    anatomy = patient.anatomy
    return anatomy.blocks[0].enters or anatomy.with_position or anatomy.with_class or anatomy.embedded
