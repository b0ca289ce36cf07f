"""Norms over the tokens instead of over the width. In go a patient and its blocks, out comes a warning.

What such a norm gives does not change when the same is added to all tokens: it takes their mean away, channel by channel.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.experiments import entering, played, queries_keys_values, with_noise
from vitscope.doctor.naming import listed, part_of
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.tape import Call, Tape

SAME = 1e-9
"""What changes by less than this, beside what it is, has not changed; in float64."""
CENTRED = Fault(
    "normed-over-the-tokens",
    "M3",
    "token-mixing",
    "warning",
    Text(
        "A norm in a transformer works on each token by itself. Over the tokens it takes away what they have in common, brings all of them into each "
        "before attention has chosen any, and needs the same number of them for ever.",
        "Transformerの正規化は、トークンごとに行うものです。トークンの軸で正規化すると、全トークンに共通する成分が失われ、アテンションが選ぶ前に"
        "全トークンの情報が混ざり、トークン数も変えられなくなります。",
    ),
    Text(
        "norm the last axis, the width: LayerNorm(width) on (batch, tokens, width), without a transpose in front",
        "最後の軸（幅）で正規化してください。(バッチ, トークン, 幅)に対してLayerNorm(幅)を使い、その前にtransposeを入れないでください",
    ),
    "self.norm = nn.LayerNorm(dim)   # x: batch, tokens, dim",
)


def normed_over_tokens(patient: Patient, blocks: tuple[Block, ...]) -> Iterator[Finding]:
    """Blocks whose queries, keys and values stay what they are when one vector is added to every token."""
    if patient.dtype != torch.float64:
        return
    found = [block for block in blocks if _is_blind_to_the_mean(patient.tape, block)]
    if not found:
        return
    where = listed(block.attention.path for block in found)
    yield CENTRED.found(
        Text(
            f"Adding the same to every token changes no query, key or value in {part_of(len(found), len(blocks), 'block')}: the norm in front of "
            f"attention runs over the tokens, not over the width ({where}).",
            f"全トークンに同じベクトルを足しても、{len(blocks)}個のブロックのうち{len(found)}個でクエリ・キー・バリューがまったく変わりません。"
            f"アテンションの前の正規化が、幅ではなくトークンの軸で計算されています（{where}）。",
        ),
        {"modules": [block.attention.path or "the model" for block in found], "blocks": len(blocks)},
    )


@torch.no_grad()
def _is_blind_to_the_mean(tape: Tape, block: Block) -> bool:
    start = entering(tape, block)
    if start is None:
        return False
    was, q = start.of(tape.value(start.call)), block.attention.q
    if start.call.outputs[0].ndim != 3 or q.shape[1] != len(was) or len(was) == was.shape[1]:
        return False  # of a map, or where channels come first, it is not sure which axis the tokens are
    generator = torch.Generator().manual_seed(0)
    added = torch.randn(was.shape[1], generator=generator, dtype=torch.float64).to(was.dtype) * (was.std() + 1e-3)
    same: dict[Call | None, Tensor] = {start.call: start.as_given(was + added)}
    other = with_noise(tape, start, [0], 0)
    for part in block.attention.parts[:1] or (block.attention,):
        for _, source, _ in queries_keys_values(part):
            if not tape.is_of_image(source):
                continue
            value = tape.value(source)
            size = SAME * (1e-300 + float(value.abs().max()))
            if float((played(tape, same, source) - value).abs().max()) > size:
                return False
            if float((played(tape, other, source) - value).abs().max()) <= size:
                return False
    return True
