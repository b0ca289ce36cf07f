"""What of a model learns, what is drawn at random meanwhile, and what its scores go through at the end: a patient in, what a row says out."""

from __future__ import annotations

from torch import nn

from vitscope._core.errors import Interrupted
from vitscope._core.text import Text
from vitscope.doctor.forward.determinism import DRAWS
from vitscope.doctor.forward.dropout import Draw, draws_in_training
from vitscope.doctor.forward.tail import tail_of
from vitscope.doctor.patient import Patient, scores_of
from vitscope.lens.operations import SUMS, VIEWS
from vitscope.race.structure_texts import NOT_FOUND

FEW = 3
"""Up to so many different rates of dropout are listed."""
FEW_STILL = 0.1
"""Under this share of the numbers, what does not learn is some table or layer, not the model."""
NOTHING, LOG_SOFTMAX = Text("nothing", "なし"), Text("log_softmax", "log_softmax")


def learning(patient: Patient) -> Text:
    """How many numbers are neither frozen nor cut from the scores."""
    frozen, cut = _frozen_and_cut(patient)
    if not frozen and not cut:
        return Text("all", "すべて")
    en = [f"{frozen:,} frozen"] * bool(frozen) + [f"{cut:,} without a gradient"] * bool(cut)
    ja = [f"{frozen:,}個は固定"] * bool(frozen) + [f"{cut:,}個は勾配が届かない"] * bool(cut)
    count = patient.parameter_count
    learn = count - frozen - cut
    return Text(
        f"{learn:,} of {count:,} ({', '.join(en)})",
        f"{count:,}個中{learn:,}個（{'、'.join(ja)}）",
    )


def still(patient: Patient) -> float:
    """The share of the numbers that do not learn."""
    return sum(_frozen_and_cut(patient)) / max(patient.parameter_count, 1)


def _frozen_and_cut(patient: Patient) -> tuple[int, int]:
    """How many numbers ask for no gradient, and how many get none."""
    asking = {name: p.numel() for name, p in patient.model.named_parameters() if p.requires_grad}
    gradients = patient.gradients if asking else {}
    cut = sum(asking[name] for name, gradient in gradients.items() if gradient is None)
    return patient.parameter_count - sum(asking.values()), cut


def dropout(patient: Patient) -> Text:
    """The shares that training mode drops, and whether something is drawn in evaluation too."""
    draws = _draws(patient)
    held = any(isinstance(module, nn.Dropout) and module.p for module in patient.model.modules())
    if not draws and held:  # training mode could not be recorded
        return NOT_FOUND
    dropping = [draw.p for draw in draws if draw.p and not draw.is_behind_head]
    said = [_rates(dropping)] if dropping else []
    if any(not draw.p for draw in draws):
        said.append(Text("other random numbers", "そのほかの乱数"))
    if any(call.name in DRAWS for call in patient.tape.calls):
        said.append(Text("in evaluation too", "評価時にも有効"))
    return (
        Text(", ".join(each.en for each in said), "、".join(each.ja for each in said)) if said else Text("none", "なし")
    )


def _draws(patient: Patient) -> tuple[Draw, ...]:
    """What training mode draws; nothing where a forward in it does not run."""
    try:
        return draws_in_training(patient)
    except Interrupted:
        raise
    except Exception:  # whatever somebody's forward does in training mode
        return ()


def _rates(dropping: list[float]) -> Text:
    rates = [f"{rate:.2g}" for rate in sorted(set(dropping))]
    en = ", ".join(rates) if len(rates) <= FEW else f"{rates[0]} to {rates[-1]}"
    ja = "、".join(rates) if len(rates) <= FEW else f"{rates[0]}〜{rates[-1]}"
    count = len(dropping)
    return Text(f"{en} in {count} place{'s' if count > 1 else ''}", f"{ja}（{count}か所）")


def behind_the_head(patient: Patient) -> Text:
    """What stands between the last product and the scores, in torch's names."""
    tape = patient.tape
    answer = scores_of(patient._known["answer"], patient.batch or 1, patient.classes)
    names = [
        call.name.strip("_")
        for call in tail_of(tape, answer).behind
        if call.name not in VIEWS
        and not (call.name in SUMS and len([s for s in call.sources if tape.is_of_image(s)]) == 1)
    ]
    dropped = [draw.p for draw in _draws(patient) if draw.is_behind_head]
    words = [*dict.fromkeys(names), *(f"dropout {p:.2g}" for p in dict.fromkeys(dropped))]
    return Text(", ".join(words), "、".join(words)) if words else NOTHING
