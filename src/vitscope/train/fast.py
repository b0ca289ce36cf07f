"""What makes a training quick on this machine, chosen once and said in a line. In go a model and its settings, out comes the choice.

Nothing here changes what is computed, but for rounding (also where `precision.py` has taken fp32 for bf16), and for what dropout draws in a
last block that only computes the class token:
`train.fast: false` takes the plain way, and tests hold both against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vitscope._core.text import Text
from vitscope.model.attention import attention_of
from vitscope.model.last_block import one_token_is_enough
from vitscope.model.spec import ViTSpec
from vitscope.train.master_weights import why_not_masters
from vitscope.train.memory import is_glibc
from vitscope.train.spec import TrainSpec


@dataclass(frozen=True)
class FastPath:
    """The choice: whether bf16 weights with fp32 masters do the work, and all choices in words, for people."""

    masters: bool
    said: Text


def choose_fast_path(model: nn.Module, spec: TrainSpec, device: torch.device, changed: Text | None = None) -> FastPath:
    """Decides, by device, size and precision; nothing is done yet. `changed` is what was chosen before, to be said first."""
    if not spec.fast:
        return FastPath(False, Text("fast path off (train.fast: false)", "高速化なし（train.fast: false）"))
    said: list[Text] = [changed] if changed else []
    masters = False
    if spec.precision == "bf16":
        why_not = why_not_masters(model) or (None if device.type == "cpu" else f"not measured on {device.type} yet")
        masters = why_not is None
        said.append(
            Text("bf16 weights with fp32 masters", "bf16の重みとfp32のマスター重み")
            if masters
            else Text(f"autocast to bf16 ({why_not})", f"bf16へのautocast（{why_not}）")
        )
    if masters and one_token_is_enough(model):
        said.append(Text("last block for the class token only", "最後のブロックはクラストークンのみ計算"))
    attention = attention_of(model, device.type, bf16=spec.precision == "bf16")
    if attention is not None:
        path, tokens = attention
        kept = model.spec.tokens_in_training if isinstance(model.spec, ViTSpec) else tokens
        fewer = Text(f", {kept} in training", f"、学習中は {kept}") if kept != tokens else Text("", "")
        said.append(
            Text(
                f"{path} attention ({tokens} tokens on {device.type}{fewer.en})",
                f"{path} attention（{device.type} 上、{tokens} トークン{fewer.ja}）",
            )
        )
    if device.type == "cpu" and is_glibc():
        said.append(Text("freed memory kept for the next step", "解放したメモリは次のステップで再利用"))
    if spec.compile:
        mode = f" ({spec.compile})" if isinstance(spec.compile, str) else ""
        said.append(Text(f"torch.compile{mode}", f"torch.compile{mode}"))
    if not said:
        return FastPath(masters, Text("fast path: nothing to choose here", "高速化: ここで選ぶものはありません"))
    return FastPath(
        masters, Text("fast path: " + ", ".join(t.en for t in said), "高速化: " + "、".join(t.ja for t in said))
    )
