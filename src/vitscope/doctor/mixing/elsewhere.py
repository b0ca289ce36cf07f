"""Whether tokens meet outside the attentions, and where. In go a patient and its blocks, out comes a sentence.

Convolutions, MLPs over the tokens and means let them meet; beside these, an attention that compares parts of one token may be meant.
"""

from __future__ import annotations

import torch

from vitscope._core.text import Text
from vitscope.doctor.mixing.experiments import SMALL, Tokens, leaving, played, tokens_of, width_of, with_noise
from vitscope.doctor.mixing.meeting import are_all_alone
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS
from vitscope.lens.tape import Call, Source, Tape

NEVER = Text(
    " Patches never meet in any block.",
    "どのブロックでも、パッチどうしが情報をやり取りすることはありません。",
)
UNKNOWN = Text("", "")
"""Tokens become more or fewer on the way, or their end was not found."""
_MEANT = Text(
    "Where attention between the heads is meant beside that, nothing is wrong.",
    "それに加えてヘッド間のアテンションを意図的に使っているのであれば、問題ありません。",
)


def meeting_elsewhere(patient: Patient, blocks: tuple[Block, ...]) -> Text:
    """A sentence: `NEVER`, where no token hears of another between the embedding and the end of the last block; `UNKNOWN`; or where they meet."""
    tape, anatomy, end = patient.tape, patient.anatomy, leaving(patient.tape, blocks[-1])
    first = anatomy.with_position or anatomy.with_class or anatomy.embedded
    start = tokens_of(first, width_of(tape, blocks[0].attention))
    count = len(start.of(tape.value(first)))
    if end is None or len(end.of(tape.value(end.call))) != count:
        return UNKNOWN
    if are_all_alone(tape, start, end, list(range(count))):
        return NEVER
    call = _first_that_mixes(tape, start, blocks)
    if call is None or not call.path:
        return Text(
            f" Tokens meet elsewhere. {_MEANT.en}", f"トークンどうしは別の場所で情報をやり取りしています。{_MEANT.ja}"
        )
    en, ja = (
        ("a convolution", "畳み込み") if call.name in CONVOLUTIONS else ("a layer over the tokens", "トークン方向の層")
    )
    return Text(
        f" Tokens meet elsewhere, in {en} ({call.path}). {_MEANT.en}",
        f"トークンどうしは別の場所（{ja}、{call.path}）で情報をやり取りしています。{_MEANT.ja}",
    )


def _first_that_mixes(tape: Tape, start: Tokens, blocks: tuple[Block, ...]) -> Call | None:
    """The first convolution or product that makes numbers that hang on tokens of even and of odd places out of such as do not; looked for in the
    first block at whose end there is such a number."""
    number = start.call.number
    for block in blocks:
        end = block.leaves
        if end is not None and _mixes(tape, start, _source(end)):
            between = (call for call in tape.calls[number + 1 : end.number] if call.name in CONVOLUTIONS | PRODUCTS)
            call = next((call for call in between if _mixes(tape, start, _source(call))), None)
            return None if call is None or any(_mixes(tape, start, each) for each in call.sources) else call
        number = number if end is None else end.number
    return None


def _source(call: Call) -> Source:
    return Source(call.outputs[0], call, 0, call.written)


@torch.no_grad()
def _mixes(tape: Tape, start: Tokens, source: Source) -> bool:
    was, count, both = tape.value(source), len(start.of(tape.value(start.call))), []
    for first in (0, 1):
        now = played(tape, with_noise(tape, start, range(first, count, 2), first), source)
        apart = (now - was).abs()
        both.append(apart > max(SMALL * float(apart.max()), 1e-300))
    return bool((both[0] & both[1]).any())
