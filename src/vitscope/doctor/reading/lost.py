"""Where on the way to the scores the picture is lost. In goes a patient whose scores do not depend on it, out come the operation, and whether a
mask keeps patches from the token that is read."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call

CONSEQUENCES = (
    "pixel-coverage",
    "position",
    "token-mixing",
    "gradient",
    "overfit",
    "loss-stays-at-guessing",
    "learning-rate",
    "initial-loss",
    "cut-from-the-graph",
    "zero-gradient",
    "blocked-by-zeros",
)
"""What follows where the picture is lost: checks, and single faults."""
OF_THE_BLOCKS = (
    "skip-missing",
    "skip-behind-the-norm",
    "post-norm",
    "final-norm-missing",
    "block-does-nothing",
    "zero-initialised-block",
)
"""What the check `residual` may say where the picture is lost; that the blocks' results are thrown away is a cause, no consequence."""
WHY = Text(
    "Scores that do not depend on the picture cannot be learned from it: the loss stays at ln(classes), the accuracy at one in as many, "
    "whatever the learning rate, the data or the length of the training.",
    "画像に依存しないスコアからは何も学習できません。学習率やデータ、学習時間をどう変えても、損失はln(クラス数)、正解率は1/クラス数のままです。",
)
TAKING = frozenset({"select", "slice", "index", "index_select", "gather", "unbind", "split", "split_with_sizes"})
"""Operations that take a part of what they are given."""


@torch.no_grad()
def where_it_is_lost(patient: Patient) -> Call | None:
    """The last operation on the way to the scores that is given something that differs between two pictures and gives nothing on that does."""
    one = patient.tape
    other = patient.tape_of(patient.noise(patient.batch or 1, seed=1))
    if len(one.calls) != len(other.calls):
        return None
    differs = {
        (call.number, index)
        for call, twin in zip(one.calls, other.calls, strict=True)
        for index, (ours, theirs) in enumerate(zip(call.outputs, twin.outputs, strict=False))
        if _differ(ours, theirs)
    }
    ends = [
        call for call in one.calls if call.outputs and call.outputs[0].shape == (patient.batch or 1, patient.classes)
    ]
    if not ends:
        return None
    on_the_way = sorted(ancestors(ends[-1]), reverse=True)
    used = {(s.call.number, s.index) for number in on_the_way for s in one.calls[number].sources if s.call is not None}
    for number in on_the_way:
        call = one.calls[number]
        given = any(
            s.tensor is one.image if s.call is None else (s.call.number, s.index) in differs for s in call.sources
        )
        if given and not any(place in differs for place in used | {(ends[-1].number, 0)} if place[0] == number):
            return call
    return None


FADED = {torch.float64: 1e-8, torch.float32: 1e-5}
"""Difference between two pictures, beside the size of the numbers, that is no more than some rounding errors."""


@torch.no_grad()
def faded_to(patient: Patient, lost: Call) -> float | None:
    """How far two pictures still differ, beside the size of the numbers, where the last of it is lost: next to nothing, if it has grown smaller from
    layer to layer until rounding took it; None where something cuts it off at once."""
    other = patient.tape_of(patient.noise(patient.batch or 1, seed=1))
    left = 0.0
    theirs = other.calls[lost.number].sources if lost.number < len(other.calls) else ()
    for one, two in zip(lost.sources, theirs, strict=False):
        if one.tensor.is_floating_point() and one.tensor.numel() and one.tensor.shape == two.tensor.shape:
            apart = float((one.tensor - two.tensor).abs().max())
            left = max(left, apart / max(float(one.tensor.abs().max()), 1e-300))
    return left if 0 < left < FADED.get(patient.dtype, 1e-5) else None


def _differ(ours: Tensor, theirs: Tensor) -> bool:
    if not ours.numel():
        return False
    return ours.shape != theirs.shape or (
        ours.is_floating_point() and float((ours - theirs).abs().max()) > 1e-12 * (1 + float(ours.abs().max()))
    )


def takes_a_part(call: Call) -> bool:
    """Whether an operation takes some rows of what it is given: tokens, as a rule."""
    return call.name in TAKING and bool(call.sources) and call.sources[0].tensor.ndim in (2, 3)


def is_masked(patient: Patient) -> bool:
    """Whether a token that is no patch has exact zeros for all patches in every map, where other tokens have not."""
    try:
        extra, patches = patient.layout.extra, sorted(patient.layout.token_of_patch.values())
        maps = [attention.map for attention in patient.attentions]
    except Skipped:
        return False
    if not patches or any(m.shape[-1] <= max(patches) or m.shape[-2] != m.shape[-1] for m in maps):
        return False
    meets = torch.stack([(m[..., patches] != 0).any(dim=0).any(dim=-1) for m in maps]).any(dim=0)  # T: any patch, ever
    return bool(meets.any()) and any(not bool(meets[token]) for token in extra)
