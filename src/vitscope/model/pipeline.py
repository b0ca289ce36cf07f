"""The pipeline of a model in words: spec in, eight stages out, each with its name, shape, size and reason in both languages. No torch.

For `vit-b16-224` and `good-vit` it says what `spec/pipeline.md` says; every switch changes what it has to. Keys of stages are the
trace's names of intermediates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitscope._core.text import Text
from vitscope.model.pipeline_texts import (
    EMBEDDING_NAME,
    EMBEDDING_WHAT,
    EMBEDDING_WHY,
    ENCODER,
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
    Words,
)
from vitscope.model.size import size_of
from vitscope.model.spec import BadViTSpec, ModelSpec, ViTSpec, printed_vit
from vitscope.model.specimens.faults import FAULT_EFFECTS, HYPOTHESIS, PRINTS_AS


@dataclass(frozen=True)
class Stage:
    """One stage: `key` is the intermediate that it makes, `shape` is written as in `spec/pipeline.md`, the same in both languages."""

    number: int
    key: str
    name: Text
    shape: str
    parameters: int
    flops: int
    what: Text
    why: Text

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
        }


@dataclass(frozen=True)
class Pipeline:
    """The stages in order, with totals; `notes` say what a reader must know beside them (empty for most models)."""

    stages: tuple[Stage, ...]
    parameters: int
    flops: int
    notes: tuple[Text, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "parameters": self.parameters,
            "flops": self.flops,
            "notes": [note.to_dict() for note in self.notes],
        }


def pipeline_of(spec: ModelSpec) -> Pipeline:
    """What happens to an image in the model of a spec. A specimen's stages are those of the plain ViT that it prints as."""
    vit = printed_vit(spec)
    size = size_of(vit)
    rows = (
        ("image", "image", IMAGE, _image_shape(vit)),
        ("patches", "patches", _patches(vit), _patches_shape(vit)),
        ("patch_embedding", "patch_embedding", _embedding(vit), f"{vit.patches} tokens of {vit.dim}"),
        ("with_class", "with_class", PREFIX[vit.pooling], f"{vit.patches + vit.class_token} tokens of {vit.dim}"),
        ("with_position", "with_position", _position(vit), f"{vit.tokens} × {vit.dim}"),
        ("encoder", _encoder_key(vit), _encoder(vit), f"{vit.depth} layer{'s' if vit.depth > 1 else ''}"),
        ("pooled", "pooled", POOLED[vit.pooling], str(vit.dim)),
        ("logits", "logits", HEAD, str(vit.classes)),
    )
    values = _values(vit)
    stages = tuple(
        Stage(
            number=number,
            key=key,
            name=words.name,
            shape=shape,
            parameters=size.parameters_by_stage[counted],
            flops=size.flops_by_stage[counted],
            what=words.what.format(**values),
            why=words.why.format(**values),
        )
        for number, (counted, key, words, shape) in enumerate(rows, start=1)
    )
    return Pipeline(stages, size.parameters, size.flops, _notes(spec))


def _notes(spec: ModelSpec) -> tuple[Text, ...]:
    if not isinstance(spec, BadViTSpec):
        return ()
    effect = FAULT_EFFECTS[spec.fault]
    named = Text(f"bad-vit:{spec.fault}: {effect.en}", f"bad-vit:{spec.fault}：{effect.ja}")
    return (PRINTS_AS, named) if spec.fault == "none" else (PRINTS_AS, named, HYPOTHESIS)


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
        "N": spec.patches,
        "numbers": spec.patch_dim,
        "D": spec.dim,
        "K": spec.heads,
        "E": spec.head_dim,
        "M": spec.mlp_width,
        "L": spec.depth,
        "Y": spec.classes,
        "R": spec.registers,
        "convolutions": spec.tokenizer_layers,
        "reach": reach,
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


def _patches(spec: ViTSpec) -> Words:
    return PATCHES["overlapping" if spec.patch_embedding == "conv-tokenizer" else "cut"]


def _embedding(spec: ViTSpec) -> Words:
    kind = spec.patch_embedding
    return Words(EMBEDDING_NAME[kind], EMBEDDING_WHAT[kind], EMBEDDING_WHY)


def _position(spec: ViTSpec) -> Words:
    kind = spec.position
    reader = "class-token" if spec.class_token else "mean"
    what = POSITION_WHAT[kind, reader]
    if spec.registers:
        what = _joined(what, REGISTERS)
    reason = "some"
    if kind == "none":
        reason = "tokenizer" if spec.patch_embedding == "conv-tokenizer" else "none"
    return Words(POSITION_NAME[kind, reader], what, POSITION_WHY[reason])


def _encoder_key(spec: ViTSpec) -> str:
    return "final_norm" if spec.norm == "pre" else f"block{spec.depth - 1:02d}/after_mlp"


def _encoder(spec: ViTSpec) -> Words:
    switches = [SWITCH[spec.norm]]
    switches += [SWITCH["rotary"]] if spec.position == "rotary" else []
    switches += [SWITCH["qk_norm"]] if spec.qk_norm else []
    switches += [SWITCH["layer_scale"]] if spec.layer_scale is not None else []
    switches += [SWITCH["stochastic_depth"]] if spec.stochastic_depth else []
    return Words(ENCODER.name, _joined(ENCODER.what, *switches), ENCODER.why)


def _joined(*texts: Text) -> Text:
    return Text(" ".join(text.en for text in texts), "".join(text.ja for text in texts))
