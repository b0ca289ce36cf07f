"""Parameters that are used and whose gradient is exactly zero, before training and after some steps (I2). In goes a patient, out come findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, is_matrix
from vitscope.doctor.copying import copied
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed, without_numbers
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
    explains=("zero-gradient", "block-does-nothing", "gradient"),
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
        yield BLOCKED.found(
            Text(
                f"{len(asleep)} matrices never get a gradient, because several zeros stand in one product: {listed(_weights(patient, zeros))}. "
                "With small numbers in the place of these zeros, it comes.",
                f"{len(asleep)}個の行列に勾配がまったく届きません。1つの積に複数のゼロが入っているためです: {listed(_weights(patient, zeros))}。"
                "これらのゼロを小さな値に置き換えると、勾配が届くようになります。",
            ),
            {"matrices": asleep, "zeros": zeros, "gradient_at_start": 0.0, "gradient_after_some_steps": 0.0},
        )
    rest = of_most_blocks(patient, [name for name in matrices if name not in woken])
    if rest:
        yield ZERO.found(
            Text(
                f"The gradient of {listed(rest)} is exactly zero, at the start and after some steps of training.",
                f"{listed(rest)}の勾配が、初期状態でも数ステップ学習した後でもちょうどゼロです。",
            ),
            {"matrices": rest, "gradient_at_start": 0.0, "gradient_after_some_steps": 0.0},
        )


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


def of_most_blocks(patient: Patient, stuck: Sequence[str]) -> list[str]:
    """Those that are stuck in more than half of the blocks: in the last one, what only other tokens than the one that is read go through has no
    gradient in sound models either. An attention over a single token, whose softmax is 1 whatever its queries and keys, does not count."""
    alone = {call.path for call in patient.tape.calls if _keys(call) == 1}
    total = Counter(without_numbers(name) for name, p in patient.model.named_parameters() if p.requires_grad)
    found = Counter(without_numbers(name) for name in stuck)
    return [
        name
        for name in stuck
        if 2 * found[without_numbers(name)] > total[without_numbers(name)]
        and not any(name.startswith(f"{path}.") for path in alone if path)
    ]


def _keys(call: Call) -> int | None:
    """Over how many keys an attention runs."""
    if call.name in SOFTMAX and call.outputs[0].ndim > 2:
        return int(call.outputs[0].shape[int(call.args[1])])
    return int(call.sources[1].tensor.shape[-2]) if call.name.startswith(FUSED) else None
