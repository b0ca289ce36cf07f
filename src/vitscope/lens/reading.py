"""Which tokens the scores are read from, found by changing them. In go a tape and what stands where on it, out come numbers of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.lens.anatomy import Anatomy, as_tokens
from vitscope.lens.layout import Layout
from vitscope.lens.tape import Call, Tape


def read_tokens(tape: Tape, anatomy: Anatomy) -> tuple[int, ...]:
    """The tokens whose numbers, as the last block leaves them, reach what the head takes: each is changed by itself."""
    last, taken = anatomy.blocks[-1].leaves, _taken(anatomy)
    if last is None:
        return ()
    was, tokens = [tape.value(call) for call in taken], tape.value(last)
    found: list[int] = []
    for token in range(tokens.numel() // tokens.shape[-1]):
        changed = as_tokens(tokens).clone()
        changed[token] = changed[token].flip(0) + 1
        now = _played(tape, last, changed, taken)
        if any(not torch.equal(a, b) for a, b in zip(was, now, strict=True)):
            found.append(token)
    return tuple(found)


def find_class_token(tape: Tape, anatomy: Anatomy, layout: Layout, reads: tuple[int, ...]) -> int | None:
    """The first token that is no patch and that the scores are read from for itself: put in the place of another one that is read, it gives
    something else. Where it does not, both are parts of a mean (of registers, of all tokens), and neither is a class token."""
    last, taken = anatomy.blocks[-1].leaves, _taken(anatomy)
    if last is None:
        return None
    for token in (token for token in layout.extra if token in reads):
        others = [other for other in reads if other != token]
        if not others or not any(_are_alike(tape, last, taken, token, other) for other in (others[0], others[-1])):
            return token
    return None


@torch.no_grad()
def _are_alike(tape: Tape, last: Call, taken: list[Call], one: int, other: int) -> bool:
    """Whether two tokens may change places: what is taken differs by less than a thousandth of what changing one of them does to it."""
    tokens = as_tokens(tape.value(last))
    changed, swapped = tokens.clone(), tokens.clone()
    changed[one] = tokens[one].flip(0) + 1
    swapped[[one, other]] = tokens[[other, one]]
    was = [tape.value(call) for call in taken]
    apart, most = (
        max(float((a - b).abs().max()) for a, b in zip(was, _played(tape, last, each, taken), strict=True))
        for each in (swapped, changed)
    )
    return apart < 1e-3 * most


def _taken(anatomy: Anatomy) -> list[Call]:
    """What the heads take; not the scores, since a head of zeros would hide all that goes into it."""
    taken = [head.sources[-2].call for head in anatomy.head] or [anatomy.logits]
    return [call for call in taken if call is not None]


def _played(tape: Tape, last: Call, tokens: Tensor, taken: list[Call]) -> list[Tensor]:
    given = tokens.view_as(tape.value(last))
    return [tape.play({last: given}, call) for call in taken]
