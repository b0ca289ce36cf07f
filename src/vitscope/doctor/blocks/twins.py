"""Blocks of one kind, of which one is joined otherwise than the rest. In go a patient and the blocks of which something was found, out come those
that have a twin of which it was not.

A twin holds the same parameters under the same names and attends over as many tokens: what tells the two apart is how the forward joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.doctor.naming import without_numbers
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.flow import ancestors, descendants, mixes_channels
from vitscope.lens.operations import factors
from vitscope.lens.tape import Call


def homes_of(blocks: Sequence[Block]) -> list[str]:
    """The module that each block is, as most blocks show theirs; that of its attention where blocks are no modules. A block without its sums shows
    less of itself."""
    modules = _modules_of(blocks)
    return [module or block.attention.path for module, block in zip(modules, blocks, strict=True)]


def _modules_of(blocks: Sequence[Block]) -> list[str]:
    """The same, and nothing where a block's parts stand in lists."""
    shown = Counter(without_numbers(block.path) for block in blocks if block.path)
    usual = shown.most_common(1)[0][0] if shown else ""
    starts = [".".join(block.attention.path.split(".")[: len(usual.split("."))]) for block in blocks]
    found = [start if usual and without_numbers(start) == usual else "" for start in starts]
    return [path if found.count(path) == 1 else "" for path in found]


def unlike_their_twins(
    patient: Patient, found: Collection[int], sound: Collection[int], *, in_modules: bool = False
) -> list[int]:
    """Those of the blocks of which something was found that have a twin among the sound ones. With `in_modules`, blocks whose parts stand in lists
    have none: which norms are theirs is not known."""
    if not found or not sound:
        return []
    blocks = patient.anatomy.blocks
    homes = _modules_of(blocks) if in_modules else homes_of(blocks)

    def kind(number: int) -> tuple[object, ...] | None:
        if not homes[number]:
            return None
        module = patient.model.get_submodule(homes[number])
        held = tuple((name, tuple(parameter.shape)) for name, parameter in module.named_parameters())
        return (tuple(blocks[number].attention.map.shape), *held) if held else None

    kinds = {kind(number) for number in sound if number not in found}
    return [number for number in sorted(found) if kind(number) is not None and kind(number) in kinds]


def mlp_in_its_place(patient: Patient, number: int) -> list[Call]:
    """The products behind a block's attention that stand where those of other blocks' MLPs do, which have a sum round them; none where others stand
    between it and the next block: then that is no MLP, but what lies between two stages."""
    anatomy = patient.anatomy
    block, following = anatomy.blocks[number], anatomy.blocks[number + 1 : number + 2]
    others = [each for each in anatomy.blocks if each is not block and each.after_attention and each.after_mlp]
    places = {
        without_numbers(call.path)
        for each in others
        for call in products_between(patient, each.after_attention, each.after_mlp)
    }
    found = products_between(patient, block.leaves, following[0].enters if following else head_input(patient))
    own = [call for call in found if without_numbers(call.path) in places]
    is_mlp = len(own) > 1 and all("*" in place for place in places) and (not following or own == found)
    return own if is_mlp else []


def last_mlp_without_skip(patient: Patient, unlike: Sequence[int] = ()) -> bool:
    """Whether the last block's MLP, which stands where that of another block does, has nothing round it: with its result at zero, what the head is
    given no longer depends on the block's tokens. `unlike` are blocks of which that is known already, where no other has a sum."""
    tape, last, wanted = patient.tape, patient.anatomy.blocks[-1], head_input(patient)
    own: list[Call] = []
    if last.after_mlp is None:
        own = mlp_in_its_place(patient, len(patient.anatomy.blocks) - 1) or _as_in(patient, unlike)
    if not own or last.leaves is None or wanted is None:
        return False
    with suppress(LensError):
        was = tape.value(last.leaves)
        drawn = torch.randn(was.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(was.dtype)
        silenced: dict[Call | None, Tensor] = {own[-1]: torch.zeros_like(own[-1].outputs[0])}
        left = patient.apart(tape.play(silenced, wanted), tape.play({last.leaves: drawn, **silenced}, wanted))
        return left == 0 and patient.apart(tape.value(wanted), tape.play({last.leaves: drawn}, wanted)) > 0
    return False


def _as_in(patient: Patient, numbers: Sequence[int]) -> list[Call]:
    """The products behind the last attention that stand where those between other blocks' attentions and the next blocks do."""
    blocks = patient.anatomy.blocks
    places = {
        without_numbers(call.path)
        for number in numbers
        for call in products_between(patient, blocks[number].leaves, blocks[number + 1].enters)
    }
    found = products_between(patient, blocks[-1].leaves, head_input(patient))
    own = [call for call in found if "*" in without_numbers(call.path) and without_numbers(call.path) in places]
    return own if len(own) > 1 else []


def head_input(patient: Patient) -> Call | None:
    """What the head is given, where it is found: a head that starts at zero gives nothing away of it."""
    anatomy = patient.anatomy
    return factors(anatomy.head[-1])[0].call if anatomy.head else None


def products_between(patient: Patient, start: Call | None, end: Call | None) -> list[Call]:
    """The products that one call's numbers go through on the way to another, in order."""
    if start is None or end is None:
        return []
    between = (descendants(patient.tape, start) & ancestors(end)) - {start.number}
    return [patient.tape.calls[number] for number in sorted(between) if mixes_channels(patient.tape.calls[number])]
