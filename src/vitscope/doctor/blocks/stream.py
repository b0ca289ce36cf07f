"""The stream of tokens through the blocks, as experiments on one forward show it. In goes a patient, out comes a `Stream`.

A skip is there where something of a block's input is left when its branch is silenced. A norm stands on the stream where tokens ten times as
large go on as if nothing had happened.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.doctor.blocks.parallel import as_constants, mlp_beside
from vitscope.doctor.blocks.twins import (
    head_input,
    homes_of,
    last_mlp_without_skip,
    mlp_in_its_place,
    products_between,
    unlike_their_twins,
)
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.flow import ancestors, descendants, mixes_channels, projections, without_products
from vitscope.lens.operations import factors
from vitscope.lens.tape import Call, Tape

TIMES = 10.0
"""How many times as large tokens are made."""
FOLLOWS = 0.2
"""Change beside the size before, from which something follows the size of the tokens: it is 9 with no norm, and next to 0 behind one."""
GROWS = 3.0
"""The same, from which no norm at all stands in between; a norm that not all tokens go through leaves less."""
PROBED = 3
"""Blocks without a sum of which the lack of a skip is proved; each takes two forwards."""


@dataclass(frozen=True)
class Stream:
    """What was found, blocks by their numbers. Stages differ, so that lists are empty where no more than half of the blocks are so, unless a block
    with the very same parameters is not."""

    blocks: int
    homes: list[str]
    """The module of each block."""
    attentions_without_skip: list[int]
    mlps_without_skip: list[int]
    side_by_side: list[int]
    """Of these, the blocks whose MLP works beside the attention."""
    normed_skips: list[int]
    """The skip starts behind a norm that belongs to the same block."""
    skips_from: list[str]
    """The modules that these start from."""
    normed_before_the_mlp: list[int]
    """The stream is normed between the two branches, and not behind the block."""
    post_norms: list[int]
    head_grows: float | None
    """How far the input of the head follows the size of the last block's tokens, where pre-norm blocks make it and it does."""


def stream_of(patient: Patient) -> Stream:
    """The experiments, on the one forward that is recorded.

    Raises:
        Skipped: the lens did not find the blocks.
    """
    anatomy, tape = patient.anatomy, patient.tape
    blocks = anatomy.blocks
    most = len(blocks) / 2
    whole = [n for n, block in enumerate(blocks) if block.enters is not None]
    attentions = [n for n, block in enumerate(blocks) if block.enters is None and block.leaves is None]
    if len(attentions) > most:
        attentions = attentions if _all_silenced(patient, attentions) else []
    else:
        attentions = [n for n in unlike_their_twins(patient, attentions, whole) if _all_silenced(patient, [n])]
    mlps = [n for n in range(len(blocks) - 1) if _mlp_without_skip(tape, blocks[n], blocks[n + 1])]
    if mlps and len(mlps) > (len(blocks) - 1) / 2:
        mlps = [*mlps, len(blocks) - 1] if last_mlp_without_skip(patient, mlps) else mlps
    else:
        mlps = _lone_mlps(patient, mlps)
    beside = [number for number in attentions if mlp_beside(patient, number)]
    mlps = sorted({*mlps, *beside, *_mlps_without_any_sum(patient, attentions)})
    owns = len({block.path for block in blocks}) == len(blocks)
    starts = {n: blocks[n].enters for n in range(len(blocks)) if owns and _starts_behind_its_norm(tape, blocks, n)}
    mixed = [n for n in range(len(blocks) - 1) if _only_the_mlp_is_normed(tape, blocks[n], blocks[n + 1])]
    mixed = mixed if mixed and len(mixed) > (len(blocks) - 1) / 2 else []
    behind = {n: skip for n, block in enumerate(blocks) if (skip := _skip_behind_a_norm(tape, block)) is not None}
    whole_post = [n for n in sorted(behind) if _is_normed_behind(tape, blocks, n)]
    post = sorted(behind) if len(behind) > most else whole_post
    if len(starts) <= most:
        odd = {**behind, **starts} if not (mixed or post) else {}
        starts = {n: odd[n] for n in unlike_their_twins(patient, odd, whole, in_modules=True)}
    normed = sorted(starts)
    grows = None if post or attentions or mlps else _growth_of_head_input(patient)
    paths = [start.path or "the model" for _, start in sorted(starts.items()) if start is not None]
    return Stream(len(blocks), homes_of(blocks), attentions, mlps, beside, normed, paths, mixed, post, grows)


