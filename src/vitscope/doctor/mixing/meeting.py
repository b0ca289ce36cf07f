"""Which patches ever hear of one another. In goes the tape of one forward, out comes the group of patches that a patch belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope.doctor.mixing.experiments import Tokens, changed_with, entering, hear, leaving, tokens_of, width_of
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS
from vitscope.lens.tape import Tape

MANY = 4
"""So many groups are counted, unless each patch is one; a large model's no further than two."""


@dataclass(frozen=True)
class Groups:
    """Groups of patches of which none ever hears of another."""

    members: tuple[tuple[int, ...], ...]
    """Of those that were counted, in order: their tokens."""
    patches: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many patches each has that was counted."""
        return tuple(len(each) for each in self.members)

    @property
    def are_all(self) -> bool:
        """Whether every group was counted."""
        return sum(self.sizes) == self.patches


def way_in(patient: Patient) -> Tokens:
    """The tokens that the first block takes."""
    tape, anatomy = patient.tape, patient.anatomy
    first = anatomy.with_position or anatomy.with_class or anatomy.embedded
    return entering(tape, anatomy.blocks[0]) or tokens_of(first, width_of(tape, anatomy.blocks[0].attention))


def ways_in_and_out(patient: Patient) -> tuple[Tokens, Tokens] | None:
    """The same, and the tokens that the last block gives; None where these were not found."""
    tape, anatomy = patient.tape, patient.anatomy
    start, end = way_in(patient), leaving(tape, anatomy.blocks[-1])
    if end is None and anatomy.final_norm is not None:
        end = tokens_of(anatomy.final_norm, width_of(tape, anatomy.blocks[-1].attention))
    return None if end is None else (start, end)


def mixes_behind(tape: Tape, end: Tokens) -> bool:
    """Whether a convolution behind the blocks lets neighbours meet."""
    later = tape.calls[end.call.number + 1 :]
    return any(call.name in CONVOLUTIONS and set(call.args[1].shape[2:]) - {1} for call in later)


def groups_of(patient: Patient, start: Tokens, end: Tokens, extra: tuple[int, ...]) -> Groups:
    """The groups of patches that stand in no exchange with others, from the first block's door to the last one's.

    A group grows from one patch: by all tokens at the end that change with it, and by all patches of which these hang on, until it grows no more.
    """
    tape = patient.tape
    count, ends = (len(each.of(tape.value(each.call))) for each in (start, end))
    left = [token for token in range(count) if token not in extra]
    patches, found = len(left), list[tuple[int, ...]]()
    hidden = extra if ends == count else ()  # a class token that hears of all patches does not make them meet
    while left and len(found) < (2 if patient.is_large else MANY):
        # first that of the first patch, then that of the last: what reads tokens one after the other forgets the first
        group = _grown(tape, start, end, left[-1 if len(found) == 1 else 0], left, hidden)
        if not found and len(group) == 1 and ends == count and are_all_alone(tape, start, end, left):
            return Groups(tuple((patch,) for patch in left), patches)
        found.append(tuple(sorted(group)))
        left = [token for token in left if token not in group]
    return Groups(tuple(found), patches)


def _grown(tape: Tape, start: Tokens, end: Tokens, first: int, left: list[int], hidden: tuple[int, ...]) -> set[int]:
    group, before = {first}, set[int]()
    while group != before and len(group) < len(left):
        before = set(group)
        reached = changed_with(tape, start, sorted(group), end)
        reached[list(hidden)] = False
        if not bool(reached.any()):
            break
        group |= set(_numbers(hear(tape, start, end, _numbers(reached)))) & set(left)
    return group


def are_all_alone(tape: Tape, start: Tokens, end: Tokens, patches: list[int], *, least: float = 0.0) -> bool:
    """Whether no patch hears of any other: for each binary digit of their numbers, those that have it are changed, and then those that have not; two
    patches differ in one digit at least."""
    for digit in range((len(patches) - 1).bit_length()):
        for has in (0, 1):
            chosen = [patch for place, patch in enumerate(patches) if place >> digit & 1 == has]
            others = [patch for place, patch in enumerate(patches) if place >> digit & 1 != has]
            if bool(changed_with(tape, start, chosen, end, least=least)[others].any()):
                return False
    return True


def earlier_hear_later(tape: Tape, start: Tokens, end: Tokens, extra: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether patches of the first half change with those of the second, and the other way round."""
    patches = [token for token in range(len(start.of(tape.value(start.call)))) if token not in extra]
    first, second = patches[: len(patches) // 2], patches[len(patches) // 2 :]
    by_second, by_first = changed_with(tape, start, second, end), changed_with(tape, start, first, end)
    return bool(by_second[first].any()), bool(by_first[second].any())


def _numbers(tokens: Tensor) -> list[int]:
    return [int(n) for n in torch.nonzero(tokens).flatten()]
