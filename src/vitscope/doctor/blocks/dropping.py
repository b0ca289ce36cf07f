"""Branches that training mode drops each time, by whatever hand-written drop path (L11). In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import is_matrix
from vitscope.doctor.blocks.zeros import ZERO, whole_branches
from vitscope.doctor.finding import Finding
from vitscope.doctor.forward.silence import Quiet, quiet
from vitscope.doctor.losses import loss_to_learn
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient, scores_of

DRAWS = 24
"""Forwards in training mode at most; most models need one."""

_ALWAYS_DROPPED = Text(
    "look at the probability of dropping a branch (drop path, stochastic depth): none may reach 1",
    "残差ブランチを落とす確率（drop path、stochastic depth）を確認してください。1にしてはいけません",
)


def always_dropped(patient: Patient) -> Iterator[Finding]:
    """Whole attentions and MLPs that get a gradient in evaluation mode, and in training mode one of exact zeros, whatever is drawn. torch's own
    dropouts are off: the check `determinism` names those."""
    left = {name for name, gradient in patient.gradients.items() if gradient is not None and bool(gradient.any())}
    left = {name for name in left if is_matrix(patient.model.get_parameter(name))}
    model, count = quiet(patient), patient.batch or patient.few
    for seed in range(DRAWS):
        try:
            left &= _zeros(model, patient.images[:count], patient.labels[:count], seed)
        except Exception:  # in training mode it asks for labels, or for more images, or gives something else
            return
        if not left:
            return
    stuck = [name for name in patient.gradients if name in left]
    whole = whole_branches(patient, stuck)
    if whole:
        yield replace(ZERO, advice=_ALWAYS_DROPPED, code="rates = torch.linspace(0, 0.1, depth)").found(
            Text(
                f"In training mode the gradient of {listed(stuck)} is exactly zero in each of {DRAWS} draws, and in evaluation mode it is not. That "
                f"is all of an attention or MLP ({listed(whole)}): training mode multiplies what it gives by zero.",
                f"{listed(stuck)}の勾配が、学習モードでは{DRAWS}回の乱数のどれでもちょうどゼロですが、評価モードではゼロではありません。"
                f"アテンションまたはMLPの全体に当たり（{listed(whole)}）、学習モードではその出力にゼロが掛けられています。",
            ),
            {"matrices": stuck, "whole_branches": whole, "draws": DRAWS},
            severity="error",
        )


def _zeros(model: Quiet, images: Tensor, labels: Tensor, seed: int) -> set[str]:
    """The parameters whose gradient in one forward in training mode is there and exactly zero."""
    held = {name: parameter for name, parameter in model.model.named_parameters() if parameter.requires_grad}
    with torch.enable_grad():
        answer = model.answer(images.to(next(iter(held.values())).dtype), seed=seed)
        scores = scores_of(answer, len(images), model.patient.classes)
        found = torch.autograd.grad(loss_to_learn(scores, labels), tuple(held.values()), allow_unused=True)
    return {
        name for name, gradient in zip(held, found, strict=True) if gradient is not None and not bool(gradient.any())
    }