def _lone_mlps(patient: Patient, found: list[int]) -> list[int]:
    """Of a few MLPs without a skip, and the last, those whose twins have one."""
    blocks = patient.anatomy.blocks
    found = [number for number in found if mlp_in_its_place(patient, number)]
    found = [*found, len(blocks) - 1] if last_mlp_without_skip(patient) else found
    return unlike_their_twins(patient, found, [n for n, block in enumerate(blocks) if block.after_mlp is not None])


def _all_silenced(patient: Patient, numbers: list[int]) -> bool:
    """Whether, with an attention's output at zero and nothing of an MLP beside it, what comes next no longer depends on the image. Blocks that join
    tokens otherwise than by a sum let it through."""
    tape, blocks = patient.tape, patient.anatomy.blocks
    other = patient.noise(1, seed=3)
    for number in numbers[:PROBED]:
        attention = blocks[number].attention
        behind = head_input(patient) or patient.anatomy.logits
        following = blocks[number + 1].attention.begins if number + 1 < len(blocks) else behind
        silenced = as_constants(mlp_beside(patient, number)) | attention.replacing(torch.zeros_like(attention.output))
        try:
            here = tape.play(silenced, following)
            there = tape.play({None: other, **silenced}, following)
        except LensError:
            return False
        if not patient.same(here, there):
            return False
    return True


def _mlps_without_any_sum(patient: Patient, numbers: list[int]) -> list[int]:
    """Of the blocks whose attention has no skip, those whose MLP has none either. What lies between two stages may look so in a few; the last,
    behind which the head's layers stand, is as the others are."""
    last = len(patient.anatomy.blocks) - 1
    before = [number for number in numbers if number != last]
    found = [number for number in before if _mlp_behind_has_no_skip(patient, number)]
    if len(found) <= len(before) / 2:
        return []
    return found + [last] * (last in numbers)


