"""Scores that are the same for every picture at the start only. In goes a patient whose scores come to differ with some steps of training, out comes
the finding: a note where zeros are the reason, a warning where none are."""

from __future__ import annotations

import torch

from vitscope._core.text import Text
from vitscope.doctor.copying import copied
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import Patient
from vitscope.lens.tape import Call

AT_START = Fault(
    "scores-start-at-zero",
    "M2",
    "input-blindness",
    "note",
    Text(
        "A head or branches that start at zero are a usual choice: the first steps move them, and the scores then follow the picture.",
        "ヘッドや残差ブランチをゼロで初期化するのはよくある設計です。最初の数ステップで値が動き、スコアは画像に従うようになります。",
    ),
    Text("nothing to do", "対処は不要です"),
)
ALIKE = Fault(
    "scores-start-alike",
    "M2",
    "input-blindness",
    "warning",
    Text(
        "Training has to open the way for the picture first, and next to no gradient reaches what lies before the place where it is shut.",
        "学習ではまず画像の情報が通る経路を開かなければならず、途切れている箇所より前にはほとんど勾配が届きません。",
    ),
    Text(
        "look at the operation where the picture's numbers enter and do not come out",
        "画像の数値が入っていながら出てこない演算を確認してください",
    ),
)


def told(patient: Patient, lost: Call | None, evidence: dict[str, object]) -> Finding:
    en = "At the start the scores are the same for every picture; after some steps of training they differ."
    ja = "初期状態ではどの画像でもスコアが同じですが、数ステップ学習すると画像ごとに変わります。"
    if _wakes(patient):
        return AT_START.found(
            Text(
                f"{en} Something starts at zero (the head, as a rule).",
                f"{ja}どこか（通常はヘッド）がゼロで初期化されています。",
            ),
            evidence,
        )
    en, ja = (
        f"{en} No parameter that starts at zero is the reason.",
        f"{ja}ゼロで初期化されたパラメータが原因ではありません。",
    )
    if lost is not None:
        place = lost.path or "the model"
        en = f"{en} The picture is lost in {place} ({lost.name})."
        ja = f"{ja}画像の情報は{place}（{lost.name}）で失われています。"
        evidence = {**evidence, "lost_in": place, "lost_at": lost.name}
    return ALIKE.found(Text(en, ja), evidence)


@torch.no_grad()
def _wakes(patient: Patient) -> bool:
    """Whether the scores depend on the picture once each zero among the parameters is a small number."""
    model, generator = copied(patient.model), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.1
            parameter.add_((parameter == 0) * noise.to(parameter))
    images = patient.images[: patient.batch or 2]
    here = patient.quiet_scores(images, model)
    there = patient.quiet_scores(patient.noise(len(images), seed=1), model)
    return not patient.same(here, there)
