"""The pipeline of a model in words: spec in, eight stages out, each with its name, shape, size and reason in both languages. No torch.

For `vit-b16-224` and `good-vit` it says what `spec/pipeline.md` says; every switch changes what it has to. Keys of stages are
`size.STAGES`. Where a fault acts, or where a number is not the file's but the data's, the stage has a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vitscope._core.text import Text
from vitscope.model.pipeline_texts import (
    EMBEDDING_NAME,
    EMBEDDING_WHAT,
    EMBEDDING_WHY,
    ENCODER,
    FOLLOWS_DATA,
    HEAD,
    IMAGE,
    PATCHES,
    POOLED,
    POSITION_NAME,
    POSITION_WHAT,
    POSITION_WHY,
    PREFIX,
    REGISTERS,
    SWITCH,
    Note,
    Words,
)
from vitscope.model.size import STAGES, size_of
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.faults import FAULT_EFFECTS, FAULT_STAGES, HYPOTHESIS, PRINTS_AS
from vitscope.model.specimens.spec import BadViTSpec, ModelSpec, printed_vit


@dataclass(frozen=True)
class Stage:
    """One stage: `key` is its name in `STAGES`, `shape` is written as in `spec/pipeline.md`, the same in both languages."""

    number: int
    key: str
    name: Text
    shape: str
    parameters: int
    flops: int
    what: Text
    why: Text
    notes: tuple[Note, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "key": self.key,
            "name": self.name.to_dict(),
            "shape": self.shape,
            "parameters": self.parameters,
            "flops": self.flops,
            "what": self.what.to_dict(),
            "why": self.why.to_dict(),
            "notes": [note.to_dict() for note in self.notes],
        }


@dataclass(frozen=True)
class Pipeline:
    """The stages in order, with totals; `notes` say what a reader must know before them (empty for most models)."""

    stages: tuple[Stage, ...]
    parameters: int
    flops: int
    notes: tuple[Text, ...] = ()
    follow_data: tuple[str, ...] = ()
    """Settings whose values are assumed here: in a training they are those of its data."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "parameters": self.parameters,
            "flops": self.flops,
            "notes": [note.to_dict() for note in self.notes],
            "follow_data": list(self.follow_data),
        }


def pipeline_of(spec: ModelSpec, *, follow_data: tuple[str, ...] = ()) -> Pipeline:
    """What happens to an image in the model of a spec. A specimen's stages are those of the plain ViT that it prints as.

    Args:
        spec: the model.
        follow_data: those of `channels` and `classes` that training data will decide, whatever the spec holds.
    """
    vit = printed_vit(spec)
    size = size_of(vit)
    rows = (
        (IMAGE, _image_shape(vit)),
        (PATCHES[_cut(vit)], _patches_shape(vit)),
        (_embedding(vit), f"{vit.patches} tokens of {vit.dim}"),
        (PREFIX[vit.pooling], f"{vit.patches + vit.class_token} tokens of {vit.dim}"),
        (_position(vit), f"{vit.tokens} × {vit.dim}"),
        (_encoder(vit), f"{vit.depth} layer{'s' if vit.depth > 1 else ''}"),
        (POOLED[vit.pooling], str(vit.dim)),
        (HEAD, str(vit.classes)),
    )
    values = _values(vit)
    assumed = [FOLLOWS_DATA[setting] for setting in follow_data]
    stages = tuple(
        Stage(
            number=number,
            key=key,
            name=words.name,
            shape=shape,
            parameters=size.parameters_by_stage[key],
            flops=size.flops_by_stage[key],
            what=words.what.format(**values),
            why=words.why.format(**values),
            notes=(
                *(Note(note.mark, note.text.format(**values)) for at, note in assumed if at == key),
                *_fault_notes(spec, key),
            ),
        )
        for number, (key, (words, shape)) in enumerate(zip(STAGES, rows, strict=True), start=1)
    )
    return Pipeline(stages, size.parameters, size.flops, _notes(spec), follow_data)


