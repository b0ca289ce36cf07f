"""What asks for no gradient and looks as if it should: zeros, and most of a model as it was drawn (I2). In goes a patient, out come notes."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient

FROZEN = Fault(
    "frozen-zeros",
    "I2",
    "parameters",
    "note",
    Text(
        "What is frozen at zero adds nothing and never will.",
        "ゼロのまま固定されているので、何の役割も果たしません。",
    ),
    Text(
        "take requires_grad=False off it, so that it learns, or leave it out",
        "requires_grad=Falseを外して学習させるか、取り除いてください",
    ),
)
AS_DRAWN = Fault(
    "frozen-as-drawn",
    "I2",
    "parameters",
    "note",
    Text(
        "Frozen random features are a weak start: what learns behind them is little more than a linear classifier.",
        "ランダムなまま固定された特徴量は出発点として弱く、その後ろで学習する部分は線形分類器と大差ありません。",
    ),
    Text(
        "load the trained weights before you freeze, or let these parameters learn",
        "固定する前に学習済みの重みを読み込むか、これらのパラメータも学習させてください",
    ),
    "model.load_state_dict(trained)\nmodel.blocks.requires_grad_(False)",
)


def frozen(patient: Patient, census: Census) -> Iterator[Finding]:
    """Both; what is frozen and was trained is nobody's fault."""
    yield from _zeros(census)
    yield from _as_drawn(patient)


def _zeros(census: Census) -> Iterator[Finding]:
    """Frozen zeros are worth knowing of."""
    if census.frozen_zeros:
        yield FROZEN.found(
            Text(
                f"Frozen and all zeros: {listed(census.frozen_zeros)}.",
                f"固定されていて、値がすべてゼロです: {listed(census.frozen_zeros)}。",
            ),
            {"parameters": list(census.frozen_zeros)},
        )


def _as_drawn(patient: Patient) -> Iterator[Finding]:
    """Most of the numbers frozen, and the factors of the norms among them still exactly one: training moves these first, so nothing was loaded."""
    held = dict(patient.model.named_parameters())
    still = {name: parameter for name, parameter in held.items() if not parameter.requires_grad}
    share = sum(p.numel() for p in still.values()) / max(sum(p.numel() for p in held.values()), 1)
    ones = [name for name, p in still.items() if p.ndim == 1 and p.numel() > 1 and bool((p == 1).all())]
    factors = [name for name, p in still.items() if p.ndim == 1 and p.numel() > 1 and 2 * float(p.min()) > 1]
    if share <= 0.5 or len(ones) < 2 or len(ones) < len(factors) or patient.is_trained:
        return
    percent = f"{int(1000 * share) / 10:.1f}"  # rounded down: what is left learns
    yield AS_DRAWN.found(
        Text(
            f"{percent} % of the model's numbers are frozen, and look as they were drawn: all {len(ones)} factors of norms among them are "
            "exactly one.",
            f"モデルの数値の{percent} %が固定されていて、初期値のままのようです。"
            f"固定された正規化の係数{len(ones)}個が、すべてちょうど1です。",
        ),
        {"share_frozen": share, "frozen": len(still), "norms_at_one": len(ones)},
    )
