"""The optimizer's settings: weight decay. In goes the record of a loop, out come findings."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.record import Record
from vitscope.doctor.naming import listed

L2_IN_ADAM = Fault(
    "l2-decay-in-adam",
    "L2",
    "loop-settings",
    "warning",
    Text(
        "Adam adds its weight_decay to the gradient and then divides both by the gradient's size: weights with large gradients are hardly decayed, "
        "those with small ones are pulled to zero.",
        "Adamのweight_decayは勾配に加えられ、勾配の大きさで割られます。勾配の大きい重みはほとんど減衰せず、小さい重みはゼロへ引き寄せられます。",
    ),
    Text("use AdamW, which decays the weights themselves", "重みそのものを減衰させるAdamWを使ってください"),
    "torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)",
)
DECAY_EVERYWHERE = Fault(
    "decay-on-norms-and-positions",
    "L3",
    "loop-settings",
    "note",
    Text(
        "Norm scales, biases, the class token and positions are few numbers with no reason to be small; ViT recipes leave them out of the decay.",
        "正規化のスケール、バイアス、クラストークン、位置埋め込みは数が少なく、小さくする理由もありません。ViTの学習レシピでは減衰の対象から外します。",
    ),
    Text(
        "two parameter groups: weight_decay=0 for what has fewer than two dimensions, positions and tokens",
        "パラメータを2グループに分け、2次元未満のもの、位置埋め込み、トークンはweight_decay=0にしてください",
    ),
    "named = list(model.named_parameters())\n"
    "rest = [p for n, p in named if p.ndim < 2 or 'pos' in n or 'cls' in n]\n"
    "matrices = [p for n, p in named if not any(p is q for q in rest)]\n"
    "groups = [{'params': matrices}, {'params': rest, 'weight_decay': 0.0}]\n"
    "optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)",
)
_TOKEN = re.compile(
    r"(^|_)(pos|position|cls|class|dist|register|reg|mask)(ition|itional)?_?(emb|embed|embedding|embeddings|token|tokens)?s?$"
)


def settings(record: Record) -> Iterator[Finding]:
    """How the weights are decayed.

    Does: reads the optimizer's class and its groups.
    Finds: L2 decay inside of Adam; decay on norms, biases, positions and tokens.
    Must not accuse: AdamW, Adam(decoupled_weight_decay=True), SGD with decay, decays too small to matter.
    Source: https://arxiv.org/abs/1711.05101
    """
    if not record.saw_anything:
        raise Skipped(Text("nothing of the loop was seen", "ループの動作が何も観測されませんでした"))
    optimizer = record.optimizer
    decays = [float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups]
    coupled = [
        decay
        for decay, group in zip(decays, optimizer.param_groups, strict=True)
        if decay > 0 and not group.get("decoupled_weight_decay", False)
    ]
    if type(optimizer) in (torch.optim.Adam, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax) and coupled:
        name, decay = type(optimizer).__name__, max(coupled)
        yield L2_IN_ADAM.found(
            Text(
                f"{name} has weight_decay={decay:g}, which it applies as an L2 term inside of the adaptive step.",
                f"{name}にweight_decay={decay:g}が設定されており、適応的な更新の内側でL2項として適用されます。",
            ),
            {"optimizer": name, "weight_decay": decay},
            severity="warning" if decay >= 1e-4 else "note",
        )
    groups = zip(decays, optimizer.param_groups, strict=True)
    decayed = {id(p): decay for decay, group in groups if decay > 0 for p in group["params"] if p.requires_grad}
    named = [(name, p) for name, p in record.model.named_parameters() if id(p) in decayed]
    small = {name: decayed[id(p)] for name, p in named if p.ndim < 2 or _is_token(record.model, name)}
    if small:
        largest = max(small.values())
        yield DECAY_EVERYWHERE.found(
            Text(
                f"Weight decay ({largest:g}) also pulls on norms, biases, positions or tokens: {listed(sorted(small))}.",
                f"重み減衰（{largest:g}）が、正規化・バイアス・位置・トークンのパラメータ{len(small)}個にもかかっています（{listed(sorted(small))}）。",
            ),
            {"weight_decay": largest, "count": len(small), "parameters": sorted(small)[:20]},
        )


def _is_token(model: nn.Module, name: str) -> bool:
    """Whether a parameter is a token or positions: by its own name, or as the table of an Embedding of that name. `cls_head.weight` is a layer's."""
    owner, _, own = name.rpartition(".")
    if own == "weight" and isinstance(model.get_submodule(owner), nn.Embedding):
        own = owner.rpartition(".")[2]
    return bool(_TOKEN.search(own.lower()))