def _mlp_behind_has_no_skip(patient: Patient, number: int) -> bool:
    """Whether, with the last product between two attentions at zero, the second no longer depends on what the first gives."""
    tape, blocks = patient.tape, patient.anatomy.blocks
    attention, following = blocks[number].attention, blocks[number + 1].attention.begins
    own = projections(tape, following) | {following.number}
    products = [call for call in products_between(patient, attention.ends, following) if call.number not in own]
    beside = [call for call in products if not f"{call.path}.".startswith(f"{attention.path}.")]
    if len(beside) < 2 and len(products) < 3:
        return False
    last, was = products[-1], attention.output
    given = torch.randn(was.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(was.dtype)
    silenced: dict[Call | None, Tensor] = {last: torch.zeros_like(last.outputs[0])}
    with suppress(LensError):
        here, there = (tape.play({**attention.replacing(x), **silenced}, following) for x in (given, 0 * given))
        return patient.same(here, there)
    return False


def _mlp_without_skip(tape: Tape, block: Block, following: Block) -> bool:
    """Whether products stand between two blocks with no sum round them: silencing the last leaves nothing of the tokens."""
    leaves, enters = block.leaves, following.enters
    if leaves is None or enters is None or leaves.outputs[0].numel() != enters.outputs[0].numel():
        return False
    if enters.number in without_products(tape, leaves):
        return False
    between = descendants(tape, leaves) & ancestors(enters)
    products = sorted(n for n in between if n != leaves.number and mixes_channels(tape.calls[n]))
    if len(products) < 2:
        return False
    last = tape.calls[products[-1]]
    with suppress(LensError):
        was = tape.value(leaves)
        given = torch.randn(was.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(was.dtype)
        silenced: dict[Call | None, Tensor] = {last: torch.zeros_like(last.outputs[0])}
        return _change(tape.play(silenced, enters), tape.play({leaves: given, **silenced}, enters)) < 1e-6
    return False


def _starts_behind_its_norm(tape: Tape, blocks: tuple[Block, ...], number: int) -> bool:
    """Whether what a block adds to does not follow the size of what it was given, and the block's own module makes it so."""
    block = blocks[number]
    if block.enters is None or not block.path or not f"{block.enters.path}.".startswith(f"{block.path}."):
        return False
    if block.enters.path == block.path and mixes_channels(block.enters):
        return False
    return not _follows(tape, _before(tape, block), block.enters)


def _before(tape: Tape, block: Block) -> Call | None:
    """The last call outside of a block's module on the way to what it starts from."""
    call = block.enters
    while call is not None and f"{call.path}.".startswith(f"{block.path}."):
        call = next((s.call for s in call.sources if s.call is not None and tape.is_of_image(s)), None)
    return call


def _is_normed_behind(tape: Tape, blocks: tuple[Block, ...], number: int) -> bool:
    """Whether a block whose first sum is normed gives its second one to the next block normed too: post-norm as it is meant."""
    following = blocks[number + 1].enters if number + 1 < len(blocks) else None
    return following is not None and not _follows(tape, blocks[number].after_mlp, following)


def _only_the_mlp_is_normed(tape: Tape, block: Block, following: Block) -> bool:
    """Whether the MLP's skip starts behind a norm where the stream itself is not normed behind the block: no post-norm, but `x = norm(x)` in
    front of the MLP."""
    if not _is_post_norm(tape, block) or block.after_mlp is None or following.enters is None:
        return False
    if block.after_mlp.outputs[0].numel() != following.enters.outputs[0].numel():
        return False
    return _follows(tape, block.after_mlp, following.enters)


def _is_post_norm(tape: Tape, block: Block) -> bool:
    return _skip_behind_a_norm(tape, block) is not None


def _skip_behind_a_norm(tape: Tape, block: Block) -> Call | None:
    """What the MLP is added to, where it does not follow the size of the sum behind the attention."""
    if block.after_attention is None or block.after_mlp is None:
        return None
    plain = without_products(tape, block.after_attention)
    skips = [source.call for source in block.after_mlp.sources if source.call and source.call.number in plain]
    return skips[0] if len(skips) == 1 and not _follows(tape, block.after_attention, skips[0]) else None


def _follows(tape: Tape, given: Call | None, call: Call) -> bool:
    """Whether a call's result follows the size of an earlier one's; yes, where that cannot be tried."""
    if given is None or given is call or call.number not in descendants(tape, given):
        return True
    with suppress(LensError):
        return _growth(tape, given, call) > FOLLOWS
    return True


def _growth(tape: Tape, given: Call, call: Call) -> float:
    """How far a result moves, beside its size, when what was given becomes ten times as large. In the place of tokens, which may be so small that a
    norm's epsilon outweighs them, stand normal numbers."""
    shape, generator = given.outputs[0].shape, torch.Generator().manual_seed(0)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64).to(given.outputs[0].dtype)
    return _change(tape.play({given: drawn}, call), tape.play({given: TIMES * drawn}, call))


def _growth_of_head_input(patient: Patient) -> float | None:
    """How far the head's input follows the size of the last block's tokens; None where the blocks are not pre-norm, or it does not."""
    anatomy, tape = patient.anatomy, patient.tape
    last = anatomy.blocks[-1]
    if last.enters is None or last.leaves is None or not anatomy.head or anatomy.read_outs:
        return None
    begins = last.attention.begins
    if _follows(tape, last.enters, begins):
        return None
    source = factors(anatomy.head[-1])[0]
    if source.call is None or source.index != 0 or source.call.number not in descendants(tape, last.leaves):
        return None
    with suppress(LensError):
        growth = _growth(tape, last.leaves, source.call)
        return growth if growth > GROWS else None
    return None


def _change(was: Tensor, now: Tensor) -> float:
    """How far a tensor moves beside its own size."""
    return float((now - was).norm()) / max(float(was.norm()), 1e-30)
