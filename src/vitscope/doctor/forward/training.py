"""Whether training mode is the model that evaluation mode is, but for its noise. In goes a patient, out come findings of the check `determinism`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vitscope._core.errors import ModelError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.dropped import DROPPED_TWICE, dropped
from vitscope.doctor.forward.silence import Quiet, only_tensor, quiet
from vitscope.doctor.forward.tail import are_probabilities
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import SAME, Patient, scores_of

SEEDS = 4
"""How many draws of training mode are compared at most."""
LEAST = 0.01
"""Of the parameters, that training mode may leave out unsaid."""
_LEARNING = ("overfit", "learning-rate", "dropout-too-strong")

OTHERS = Fault(
    "scores-of-other-images-in-training",
    "T19",
    "determinism",
    "error",
    Text(
        "In training an image's scores are those of another image, and the loss holds them against its own label: what is learned is noise, while "
        "in evaluation everything looks right.",
        "学習時のスコアは別の画像のものなのに、損失はその画像自身のラベルと比べます。雑音を学習しているのに、評価モードでは正しく見えます。",
    ),
    Text(
        "look at what the forward does `if self.training`: flip(0), roll, a permutation of the batch; whoever mixes images gives the "
        "permutation back, so that the labels can be mixed alike",
        "順伝播の`if self.training`の中を確認してください（flip(0)、roll、バッチの並べ替えなど）。画像を混ぜる場合は"
        "並べ替えの順番も返し、ラベルも同じように混ぜてください",
    ),
    explains=_LEARNING,
)
PROBABILITIES = Fault(
    "softmax-in-training-only",
    "M12",
    "determinism",
    "warning",
    Text(
        "Cross-entropy applies a softmax itself. Given probabilities, it makes them nearly uniform, so gradients are small and the loss cannot fall "
        "below ln(e + C − 1) − 1 (C classes); evaluation mode does not show it.",
        "クロスエントロピーは内部でsoftmaxを計算します。確率を渡すと再びほぼ均等になり、勾配は小さく、損失はln(e + C − 1) − 1（Cは"
        "クラス数）より下がりません。評価モードでは現れない問題です。",
    ),
    Text(
        "return the scores (logits) in training; if probabilities are wanted, take the softmax in evaluation only, or outside of the model",
        "学習時にはスコア（ロジット）をそのまま返し、確率が必要な場合は評価時だけ、またはモデルの外でsoftmaxを計算してください",
    ),
    "return scores if self.training else scores.softmax(dim=-1)   # not the other way round",
    explains=_LEARNING,
)
UNREACHED = Fault(
    "training-leaves-out-parameters",
    "T19",
    "determinism",
    "error",
    Text(
        "Evaluation computes with these numbers, and in training no gradient comes to them: they stay as they were drawn, and spoil what the rest "
        "has learned.",
        "評価時の計算には使われるのに、学習時には勾配が届きません。初期値のまま残り、ほかの部分が学習した結果を損ないます。",
    ),
    Text(
        "look at what the forward does `if self.training`: detach(), torch.no_grad(), blocks that are skipped; what is frozen on purpose gets "
        "requires_grad_(False)",
        "順伝播の`if self.training`の中を確認してください（detach()、torch.no_grad()、飛ばされるブロックなど）。意図して固定する場合は"
        "requires_grad_(False)を使います",
    ),
    explains=_LEARNING,
)
ANOTHER = Fault(
    "another-model-in-training",
    "T19",
    "determinism",
    "note",
    Text(
        "What evaluation mode computes was not trained as it is; and what the doctor says, save for this, it says of evaluation mode.",
        "評価モードの計算は、そのままの形では学習されていません。また、この項目を除き、診断の対象は評価モードのモデルです。",
    ),
    Text(
        "look at what the forward does `if self.training`, and make sure that it is meant",
        "順伝播の`if self.training`の中を確認し、意図した違いかどうかを確かめてください",
    ),
)


def training_mode(patient: Patient) -> Iterator[Finding]:
    """What is wrong in training mode and not in evaluation mode, with every dropout and drop path off and batch norm in evaluation mode."""
    model = quiet(patient)
    images = patient.images[: patient.batch or (2 if patient.is_large else 4)].to(_precision(model))
    try:
        answer, learning = model.learning(images, seed=0)
    except Exception:  # whatever it says: in training it asks for labels, or for more images
        return
    found = [*dropped(model), *_unreached(model, images, learning)]
    with torch.no_grad():
        found += _on_scores(model, images, answer)
    is_alone = all(each.fault in (ANOTHER, DROPPED_TWICE) for each in found)
    yield from (each for each in found if each.fault is not ANOTHER or is_alone)


def _precision(model: Quiet) -> torch.dtype:
    return torch.float32 if model.patient.is_large else model.patient.dtype


def _unreached(model: Quiet, images: Tensor, learning: set[str]) -> Iterator[Finding]:
    """Parameters that learn in evaluation mode and, whatever is drawn, not in training mode."""
    _, wanted = model.learning(images, seed=0, training=False)
    sizes = {name: parameter.numel() for name, parameter in model.model.named_parameters()}
    total = sum(sizes[name] for name in wanted)
    for seed in range(1, SEEDS):
        lost = [name for name in sizes if name in wanted and name not in learning]
        if sum(sizes[name] for name in lost) < LEAST * total or not lost:
            return
        learning |= model.learning(images, seed=seed, loud=True)[1]
    lost = [name for name in sizes if name in wanted and name not in learning]
    share = sum(sizes[name] for name in lost) / max(total, 1)
    if share < LEAST:
        return
    named = listed(lost)
    yield UNREACHED.found(
        Text(
            f"In evaluation mode a gradient reaches {len(wanted)} parameter{'' if len(wanted) == 1 else 's'}; in training mode it does "
            f"not reach {len(lost)} of them ({100 * share:.1f} % of the numbers): {named}.",
            f"評価モードでは{len(wanted)}個のパラメータに勾配が届きますが、学習モードではそのうち{len(lost)}個"
            f"（数値の{100 * share:.1f} %）に届きません: {named}。",
        ),
        {"parameters": lost, "share": share, "draws": SEEDS},
        severity="error" if share > 0.5 else "warning",
    )


def _on_scores(model: Quiet, images: Tensor, answer: Any) -> Iterator[Finding]:
    """Whose scores training mode gives, and whether they are probabilities."""
    patient = model.patient
    evaluated = model.scores(images, seed=0, training=False)
    try:
        trained = scores_of(answer, len(images), patient.classes).detach()
    except ModelError:  # training mode gives something else
        return
    if trained.shape != evaluated.shape or _same(evaluated, trained):
        return
    if patient.loss in (None, "cross-entropy") and are_probabilities(trained) and not are_probabilities(evaluated):
        yield PROBABILITIES.found(
            Text(
                "In training mode an image's scores are between 0 and 1 and add up to 1; in evaluation mode they are free.",
                "学習モードのスコアは0から1の間にあり合計が1になりますが、評価モードでは自由な値です。",
            ),
            {"lowest_in_training": float(trained.min()), "highest_in_training": float(trained.max())},
            severity="error" if patient.loss == "cross-entropy" else "warning",
        )
    elif only_tensor(answer) and len(images) > 1:
        yield from _of_others(model, images, evaluated, trained)


def _of_others(model: Quiet, images: Tensor, evaluated: Tensor, trained: Tensor) -> Iterator[Finding]:
    """Whether noise in the place of the first image leaves its scores alone, and moves another's: in two draws of training mode, and not in
    evaluation mode. Who mixes images keeps something of each."""
    other = images.clone()
    other[0] = model.patient.noise(1, seed=5)[0].to(images)
    own, *others = _moved(evaluated, model.scores(other, seed=0, training=False))
    if not own > 0 or any(others):
        return
    wrong: list[int] = []
    met = False
    for seed in range(SEEDS):
        own, *others = _moved(*(model.scores(x, seed=seed, loud=True) for x in (images, other)))
        met = met or any(others)
        if own == 0 and any(others):
            wrong.append(2 + max(range(len(others)), key=others.__getitem__))
        if len(wrong) == 2 or seed - len(wrong) == 2 or not (model.draws or wrong):
            break
    if len(wrong) == 2:
        yield OTHERS.found(
            Text(
                f"In training mode noise in the place of image 1 leaves its scores as they are and changes those of image {wrong[0]} in the "
                "same batch; in evaluation mode it changes its own and no others.",
                f"学習モードでは、1枚目の画像をノイズに置き換えても1枚目のスコアは変わらず、同じバッチの{wrong[0]}枚目のスコアが変わります。"
                "評価モードで変わるのは1枚目のスコアだけです。",
            ),
            {"changed_instead": wrong, "images": len(images)},
        )
        return
    is_squeezed = bool((evaluated.argsort() == trained.argsort()).all())  # a softmax for people, a temperature
    if not met and not is_squeezed and not model.draws and _same(trained, model.scores(images, seed=1)):
        apart = Patient.apart(evaluated, trained)
        yield ANOTHER.found(
            Text(
                f"In training mode, with every dropout off, the same images get other scores than in evaluation mode (off by {apart:.2g} of their "
                "size), and no chance or other image has a part in it.",
                f"ドロップアウトをすべて無効にしても、学習モードと評価モードで同じ画像のスコアが異なります（相対的な差{apart:.2g}）。"
                "乱数やほかの画像の影響ではありません。",
            ),
            {"apart": apart},
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return Patient.apart(one, other) <= SAME.get(one.dtype, 1e-4)


def _moved(here: Tensor, there: Tensor) -> list[float]:
    """How far each image's scores are apart; 0 where that is rounding."""
    return [0.0 if _same(a, b) else Patient.apart(a, b) for a, b in zip(here, there, strict=True)]
