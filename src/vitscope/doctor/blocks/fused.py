"""Parts of the matrices that make queries, keys and values which no gradient reaches, before training and after some steps (I2). In goes a patient,
out comes at most one finding.

Where one matrix makes all three, the parameter as a whole has a gradient also when two thirds of it have none.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, is_matrix
from vitscope.doctor.blocks.zeros import ZERO, of_blocks
from vitscope.doctor.finding import Finding, Skipped
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.flow import projections

LEAST = 0.25
"""Share of a matrix without a gradient from which it is a part of its own; a head more or less is none."""


def half_asleep(patient: Patient, census: Census) -> Iterator[Finding]:
    """Rows (or columns) whose gradient is exactly zero where others of the same matrix have one. Where the whole matrix has none at first, since
    something starts at zero, what it has after some steps counts."""
    names = [name for name in _projecting(patient) if name in census.learning]
    suspects = [name for name in names if _without(patient.gradients[name]) >= LEAST]
    if not suspects:
        return
    later = patient.trained.gradients
    shares = {name: _without(patient.gradients[name], later[name]) for name in suspects}
    found = of_blocks(patient, [name for name, share in shares.items() if LEAST <= share < 1])
    if not found:
        return
    share = min(shares[name] for name in found)
    yield ZERO.found(
        Text(
            f"No gradient moves {100 * share:.0f} % of the numbers in {listed(found)}: it is exactly zero, at the start and after some steps of "
            "training. Of queries, keys and values, which they make together, not all are used, or some are cut from the graph.",
            f"{listed(found)}の値のうち{100 * share:.0f} %で、勾配が初期状態でも数ステップ学習した後でもちょうどゼロです。"
            "この行列がまとめて作るクエリ・キー・バリューの一部が使われていないか、計算グラフから切り離されています。",
        ),
        {
            "matrices": found,
            "share_without_gradient": {name: shares[name] for name in found},
            "gradient_at_start": 0.0,
            "gradient_after_some_steps": 0.0,
        },
    )


def _projecting(patient: Patient) -> list[str]:
    """The matrices that the queries and keys of the attentions are made with."""
    try:
        attentions = patient.attentions
    except Skipped:
        return []
    tape = patient.tape
    used: set[int] = set()
    for attention in (part for each in attentions for part in (each.parts or (each,))):
        for number in projections(tape, attention.begins):
            used |= {_place(s.tensor) for s in tape.calls[number].sources if s.call is None or not tape.is_of_image(s)}
    return [name for name, p in patient.model.named_parameters() if is_matrix(p) and _place(p) in used]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _without(*gradients: Tensor | None) -> float:
    """The share of a matrix's rows, columns or further slices, along the axis along which it is largest, that none of some gradients moves."""
    moved = [gradient != 0 for gradient in gradients if gradient is not None]
    if not moved:
        return 0.0
    any_moved = torch.stack(moved).any(dim=0)
    slices = (any_moved.movedim(axis, 0).flatten(1).any(dim=1) for axis in range(any_moved.ndim))
    return max(1 - float(each.double().mean()) for each in slices)
