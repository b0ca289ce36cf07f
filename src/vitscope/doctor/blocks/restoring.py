"""Whether what a model learned is in its state dict. In goes a patient whose maker is known, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vitscope._core.text import Text
from vitscope.doctor.copying import moved, unwrapped
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import CPU, Patient
from vitscope.lens.randomness import seed_cpu

OTHER_SEED = 20_001
"""For the fresh instance, so that what is drawn and not saved differs."""

NOT_RESTORED = Fault(
    "state-dict-does-not-restore",
    "M15",
    "parameters",
    "error",
    Text(
        "A checkpoint is silently incomplete: the loaded model is not the one that was saved, and its accuracy is another.",
        "チェックポイントに保存されない値があります。読み込んだモデルは保存したモデルと別物になり、正解率も変わります。",
    ),
    Text(
        "register all that the forward uses: layers in nn.ModuleList or nn.ModuleDict, learned tensors as nn.Parameter, drawn constants by "
        "register_buffer",
        "順伝播で使うものはすべて登録してください。層はnn.ModuleListやnn.ModuleDictに、学習するテンソルはnn.Parameterに、"
        "乱数で作った定数はregister_bufferで登録します",
    ),
    'self.blocks = nn.ModuleList(blocks)\nself.register_buffer("table", table)',
)


def restored(patient: Patient) -> Iterator[Finding]:
    """Loads the state dict into a fresh instance that was drawn under another seed: it has to give the same scores."""
    if patient.factory is None:
        return
    images = patient.images[: patient.batch or 2]
    here = patient.quiet_scores(images)
    if not patient.same(here, patient.quiet_scores(images)):
        return  # no two forwards agree, so neither would two instances
    with torch.random.fork_rng(devices=[]):
        seed_cpu(OTHER_SEED)
        fresh = moved(unwrapped(patient.factory()), CPU, patient.dtype)
    try:
        fresh.load_state_dict(patient.model.state_dict())
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        yield NOT_RESTORED.found(
            Text(
                f"The state dict of the model does not fit a fresh instance of it: {said}",
                f"モデルのstate_dictを、新しく作ったインスタンスに読み込めません（{said}）。",
            ),
            {"error": said},
        )
        return
    there = patient.quiet_scores(images, fresh)
    change = patient.apart(here, there) if here.shape == there.shape else float("inf")
    if change > 1e-6:
        yield NOT_RESTORED.found(
            Text(
                f"A fresh instance with the state dict of the model gives other scores (off by {change:.2g} of their size).",
                f"モデルのstate_dictを新しいインスタンスに読み込んでも、同じスコアになりません（相対的な差{change:.2g}）。",
            ),
            {"largest_change": change},
        )
