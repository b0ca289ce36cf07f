"""Parameters that are used and whose gradient is exactly zero, before training and after some steps (I2). In goes a patient, out come findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, is_matrix
from vitscope.doctor.blocks.twins import homes_of
from vitscope.doctor.copying import copied
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import SHOWN, listed, without_numbers
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import FUSED, SOFTMAX
from vitscope.lens.tape import Call

SMALL = 0.02
"""Standard deviation of what is put in the place of zeros."""

BLOCKED = Fault(
    "blocked-by-zeros",
    "I2",
    "parameters",
    "error",
    Text(
        "Two factors of one product start at zero, so each keeps the other's gradient at zero: the branch never wakes.",
        "1つの積の2つの因子がどちらもゼロで始まっているため、互いの勾配をゼロに保ち続けます。この残差ブランチは永久に動き出しません。",
    ),
    Text(
        "start at most one factor of a branch at zero: the LayerScale, or the last projection",
        "1つの残差ブランチでゼロから始める因子は、LayerScaleか最後の射影のどちらか一方だけにしてください",
    ),
    "nn.init.zeros_(self.gamma)   # and leave self.proj as it was drawn",
    explains=("zero-gradient", "block-does-nothing", "gradient", "image-never-reaches-the-scores"),
)
ZERO = Fault(
    "zero-gradient",
    "I2",
    "parameters",
    "warning",
    Text(
        "A gradient of exactly zero moves nothing: these weights stay as they were drawn.",
        "勾配がちょうどゼロなので、この重みは初期値のまま動きません。",
    ),
    Text(
        "look at what stands between them and the scores: a factor of zero, an activation that never fires, a softmax over one token, a detach(), "
        "queries, keys and values of which one is taken for another",
        "スコアまでの経路を確認してください。ゼロの係数、発火しない活性化関数、トークン1個に対するsoftmax、detach()、"
        "クエリ・キー・バリューの取り違えなどが原因です",
    ),
)


def blocked(patient: Patient, census: Census) -> Iterator[Finding]:
    """What is used, learns by the graph, and gets nothing."""
    stuck = [name for name in _without_gradient(patient) if name in census.learning]
    if not any(is_matrix(patient.model.get_parameter(name)) for name in stuck):
        return
    still = set(_without_gradient(patient.trained))
    stuck = [name for name in stuck if name in still]
    woken = _woken(patient, stuck)
    matrices = [name for name in stuck if is_matrix(patient.model.get_parameter(name))]
    asleep = [name for name in matrices if name in woken]
    zeros = [name for name in stuck if not bool(patient.trained.model.get_parameter(name).any())]
    if asleep:
        held = _weights(patient, zeros)
        never = "1 matrix never gets" if len(asleep) == 1 else f"{len(asleep)} matrices never get"
        yield BLOCKED.found(
            Text(
                f"{never} a gradient, because several zeros stand in one product: of {len(held)} parameters that are all zeros ({_shown(held)}) "
                "each keeps another asleep. With small numbers in the place of these zeros, the gradient comes.",
                f"{len(asleep)}個の行列に勾配がまったく届きません。値がすべてゼロのパラメータ{len(held)}個（{_shown(held, 'など')}）が"
                "1つの積に複数入り、互いの勾配をゼロに保っているためです。これらのゼロを小さな値に置き換えると、勾配が届くようになります。",
            ),
            {
                "matrices": asleep,
                "zeros": held,
                "gradient_at_start": 0.0,
                "gradient_after_some_steps": 0.0,
            },
        )
    rest = of_blocks(patient, [name for name in matrices if name not in woken])
    if rest:
        whole = whole_branches(patient, rest)
        en, ja = "", ""
        if whole:
            en = f" That is all of an attention or MLP ({listed(whole)}): what it gives is multiplied by zero, or cut from the graph."
            ja = f"アテンションまたはMLPの全体に当たります（{listed(whole)}）。出力にゼロが掛けられているか、計算グラフから切り離されています。"
        yield ZERO.found(
            Text(
                f"The gradient of {listed(rest)} is exactly zero, at the start and after some steps of training.{en}",
                f"{listed(rest)}の勾配が、初期状態でも数ステップ学習した後でもちょうどゼロです。{ja}",
            ),
            {"matrices": rest, "whole_branches": whole, "gradient_at_start": 0.0, "gradient_after_some_steps": 0.0},
            severity="error" if whole else "warning",
        )


def _shown(names: Sequence[str], more: str = ", …") -> str:
    """The first three; how many there are is said beside them."""
    return ", ".join(names[:SHOWN]) + (more if len(names) > SHOWN else "")


def _without_gradient(patient: Patient) -> list[str]:
    """The parameters whose gradient is there and exactly zero, everywhere."""
    return [name for name, gradient in patient.gradients.items() if gradient is not None and not bool(gradient.any())]


def _woken(patient: Patient, stuck: Sequence[str]) -> set[str]:
    """Those that get a gradient once small numbers stand in the place of all zeros that are stuck themselves."""
    model = copied(patient.trained.model)
    zeros = [name for name in stuck if not bool(model.get_parameter(name).any())]
    if len(zeros) < 2:
        return set()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in zeros:
            parameter = model.get_parameter(name)
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(SMALL * drawn)
    still = set(_without_gradient(replace(patient, model=model, _known={})))
    return set(stuck) - still


def _weights(patient: Patient, zeros: Sequence[str]) -> list[str]:
    """Factors rather than biases, which are zeros in most models."""
    return [name for name in zeros if not name.endswith("bias")] or list(zeros)


def of_blocks(patient: Patient, stuck: Sequence[str]) -> list[str]:
    """Those that are stuck in more than half of the blocks, or in one of which a later twin is not: in the last one, what only other tokens than the
    one that is read go through has no gradient in sound models either. An attention over a single token, whose softmax is 1 whatever its queries and
    keys, does not count, nor does an expert that another beside it was taken for."""
    alone = {call.path for call in patient.tape.calls if _keys(call) == 1}
    total = Counter(without_numbers(name) for name, p in patient.model.named_parameters() if p.requires_grad)
    found = Counter(without_numbers(name) for name in stuck)
    homes = _homes(patient)
    return [
        name
        for name in stuck
        if (2 * found[without_numbers(name)] > total[without_numbers(name)] or _has_a_twin(patient, name, stuck, homes))
        and not any(name.startswith(f"{path}.") for path in alone if path)
    ]


def _homes(patient: Patient) -> list[str]:
    """The modules of the blocks, in order, as far as they were found."""
    try:
        return [home for home in homes_of(patient.anatomy.blocks) if home]
    except Skipped:
        return []


def _has_a_twin(patient: Patient, name: str, stuck: Sequence[str], homes: Sequence[str]) -> bool:
    """Whether a later block has the same parameter, as large, and there it is not stuck; of several alike in its own block, all have to be."""
    shapes = {each: p.shape for each, p in patient.model.named_parameters() if p.requires_grad}
    home = next((home for home in homes if name.startswith(f"{home}.")), None)
    if home is None:
        return False
    own = name[len(home) + 1 :]
    twins = [f"{later}.{own}" for later in homes[homes.index(home) + 1 :]]
    beside = [
        each
        for each in shapes
        if each.startswith(f"{home}.") and without_numbers(each[len(home) + 1 :]) == without_numbers(own)
    ]
    return any(twin not in stuck and shapes.get(twin) == shapes[name] for twin in twins) and all(
        each in stuck for each in beside if shapes[each] == shapes[name]
    )


def whole_branches(patient: Patient, stuck: Sequence[str]) -> list[str]:
    """The blocks of which the whole attention, or all matrices beside it, are stuck."""
    names = [name for name, p in patient.model.named_parameters() if p.requires_grad and is_matrix(p)]
    found: list[str] = []
    for home in _homes(patient):
        paths = (block.attention.path for block in patient.anatomy.blocks)
        path = next((path for path in paths if f"{path}.".startswith(f"{home}.")), home)
        own = [name for name in names if name.startswith(f"{home}.")]
        inside = [name for name in own if path != home and name.startswith(f"{path}.")]
        branches = (inside, [name for name in own if name not in inside])
        if inside and any(len(branch) > 1 and set(branch) <= set(stuck) for branch in branches):
            found.append(home)
    return found


def _keys(call: Call) -> int | None:
    """Over how many keys an attention runs."""
    if call.name in SOFTMAX and call.outputs[0].ndim > 2:
        return int(call.outputs[0].shape[int(call.args[1])])
    return int(call.sources[1].tensor.shape[-2]) if call.name.startswith(FUSED) else None
