"""Images of a batch that compete for something: what one takes is lost to another, and nothing flows between them. In goes a patient."""

from __future__ import annotations

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import Patient

LITTLE, LEAST = 1e-4, 1e-3
"""How much an image is changed, in its own spread: what flows would move by as much, what is chosen stays. Of an influence under the least, there is
no telling."""
COMPETING = Fault(
    "images-compete",
    "M1",
    "batch-independence",
    "warning",
    Text(
        "What is chosen for one image depends on the others in its batch, as where experts take so many tokens and no more: the same image can get "
        "other scores beside other images, and in a batch of another size.",
        "エキスパートが受け取るトークン数に上限がある場合のように、ある画像に対する選択が同じバッチのほかの画像に左右されます。同じ画像でも、"
        "一緒に入る画像やバッチサイズが変わるとスコアが変わることがあります。",
    ),
    Text(
        "in evaluation, set no limit to what an expert takes (or one that no batch reaches); where tokens are chosen by rank, let each image choose "
        "among its own",
        "評価時には、エキスパートが受け取る数の上限をなくす（または十分に大きくする）のが確実です。順位でトークンを選ぶ場合は、画像ごとに選んでください",
    ),
    "capacity = len(tokens) if not self.training else int(1.25 * len(tokens) / experts)",
)


def compete(patient: Patient, size: int, influence: float) -> bool:
    """Whether a little more or less of one image moves nothing of the others' scores, though noise in its place does."""
    if influence < LEAST or patient.dtype != torch.float64:
        return False
    images = patient.images[:size]
    here = patient.quiet_scores(images)
    for place in range(size):
        other = images.clone()
        other[place] += LITTLE * images.std() * patient.noise(1, seed=5)[0]
        rest = [i for i in range(size) if i != place]
        if not patient.same(here[rest], patient.quiet_scores(other)[rest]):
            return False
    return True


def competing(influence: float) -> Finding:
    """What is said of it."""
    return COMPETING.found(
        Text(
            f"Noise in the place of one image changes the scores of another in the same batch by {influence:.2g} of their size, and a small change "
            "of it does not: the images compete for something, and nothing of one flows into the other.",
            f"1枚の画像をノイズに置き換えると同じバッチの別の画像のスコアが変わりますが（相対的な差{influence:.2g}）、わずかな変更では変わりません。"
            "画像どうしが何かを取り合っているだけで、一方の情報がもう一方に流れ込んではいません。",
        ),
        {"influence": influence},
    )
