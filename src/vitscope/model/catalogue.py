"""What is built in: nothing in, one entry a model out, with its size and a sentence in both languages. No torch; `vitscope models`
prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitscope._core.text import Text
from vitscope.model.presets import FAULTS, LISTED, SHORT, WIDTHS, spec_by_name
from vitscope.model.size import size_of
from vitscope.model.specimens.faults import FAULT_EFFECTS, HYPOTHESIS
from vitscope.model.specimens.spec import BadViTSpec, ModelSpec

PATTERN = Text(
    "Any vit-{ti,s,b,l,h}PATCH-SIZE works, with patch 4, 8, 14, 16 or 32 and a size from 32 to 384 that the patch divides.",
    "vit-{ti,s,b,l,h}PATCH-SIZEの形なら、ここに載っていない組み合わせも使えます（パッチは4・8・14・16・32、画像サイズは32〜384で、パッチで割り切れるもの）。",
)


@dataclass(frozen=True)
class ModelEntry:
    """A built-in model; `flops` are for one image forward, `aliases` are other names of the same."""

    name: str
    parameters: int
    flops: int
    image_size: tuple[int, int]
    summary: Text
    aliases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "parameters": self.parameters,
            "flops": self.flops,
            "image_size": list(self.image_size),
            "summary": self.summary.to_dict(),
        }


def catalogue() -> list[ModelEntry]:
    """All names to choose from: the specimens, each fault of the second, and the listed presets."""
    specimens = [
        _entry("good-vit", GOOD),
        _entry("bad-vit", BAD, aliases=("bad-vit:batch-mixing",)),
        *(_entry(f"bad-vit:{fault}", _fault_summary(fault)) for fault in FAULTS),
    ]
    aliases = {name: short for short, name in SHORT.items()}
    presets = [
        _entry(name, _preset_summary(name), aliases=(aliases[name],) if name in aliases else ()) for name in LISTED
    ]
    return specimens + presets


GOOD = Text(
    "The specimen that its owner calls good: linear patch embedding, attention written out as products and softmax, no bias on q, k, v.",
    "持ち主が「良い」と呼ぶモデルです。パッチ埋め込みは線形層、アテンションは行列積とsoftmaxで書かれ、q・k・vにバイアスがありません。",
)
BAD = Text(
    "The specimen that its owner calls not good, on nn.MultiheadAttention; built as batch-mixing unless a fault is named. "
    + HYPOTHESIS.en,
    "持ち主が「良くない」と呼ぶモデルです。nn.MultiheadAttentionを使い、不具合を指定しなければbatch-mixingとして構築します。"
    + HYPOTHESIS.ja,
)


def _fault_summary(fault: str) -> Text:
    effect = FAULT_EFFECTS[fault]  # type: ignore[index]
    if fault != BadViTSpec().fault:
        return effect
    return Text(f"{effect.en} {HYPOTHESIS.en}", effect.ja + HYPOTHESIS.ja)


def _preset_summary(name: str) -> Text:
    spec = spec_by_name(name)
    word = next(width.word for width in WIDTHS.values() if (width.dim, width.depth) == (spec.dim, spec.depth))
    (height, width), n = spec.patch_size, spec.patches
    return Text(
        f"ViT-{word.capitalize()}: {spec.depth} layers of width {spec.dim}, {spec.heads} heads, {n} patches of {height}×{width}.",
        f"ViT-{word.capitalize()}：{spec.depth}層、{spec.dim}次元、{spec.heads}ヘッド、{height}×{width}のパッチ{n}個。",
    )


def _entry(name: str, summary: Text, *, aliases: tuple[str, ...] = ()) -> ModelEntry:
    spec: ModelSpec = spec_by_name(name)
    size = size_of(spec)
    return ModelEntry(name, size.parameters, size.flops, spec.image_size, summary, aliases)
