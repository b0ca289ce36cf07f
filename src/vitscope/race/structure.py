"""Two ViTs part by part: patients in, rows out, aligned by what each part does; what differs, and whether it can matter.

Parts are found on the tape of a forward, so a convolution and a product of cut patches stand in the same row. Where two patch embeddings are the
same function, that is shown: the weights of one are carried into the other and give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitscope._core.errors import Interrupted
from vitscope._core.text import Lang, Text
from vitscope.doctor.blocks.stream import stream_of
from vitscope.doctor.examination import Examination
from vitscope.doctor.forward.determinism import DRAWS
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS, FUSED, NORMS, PRODUCTS, factors
from vitscope.lens.reading import find_class_token, read_tokens
from vitscope.lens.tape import Call, Source, Tape
from vitscope.race.carrying import carried
from vitscope.race.insides import NORMS_BY_HAND, attention_bias, bias_numbers, mlp, norms
from vitscope.race.structure_attention import axis, heads, mask, scale, softmax
from vitscope.race.structure_embedding import beside_patches, embedding, tokens
from vitscope.race.structure_findings import FOUND
from vitscope.race.structure_learning import FEW_STILL, LOG_SOFTMAX, NOTHING, behind_the_head, dropout, learning, still
from vitscope.race.structure_texts import (
    FEW_STAND_STILL,
    IN_NEITHER,
    NOT_FOUND,
    PARTS,
    SEE,
    TWICE_IS_ONCE,
    UNKNOWN,
    UNKNOWN_IN_BOTH,
    filled,
)
from vitscope.race.ways import DropoutByMode


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
def structure(one: Patient, other: Patient, *, found: Sequence[Examination] = ()) -> tuple[Row, ...]:
    """All parts, in the order in which an image passes them; in the last row those that were followed in neither.

    Args:
        one, other: the two.
        found: what the doctor found in them; where that names a part, the part's row says so.
    """
    known = [{finding.id for finding in each.findings} for each in found] or [set(), set()]
    quiet = [_without_dropout(one), _without_dropout(other)]
    rows, unknown = list[Row](), list[Text]()
    for name, describe in _PARTS.items():
        role = PARTS[name][0]
        pair = [one, other] if name == "dropout" else quiet
        bare = _described(describe, pair[0]), _described(describe, pair[1])
        named = [[each for each in FOUND.get(name, ()) if each in ids] for ids in known]
        if bare[0] is bare[1] is NOT_FOUND and named[0] == named[1]:
            unknown.append(role)
            continue
        a, b = (_with_findings(text, ids) for text, ids in zip(bare, named, strict=True))
        meant = _meant(name, pair[0], pair[1], bare)
        if NOT_FOUND in bare or (meant is None and a.en != b.en):
            ids = [each for each in dict.fromkeys([*named[0], *named[1]]) if (each in named[0]) != (each in named[1])]
            meant = filled(SEE, ids=Text(", ".join(ids), "、".join(ids))) if ids else UNKNOWN
        rows.append(Row(role, a, b, meant is not None, meant or Text("", "")))
    if unknown:
        names = Text(", ".join(each.en for each in unknown), "、".join(each.ja for each in unknown))
        rows.append(Row(IN_NEITHER, names, names, True, UNKNOWN_IN_BOTH))
    return tuple(rows)


def _without_dropout(patient: Patient) -> Patient:
    """The same patient; where evaluation mode draws, with a forward that drops nothing, in which maps are what they are without."""
    if not any(call.name in DRAWS for call in patient.tape.calls):
        return patient
    twin = replace(patient, _known={})
    with DropoutByMode():
        twin.tape  # noqa: B018 - recorded, and kept
    return twin


def _meant(name: str, one: Patient, other: Patient, said: tuple[Text, Text]) -> Text | None:
    """What a difference of a part means; None where there is none."""
    if NOT_FOUND in said:
        return None
    usual = PARTS[name][1] if said[0].en != said[1].en else None
    if name == "embedding":
        found = carried(one, other)
        return usual if found is None or (found.is_same and usual is None) else found.said
    if usual is None:
        return None
    if name == "tokens":
        return beside_patches(one, other) or usual
    if name == "bias":
        return usual.format(count=f"{max(bias_numbers(one), bias_numbers(other)):,}")
    if name == "learning" and max(still(one), still(other)) < FEW_STILL:
        return FEW_STAND_STILL
    if name == "end" and {each.en for each in said} == {NOTHING.en, LOG_SOFTMAX.en}:
        return TWICE_IS_ONCE
    return usual


def _with_findings(said: Text, ids: Sequence[str]) -> Text:
    """A part, and what the doctor found there."""
    if not ids:
        return said
    return Text(f"{said.en} (doctor: {', '.join(ids)})", f"{said.ja}（検査結果：{'、'.join(ids)}）")


def _described(describe: Callable[[Patient], Text], patient: Patient) -> Text:
    try:
        return describe(patient)
    except Interrupted:
        raise
    except Exception:  # refused by the lens, or an unusual model: nothing is said of it
        return NOT_FOUND


def _parameters(patient: Patient) -> Text:
    return Text(f"{patient.parameter_count:,}", f"{patient.parameter_count:,}")


def _embedding_norm(patient: Patient) -> Text:
    entering = _entering(patient)
    numbers = range(patient.anatomy.patch_embedding.number, entering.number)
    count = sum(patient.tape.calls[number].name in NORMS for number in numbers)
    return (
        Text("none", "なし") if not count else Text(f"{count} before the first block", f"最初のブロックの前に{count}個")
    )


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
    return heads(patient, int(_entering(patient).outputs[0].shape[-1]))


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
    "embedding": embedding,
    "embedding norm": _embedding_norm,
    "tokens": tokens,
    "position": _position,
    "blocks": _blocks,
    "heads": _heads,
    "axis": axis,
    "scale": scale,
    "softmax": softmax,
    "mask": mask,
    "bias": attention_bias,
    "mlp": mlp,
    "norms": norms,
    "skips": _skips,
    "final norm": _final_norm,
    "read out": _read_out,
    "end": behind_the_head,
    "classes": _classes,
    "dropout": dropout,
    "parameters": _parameters,
    "learning": learning,
}


def _entering(patient: Patient) -> Call:
    anatomy = patient.anatomy
    return anatomy.blocks[0].enters or anatomy.with_position or anatomy.with_class or anatomy.embedded
