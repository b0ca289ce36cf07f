"""Whether the gradient reaches the first blocks as it leaves the last, and whether units are dead. In goes a patient, out come findings."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.blocks.backward import backward_fails
from vitscope.doctor.blocks.census import is_matrix
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS, FUSED, PRODUCTS, factors
from vitscope.lens.tape import Call, Tape

VANISHES, EXPLODES = 1 / 500, 100.0
"""Gradient of the first block's weights beside the last's. Healthy models of up to 48 blocks stay between 1/52 (ConViT) and 14, trained or not."""
LEAST_LAYERS = 3
"""Fewer say nothing about depth."""
PART = 0.2
"""Of all weights, that a stack of blocks holds at least."""
RECTIFIERS = frozenset(
    {"relu", "relu_", "threshold", "threshold_", "clamp_min", "clamp_min_", "hardtanh", "hardtanh_", "clamp", "clamp_"}
    | {"gelu", "gelu_", "hardswish", "hardswish_"}
)
"""What may give exact zeros for whole ranges of what it is given."""

DEAD = Fault(
    "dead-units",
    "G3",
    "gradient",
    "warning",
    Text(
        "A unit that is zero for everything gets no gradient and never comes back: the layer is as narrow as what is left.",
        "どんな入力に対しても出力がゼロのユニットには勾配が届かず、二度と復活しません。層の実質的な幅は、残ったユニットの数だけになります。",
    ),
    Text(
        "start biases at zero and weights around zero, lower the learning rate, or take GELU",
        "バイアスはゼロ、重みはゼロを中心に初期化してください。学習率を下げる、またはGELUを使うのも有効です",
    ),
    "nn.init.zeros_(self.fc1.bias)",
    explains=("zero-gradient",),
)
VANISHING = Fault(
    "gradient-vanishes",
    "G1",
    "gradient",
    "warning",
    Text(
        "The first blocks learn next to nothing while the last ones do: the model works on features that stay as they were drawn.",
        "後ろのブロックは学習しても、前のブロックはほとんど学習しません。モデルは、初期値のままの特徴量の上で学習することになります。",
    ),
    Text(
        "keep a clear way for the gradient: residual connections, norms in the branches, no sigmoid, tanh or softmax on the stream, "
        "larger start values",
        "勾配の通り道を確保してください。残差接続を入れ、正規化は残差ブランチに置き、"
        "本流にsigmoid・tanh・softmaxをかけず、初期値を小さくしすぎないようにしてください",
    ),
    "x = x + self.mlp(self.norm(x))   # nothing else on x",
)
EXPLODING = Fault(
    "gradient-explodes",
    "G2",
    "gradient",
    "warning",
    Text(
        "A learning rate that suits the last blocks throws the first ones about; the loss jumps or becomes NaN.",
        "後ろのブロックに合わせた学習率では、前のブロックが大きく振り回されます。損失が跳ね上がったり、NaNになったりします。",
    ),
    Text(
        "take factors over one off the way through the blocks, and start weights smaller (0.02, or 1/√width)",
        "ブロックを通る経路から1を超える係数を取り除き、重みの初期値を小さくしてください（0.02、または1/√幅）",
    ),
    "nn.init.trunc_normal_(layer.weight, std=0.02)",
)


def gradient(patient: Patient) -> Iterator[Finding]:
    """Whether all blocks get a gradient of about one size, and whether the units of their MLPs are alive.

    Does: compares the gradient of the first and the last of all weights that stand in several blocks alike; counts units behind a ReLU that are
    exactly zero for every token of every image.
    Finds: a gradient that vanishes (G1) or explodes (G2) on its way back; layers more than half dead (G3); a loss that cannot be differentiated (G4).
    Must not accuse: post-norm, LayerScale, stages of different widths, branches that start at zero, sparse units that fire somewhere.
    Source: Glorot and Bengio 2010; Lu et al. 2019, "Dying ReLU and Initialization".
    """
    failing = list(backward_fails(patient))
    yield from failing
    if not failing:
        yield from _dead_units(patient)
        yield from _by_depth(patient)


@dataclass(frozen=True)
class Depth:
    """The gradient along one stack of layers."""

    ratio: float
    """That of the first layer's weights beside that of the last's: the median over weights that stand in all of them."""
    layers: int
    first: str
    last: str


def _by_depth(patient: Patient) -> Iterator[Finding]:
    stack = depth_of(patient.gradients)
    if stack is None and not patient.is_trained and _starts_at_zero(patient.gradients):
        stack = depth_of(patient.trained.gradients)  # a head or branches that start at zero let nothing through
    if stack is None:
        raise Skipped(_why_no_depth(patient), is_left_out=True)
    evidence = {"first_beside_last": stack.ratio, "layers": stack.layers, "first": stack.first, "last": stack.last}
    if stack.ratio < VANISHES:
        yield VANISHING.found(
            Text(
                f"The gradient vanishes on its way back: over {stack.layers} layers it falls to {stack.ratio:.1e} of its size ({stack.first} beside "
                f"{stack.last}).",
                f"勾配が逆伝播の途中で消失しています。{stack.layers}層を遡る間に{stack.ratio:.1e}倍まで小さくなります（{stack.last}に対する{stack.first}）。",
            ),
            evidence,
        )
    elif stack.ratio > EXPLODES:
        yield EXPLODING.found(
            Text(
                f"The gradient explodes on its way back: over {stack.layers} layers it grows {stack.ratio:,.0f} times "
                f"({stack.first} beside {stack.last}).",
                f"勾配が逆伝播の途中で爆発しています。{stack.layers}層を遡る間に{stack.ratio:,.0f}倍になります（{stack.last}に対する{stack.first}）。",
            ),
            evidence,
        )


def _why_no_depth(patient: Patient) -> Text:
    """Why the gradient was not compared: there is no stack of layers, or it is frozen, or no gradient comes to one of its ends."""
    parameters = dict(patient.model.named_parameters())
    held = {name: parameter.detach() for name, parameter in parameters.items()}
    if depth_of(held) is None:
        return _NO_STACK
    learns = {name: values for name, values in held.items() if parameters[name].requires_grad}
    return _FROZEN if depth_of(learns) is None else _NOTHING_COMES


_FROZEN = Text(
    "the blocks are frozen (requires_grad is False), so no gradient is asked of them; what learns are fewer than three layers",
    "ブロックが固定されている（requires_gradがFalse）ため勾配は計算されません。学習される層は3つ未満なので、深さによる変化は比較できません",
)
_NOTHING_COMES = Text(
    "the gradient is exactly zero, or none, at the first or the last of the layers, so it cannot be compared by depth (see parameters)",
    "最初または最後の層の勾配がちょうどゼロか、まったく届かないため、深さによる変化は比較できません（parametersを参照）",
)
_NO_STACK = Text(
    "no three layers of the model hold weights of one shape, so the gradient cannot be compared by depth",
    "同じ形状の重みを持つ層が3つ以上ないため、深さによる勾配の変化は比較できません",
)


def _starts_at_zero(gradients: Mapping[str, Tensor | None]) -> bool:
    """Whether half of the matrices get nothing."""
    matrices = [found for found in gradients.values() if found is not None and is_matrix(found)]
    return 2 * sum(not bool(found.any()) for found in matrices) >= len(matrices) > 0


def depth_of(gradients: Mapping[str, Tensor | None]) -> Depth | None:
    """The stack of layers with the steepest gradient: of matrices whose names differ in one number and whose shapes do not. What holds less than a
    part of the weights (a stem, the tables of positions) is no stack of blocks."""
    stacks: defaultdict[tuple[int, ...], list[tuple[float, str, str]]] = defaultdict(list)
    held: defaultdict[tuple[int, ...], int] = defaultdict(int)
    for members in _stacked(gradients):
        norms = [float(found.norm()) for _, _, found in members]
        numbers = tuple(number for number, _, _ in members)
        held[numbers] += sum(found.numel() for _, _, found in members)
        if min(norms[0], norms[-1]) > 0:
            stacks[numbers].append((norms[0] / norms[-1], members[0][1], members[-1][1]))
    whole = sum(found.numel() for found in gradients.values() if found is not None and is_matrix(found))
    found = [_median(numbers, ratios) for numbers, ratios in stacks.items() if held[numbers] >= PART * whole]
    return max(found, key=lambda stack: abs(math.log(stack.ratio)), default=None)


def _stacked(
    gradients: Mapping[str, Tensor | None],
) -> Iterator[list[tuple[int, str, Tensor]]]:
    """For each number in a name, the matrices that are called alike but for it, by that number."""
    groups: defaultdict[tuple[str, str, tuple[int, ...]], list[tuple[int, str, Tensor]]] = defaultdict(list)
    for name, found in gradients.items():
        if found is not None and is_matrix(found):
            for place in re.finditer(r"\d+", name):
                key = (name[: place.start()], name[place.end() :], tuple(found.shape))
                groups[key].append((int(place.group()), name, found))
    for members in groups.values():
        if len(members) >= LEAST_LAYERS:
            yield sorted(members, key=lambda member: member[0])


def _median(numbers: tuple[int, ...], ratios: list[tuple[float, str, str]]) -> Depth:
    middle = median(ratio for ratio, _, _ in ratios)
    _, first, last = min(ratios, key=lambda each: abs(math.log(each[0] / middle)))
    return Depth(middle, len(numbers), first, last)


def _dead_units(patient: Patient) -> Iterator[Finding]:
    """Layers of which more units are dead than chance would leave if all tokens were alike."""
    suspects = _dead_on(patient.tape)
    if not suspects:
        return
    with torch.no_grad():
        tape = patient.tape_of(
            torch.cat([patient.images, patient.noise(2, seed=5)])[: patient.batch or patient.few + 2]
        )
    dead = _dead_on(tape)
    found = {path: share for path, share in dead.items() if path in suspects}
    if not found:
        return
    worst = max(found, key=found.__getitem__)
    yield DEAD.found(
        Text(
            f"{100 * found[worst]:.0f} % of the units in {worst} are exactly zero for every token of {len(tape.image)} images; "
            f"{len(found)} layer{' is' if len(found) == 1 else 's are'} more than half dead: {listed(list(found))}.",
            f"{worst}のユニットの{100 * found[worst]:.0f} %が、{len(tape.image)}枚の画像のすべてのトークンでちょうどゼロです。"
            f"半分以上が死んでいる層は{len(found)}個あります: {listed(list(found))}。",
        ),
        {"dead_share": dict(found), "images": len(tape.image)},
    )


def _dead_on(tape: Tape) -> dict[str, float]:
    """The layers with too many units that never fire, by the module that runs them, and what share those are."""
    found: dict[str, float] = {}
    for call in tape.calls:
        if call.name not in RECTIFIERS or not call.sources or not tape.is_of_image(call.sources[0]):
            continue
        axis = _axis_of_units(tape, call)
        if axis is None:
            continue
        try:
            fires = (tape.value(call) != 0).movedim(axis, -1).reshape(-1, call.outputs[0].shape[axis]).any(dim=0)
        except LensError:
            continue
        share = 1 - float(fires.double().mean())
        if share > 0.5 + 1.5 / math.sqrt(len(fires)):  # three deviations over half: tokens may all be alike
            path = call.path or "the model"
            found[path] = max(share, found.get(path, 0.0))
    return found


def _axis_of_units(tape: Tape, call: Call) -> int | None:
    """Which axis of an activation its units stand on: 1 behind a convolution, the last behind a product with weights; None elsewhere."""
    before: Call | None = call
    shape = call.outputs[0].shape
    while before is not None:
        if before.name in CONVOLUTIONS:
            return 1 if len(shape) == len(before.outputs[0].shape) and shape[1] == before.outputs[0].shape[1] else None
        if before.name in PRODUCTS:
            both = all(tape.is_of_image(factor) for factor in factors(before))
            return None if both or shape[-1] != before.outputs[0].shape[-1] else -1
        if before.name.startswith(FUSED):
            return None
        before = next((s.call for s in before.sources if s.call is not None and tape.is_of_image(s)), None)
    return None
