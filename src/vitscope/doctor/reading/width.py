"""A read-out that averages each token over its width, not the tokens: behind a layer norm that average is the same for all. In goes a patient, out
comes at most one finding."""

from __future__ import annotations

from contextlib import suppress

import torch

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import SAME, Patient, scores_of
from vitscope.doctor.reading.lost import CONSEQUENCES
from vitscope.lens.operations import VIEWS
from vitscope.lens.tape import Call

AVERAGES = frozenset({"mean", "sum"})
OVER_THE_WIDTH = Fault(
    "read-out-over-the-width",
    "M2",
    "input-blindness",
    "error",
    Text(
        "A layer norm takes each token's mean away: averaged over its width, every token of every picture gives the same number until the norm's own "
        "factors have moved apart, and little more then. What the blocks have found is thrown away, and hardly a gradient reaches them.",
        "層正規化は、各トークンの平均を取り除きます。そのため幅の方向に平均すると、正規化の係数が学習で変わるまでは、どの画像のどのトークンも同じ値になり、"
        "変わった後もわずかな違いしか残りません。ブロックの計算結果は捨てられ、ブロックには勾配がほとんど届きません。",
    ),
    Text(
        "average over the tokens, x.mean(dim=1), and let the head read the width",
        "トークンの方向に平均し（x.mean(dim=1)）、ヘッドには幅の次元を渡してください",
    ),
    "self.head = nn.Linear(dim, classes)\nreturn self.head(self.norm(x).mean(dim=1))   # not mean(dim=-1)",
    explains=CONSEQUENCES,
)


@torch.no_grad()
def over_the_width(patient: Patient, lost: Call | None) -> Finding | None:
    """The finding; `lost` is where the picture is lost, if it is."""
    if lost is not None:
        return _told(lost, is_lost=True) if _averages_nothing(patient, lost) else None
    with suppress(LensError, RuntimeError):
        for call in patient.tape.calls:
            if _averages_a_norm(call) and _is_all_that_is_read(patient, call):
                return _told(call, is_lost=False)
    return None


def _axes(call: Call) -> list[int]:
    """Along which it averages, counted from the front; none where it averages all."""
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
    axes = [given] if isinstance(given, int) else given if isinstance(given, list | tuple) else []
    return [axis % call.sources[0].tensor.ndim for axis in axes]


def _averages_nothing(patient: Patient, call: Call) -> bool:
    """Whether it averages tokens that differ along an axis on which their mean is one number everywhere."""
    if call.name not in AVERAGES:
        return False
    given = call.sources[0].tensor
    if given.ndim < 3 or given.ndim - 1 not in _axes(call) or not bool((given < 0).any()):
        return False  # what a softmax gives has a mean of its own
    means = given.mean(dim=-1)
    return float((means - means.flatten()[0]).abs().max()) <= SAME[patient.dtype] * float(given.abs().max())


def _averages_a_norm(call: Call) -> bool:
    """Whether it averages what a layer norm gives along the axis that is normed."""
    if call.name not in AVERAGES or call.sources[0].tensor.ndim < 3:
        return False
    made = call.sources[0].call
    while made is not None and made.name in VIEWS and made.sources:
        made = made.sources[0].call
    if made is None or made.name != "native_layer_norm" or len(made.args[1]) != 1:
        return False
    given = call.sources[0].tensor
    return given.shape[-1] == made.args[1][0] and given.ndim - 1 in _axes(call) and made.outputs[0].ndim > 2


def _is_all_that_is_read(patient: Patient, call: Call) -> bool:
    """Whether one picture's average makes another's scores those of the first."""
    other = patient.tape_of(patient.noise(patient.batch or 1, seed=1))
    tape = patient.tape
    logits = tape.maker(scores_of(patient._known["answer"], patient.batch or 1, patient.classes))
    if logits is None or len(other.calls) != len(tape.calls):
        return False
    theirs = other.value(other.calls[call.number])
    return patient.same(tape.play({call: theirs}, logits), other.value(other.calls[logits.number]))


def _told(call: Call, *, is_lost: bool) -> Finding:
    place, width = call.path or "the model", call.sources[0].tensor.shape[-1]
    en, ja = (
        f"The read-out averages over the width in {place} ({call.name}): of each token's {width} channels it takes the mean, which the norm before "
        "has made ",
        f"読み出しが、{place}（{call.name}）でトークンではなく幅の方向に平均しています。平均されるのは各トークンの{width}個のチャネルで、その平均は直前の正規化により",
    )
    if is_lost:
        en += "the same for every token and every picture. The scores do not depend on the picture."
        ja += "どのトークン、どの画像でも同じ値になります。スコアは画像に依存していません。"
    else:
        en += "nearly the same for every token and every picture."
        ja += "どのトークン、どの画像でもほとんど同じ値になります。"
    return OVER_THE_WIDTH.found(
        Text(en, ja),
        {"module": place, "operation": call.name, "width": width},
        severity=None if is_lost else "warning",
    )