def _fault_notes(spec: ModelSpec, stage: str) -> tuple[Note, ...]:
    if not isinstance(spec, BadViTSpec) or stage not in FAULT_STAGES[spec.fault]:
        return ()
    effect = FAULT_EFFECTS[spec.fault]
    return (
        Note(
            Text(f"fault {spec.fault}", f"不具合 {spec.fault}"),
            Text(f"Fault {spec.fault}: {effect.en}", f"不具合 {spec.fault}：{effect.ja}"),
        ),
    )


def _notes(spec: ModelSpec) -> tuple[Text, ...]:
    if not isinstance(spec, BadViTSpec):
        return ()
    return (PRINTS_AS, FAULT_EFFECTS["none"] if spec.fault == "none" else HYPOTHESIS)


def _values(spec: ViTSpec) -> dict[str, object]:
    height, width = spec.image_size
    reach, jump = 1, 1
    for _ in range(spec.tokenizer_layers):
        reach, jump = reach + 4 * jump, 2 * jump  # a 3×3 convolution, a 3×3 pooling, then a stride of two
    return {
        "H": height,
        "W": width,
        "C": spec.channels,
        "pixels": height * width,
        "pixel_pairs": (height * width) ** 2,
        "N": spec.patches,
        "pairs": spec.patches**2,
        "numbers": spec.patch_dim,
        "D": spec.dim,
        "K": spec.heads,
        "heads": f"{spec.heads} head{'s' if spec.heads > 1 else ''}",
        "E": spec.head_dim,
        "M": spec.mlp_width,
        "Y": spec.classes,
        "R": spec.registers,
        "convolutions": spec.tokenizer_layers,
        "reach": reach,
        "kept": spec.patches_in_training,
        "percent": f"{100 * spec.stochastic_depth:g}",
    }


def _image_shape(spec: ViTSpec) -> str:
    return f"{spec.image_size[0]}×{spec.image_size[1]}×{spec.channels}"


def _patches_shape(spec: ViTSpec) -> str:
    (down, across), (height, width) = spec.grid, spec.patch_size
    count = f"{down}×{across} = {spec.patches}"
    if spec.patch_embedding == "conv-tokenizer":
        reach = _values(spec)["reach"]
        return f"{count} overlapping patches of {reach}×{reach}×{spec.channels}"
    return f"{count} patches of {height}×{width}×{spec.channels} = {spec.patch_dim} numbers"


def _cut(spec: ViTSpec) -> Literal["cut", "overlapping"]:
    return "overlapping" if spec.patch_embedding == "conv-tokenizer" else "cut"


def _embedding(spec: ViTSpec) -> Words:
    kind = spec.patch_embedding
    return Words(EMBEDDING_NAME[kind], EMBEDDING_WHAT[kind], EMBEDDING_WHY)


def _position(spec: ViTSpec) -> Words:
    kind = spec.position
    reader = "class-token" if spec.class_token else "mean"
    what = POSITION_WHAT[kind, reader]
    if spec.registers:
        what = _joined(what, REGISTERS)
    reason = POSITION_WHY[_cut(spec), "none" if kind == "none" else "some"]
    return Words(POSITION_NAME[kind, reader], what, reason)


def _encoder(spec: ViTSpec) -> Words:
    switches = [SWITCH[spec.norm]]
    switches += [SWITCH["rotary"]] if spec.position == "rotary" else []
    switches += [SWITCH["qk_norm"]] if spec.qk_norm else []
    switches += [SWITCH["layer_scale"]] if spec.layer_scale is not None else []
    switches += [SWITCH["stochastic_depth"]] if spec.stochastic_depth else []
    switches += [SWITCH["patch_dropout"]] if spec.patch_dropout else []
    return Words(ENCODER.name, _joined(ENCODER.what, *switches), ENCODER.why)


def _joined(*texts: Text) -> Text:
    return Text(" ".join(text.en for text in texts), "".join(text.ja for text in texts))
