"""Two ViTs part by part: patients in, rows out, aligned by what each part does; what differs, and whether it can matter.

Parts are found on the tape of a forward, so a convolution and a product of cut patches stand in the same row. Where two patch embeddings are the
same function, that is shown: the weights of one are carried into the other and give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitscope._core.errors import LensError
from vitscope._core.text import Lang, Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS, NORMS, PRODUCTS, factors
from vitscope.lens.reading import find_class_token, read_tokens
from vitscope.lens.tape import Call
from vitscope.race.carrying import carried, mixes, weight_of
from vitscope.race.insides import attention_bias, bias_numbers, mlp, norms
from vitscope.race.structure_texts import (
    CUT_OTHERWISE,
    NOT_FOUND,
    PARTS,
    PATCHES_ALIKE,
    TOKENS_APART,
    UNKNOWN,
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


def structure(one: Patient, other: Patient) -> tuple[Row, ...]:
    """All parts, in the order in which an image passes them."""
    rows = []
    for name, describe in _PARTS.items():
        role, said = PARTS[name]
        a, b = _described(describe, one), _described(describe, other)
        differs = a.en != b.en
        if differs and NOT_FOUND in (a, b):
            said = UNKNOWN
        elif differs and name == "embedding":
            said = carried(one, other) or said
        elif differs and name == "tokens":
            said = _beside_patches(one, other) or said
        elif differs and name == "bias":
            count = max(bias_numbers(one), bias_numbers(other))
            said = said.format(count=f"{count:,}")
        rows.append(Row(role, a, b, differs, said if differs else Text("", "")))
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
    return Text(f"cut, then linear {given} to {width}", f"切り出してから線形変換（{given}→{width}次元）")


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
    if one.layout.grid != other.layout.grid:
        return None
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
    sums = sum((block.after_attention is not None) + (block.after_mlp is not None) for block in blocks)
    return Text(f"{sums} sums in {len(blocks)} blocks", f"{len(blocks)}ブロックに加算{sums}個")


def _final_norm(patient: Patient) -> Text:
    return Text("yes", "あり") if patient.anatomy.final_norm is not None else Text("none", "なし")


def _read_out(patient: Patient) -> Text:
    tape, anatomy, layout = patient.tape, patient.anatomy, patient.layout
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
