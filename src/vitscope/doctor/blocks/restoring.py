"""Whether what a model learned is in its state dict. In goes a patient whose maker is known, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.copying import Hidden, hidden, moved, unwrapped
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.device import bound_to_a_device, in_code
from vitscope.doctor.naming import listed
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

_NOR_LEARNED = Text(
    "No optimizer moves a plain tensor and no checkpoint holds it: it stays as it was drawn however long the training takes, and the loaded model "
    "has other numbers there than the one that was saved.",
    "通常のテンソルはオプティマイザに更新されず、チェックポイントにも保存されません。どれだけ学習しても乱数の初期値のままで、読み込んだモデルでは"
    "保存したモデルと別の値になります。",
)
_AS_PARAMETER = Text(
    "make it an nn.Parameter, which is learned and saved, as a position embedding has to be; only what is meant to stay as it was drawn is held by "
    "register_buffer, which saves it and moves it with .to(device)",
    "nn.Parameterにしてください。学習の対象になり、保存もされます（位置埋め込みなど）。初期値のまま変えないと決めている値だけは、register_bufferで"
    "登録します（保存され、.to(device)でも移動します）",
)
_STAYS_BEHIND = ("hard-wired-device",)


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
    if change <= 1e-6:
        return
    plain = _drawn(patient, fresh)
    if plain and patient.same(here, patient.quiet_scores(images, fresh)):
        yield _of_plain_tensors(plain, change, patient)
        return
    yield NOT_RESTORED.found(
        Text(
            f"A fresh instance with the state dict of the model gives other scores (off by {change:.2g} of their size).",
            f"モデルのstate_dictを新しいインスタンスに読み込んでも、同じスコアになりません（相対的な差{change:.2g}）。",
        ),
        {"largest_change": change},
    )


def _drawn(patient: Patient, fresh: nn.Module) -> list[Hidden]:
    """The plain tensors that the forward is given and that another instance holds with other numbers; it is given these."""
    used = {s.tensor.untyped_storage().data_ptr() for call in patient.tape.calls for s in call.sources}
    theirs = {each.place: each.value for each in hidden(fresh)}
    found: list[Hidden] = []
    for each in hidden(patient.model):
        mine, other = each.value, theirs.get(each.place)
        if (
            not (isinstance(mine, Tensor) and isinstance(other, Tensor))
            or mine.untyped_storage().data_ptr() not in used
        ):
            continue
        if mine.dtype == other.dtype and not torch.equal(mine, other):
            found.append(each)
            with torch.no_grad():
                other.set_(mine.detach())  # type: ignore[call-overload]
    return found


def _of_plain_tensors(plain: Sequence[Hidden], change: float, patient: Patient) -> Finding:
    """The finding where plain tensors are all that is missing; that they do not move to another device follows."""
    places = [each.place for each in plain]
    are, they = ("is a plain tensor", "it") if len(plain) == 1 else ("are plain tensors", "them")
    stays = any(each.evidence["made"] == "in the constructor" for each in bound_to_a_device(patient))
    fault = replace(
        NOT_RESTORED,
        why=_NOR_LEARNED,
        advice=_AS_PARAMETER,
        code=in_code(plain[0], is_drawn=True),
        explains=_STAYS_BEHIND if stays else (),
    )
    return fault.found(
        Text(
            f"{listed(places)} {are}, neither parameter nor buffer: the state dict does not hold {they}, and a fresh instance with the state dict "
            f"of the model gives other scores (off by {change:.2g} of their size).",
            f"{listed(places)}は、パラメータでもバッファでもない通常のテンソルです。state_dictに含まれないため、新しいインスタンスに読み込んでも同じ"
            f"スコアになりません（相対的な差{change:.2g}）。",
        ),
        {"plain_tensors": places, "largest_change": change},
    )
