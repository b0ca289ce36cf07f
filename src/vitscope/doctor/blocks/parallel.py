"""MLPs that work beside an attention, on the same tokens (ViT-22B, PaLM). In goes a block, out come
the MLP's products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitscope.doctor.patient import Patient
from vitscope.lens.flow import ancestors, descendants, mixes_channels, projections
from vitscope.lens.operations import SUMS
from vitscope.lens.tape import Call


def mlp_beside(patient: Patient, number: int) -> list[Call]:
    """The products of an MLP that is given the tokens that a block's attention is given, and whose result comes together with the attention's: in a
    sum, or side by side in front of one last product; the attention's own projections among them there, which may be one with the MLP's first. None
    where there is no such MLP: a single product beside an attention is a shortcut with weights."""
    tape, attention = patient.tape, patient.anatomy.blocks[number].attention
    before, branch = ancestors(attention.ends), descendants(tape, attention.ends)
    for call in tape.calls[attention.ends.number + 1 :]:
        joined = [s for s in call.sources if s.call is not None and s.call.number not in branch and tape.is_of_image(s)]
        if call.number not in branch or call.name not in SUMS | {"cat"} or not joined:
            continue
        beside = {number for number in ancestors(call) - before - branch if mixes_channels(tape.calls[number])}
        if call.name == "cat":
            beside |= projections(tape, attention.begins)
        is_mlp = len(beside) > 1 and min(beside) in ancestors(tape.calls[max(beside)])
        return [tape.calls[number] for number in sorted(beside)] if is_mlp or call.name == "cat" else []
    return []


def as_constants(calls: Sequence[Call]) -> dict[Call | None, Tensor]:
    """Numbers in the place of some results that do not hang on the image. No zeros: a gate of zero would close a skip as well."""
    generator = torch.Generator().manual_seed(0)
    return {
        call: torch.randn(call.outputs[0].shape, generator=generator, dtype=torch.float64).to(call.outputs[0].dtype)
        for call in calls
    }
