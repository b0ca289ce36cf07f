"""The loss before the first step. In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from vitscope._core.errors import LensError, ModelError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.forward.tail import are_probabilities, tail_of
from vitscope.doctor.patient import Patient, scores_of
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, factors

OVER_CHANCE = 1.0
"""How far over ln C a first loss may be. Of 30 healthy models none was over by 0.6."""
OVER_CHANCE_OF_COSINES = 3.0
"""The same where scores are cosines times a scale, which is meant to be large: 16 to 64 are published."""
TIMES = 3.0
"""How many times as large the median layer may make its numbers: torch's own start makes them 0.6 times as large, He's 1.4."""

TOO_SURE = Fault(
    "first-loss-too-high",
    "I1",
    "initial-loss",
    "warning",
    Text(
        "A model that has seen nothing and is sure all the same is wrong in most cases: the first steps only take its certainty back, with large "
        "gradients that shake everything else.",
        "何も学習していないのに確信を持って予測するモデルは、ほとんどの場合に外れます。最初のステップは過大なスコアを打ち消すためだけに費やされ、大きな勾配が"
        "ほかの重みまで揺さぶります。",
    ),
    Text(
        "start the head small: weights of standard deviation 0.02 (or zero), bias zero, no scale behind it; look at norms that are missing before it",
        "ヘッドの重みを小さく（標準偏差0.02、またはゼロ）、バイアスをゼロで初期化し、後ろに倍率を掛けないでください。ヘッドの前に正規化があるかも確認してください",
    ),
    "nn.init.trunc_normal_(self.head.weight, std=0.02)\nnn.init.zeros_(self.head.bias)",
)

TOO_LARGE = Fault(
    "weights-start-too-large",
    "I1",
    "initial-loss",
    "warning",
    Text(
        "Each layer makes its numbers many times as large: attention begins one-hot, the scores begin sure and wrong, and gradients are as large as "
        "what they come back through.",
        "層を通るたびに値が何倍にも膨らみます。アテンションは最初から1つのトークンに集中し、スコアは根拠のない確信を持ち、勾配も同じだけ大きくなります。",
    ),
    Text(
        "start the weights of all layers small: a standard deviation of 0.02, or torch's own start",
        "すべての層の重みを小さく初期化してください（標準偏差0.02、またはtorchの既定の初期値）",
    ),
    "for m in model.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.trunc_normal_(m.weight, std=0.02)",
    explains=(
        "first-loss-too-high",
        "heads-collapsed",
        "gradient-explodes",
        "gradient-vanishes",
        "dead-units",
        "cannot-overfit",
        "loss-stays-at-guessing",
    ),
)


def initial_loss(patient: Patient) -> Iterator[Finding]:
    """Whether the first loss is that of guessing.

    Does: the cross-entropy of its images, on their labels where they are real and on the mean over all labels where they are noise, beside ln C.
    And how many times as large each layer's product with its weights makes its numbers.
    Finds: scores that are far too large at the start, and weights that are (I1).
    Must not accuse: trained weights, whose norms are no longer ones and zeros; scores that are all alike, whose loss is ln C exactly.
    Source: docs/failure-modes.md, I1.
    """
    if patient.is_trained or _looks_trained(patient.model):
        raise Skipped(
            Text(
                "the weights are trained ones; a first loss is asked of start values",
                "学習済みの重みなので、初期値の損失は調べません",
            ),
            is_left_out=True,
        )
    refuse_not_finite(patient)
    yield from _too_large(patient)
    given = patient.answers.double()
    scores = given.clamp_min(1e-12).log() if are_probabilities(given) else given
    loss, chance = _loss(patient, scores), log(patient.classes)
    if not loss > chance + (OVER_CHANCE_OF_COSINES if _are_cosines(patient) else OVER_CHANCE):
        return
    spread = float(scores.std(dim=-1).mean())
    first, sure = _first(patient, given, loss, chance), _how_sure(scores, spread, is_logarithm=scores is not given)
    yield TOO_SURE.found(
        Text(f"{first.en} {sure.en}", f"{first.ja}{sure.ja}"),
        {
            "first_loss": loss,
            "loss_of_guessing": chance,
            "spread_of_scores": spread,
            "scores_are_constant": bool((scores == scores[:1, :1]).all()),
            "on": "labels" if patient.has_real_images else "the mean over all labels",
        },
    )


def _first(patient: Patient, given: Tensor, loss: float, chance: float) -> Text:
    """The first loss beside that of guessing; of probabilities, it is that of their logarithms, as sure as the model is."""
    classes = patient.classes
    guess, guess_ja = (
        f"guessing among {classes} classes gives ln {classes} = {chance:.2f}",
        f"ln {classes} = {chance:.2f}",
    )
    if not are_probabilities(given):
        return Text(
            f"The first loss is {loss:.2f}; {guess}.",
            f"最初の損失は{loss:.2f}です。チャンスレベルは、{classes}クラスでは{guess_ja}になります。",
        )
    as_they_are = _loss(patient, given)
    return Text(
        f"The scores are probabilities, and the mean of their -ln p is {loss:.2f}, where {guess}: that is the first loss once the softmax is left "
        f"to the loss. Cross-entropy of the probabilities as they are is {as_they_are:.2f} and does not show it.",
        f"スコアは確率で、その-ln pの平均は{loss:.2f}です（{classes}クラスのチャンスレベルは{guess_ja}）。softmaxを損失側に任せると、これが"
        f"最初の損失になります。確率のままクロスエントロピーを計算すると{as_they_are:.2f}で、この問題は表れません。",
    )


def _how_sure(scores: Tensor, spread: float, *, is_logarithm: bool) -> Text:
    """How far an image's scores are apart; where most are alike, how far the highest is from them."""
    of, of_ja = ("logarithms", "スコアの対数") if is_logarithm else ("scores", "スコア")
    if spread < 1:
        over = float((scores.amax(dim=-1) - scores.mean(dim=-1)).mean())
        return Text(
            f"The highest of an image's {of} is {over:.2g} over their mean.",
            f"1枚の画像の{of_ja}の最大値は、平均より{over:.2g}大きくなっています。",
        )
    return Text(
        f"The {of} of an image are spread by {spread:.2g} (standard deviation), where well under 1 is usual.",
        f"1枚の画像の{of_ja}の標準偏差は{spread:.2g}で、通常は1より十分小さい値です。",
    )


@torch.no_grad()
def _too_large(patient: Patient) -> Iterator[Finding]:
    """Whether most products with weights make what they are given many times as large. What scales its weights in the forward does not."""
    tape, found = patient.tape, list[tuple[float, float]]()
    for call in tape.calls:
        if call.name not in PRODUCTS | CONVOLUTIONS:
            continue
        pair = call.sources[:2] if call.name in CONVOLUTIONS else factors(call)
        given = [source.tensor for source in pair if tape.is_of_image(source)]
        weights = [source.tensor for source in pair if not tape.is_of_image(source)]
        if len(given) == len(weights) == 1 and float(size := _size(given[0])) > 0:
            found.append((_size(call.outputs[0]) / size, float(weights[0].std())))
    times, spread = (median(each) for each in zip(*found, strict=True)) if found else (0.0, 0.0)
    if times > TIMES:
        yield TOO_LARGE.found(
            Text(
                f"The weights start with a standard deviation of {spread:.2g} (median of {len(found)} layers): a layer makes its numbers {times:.2g} "
                "times as large, where about once is usual.",
                f"重みの初期値の標準偏差が{spread:.2g}です（{len(found)}層の中央値）。1層通るごとに値が{times:.2g}倍になります（通常は1倍程度）。",
            ),
            {"standard_deviation_of_weights": spread, "growth_in_a_layer": times, "layers": len(found)},
        )


def _size(tensor: Tensor) -> float:
    return float(tensor.double().pow(2).mean().sqrt())


def _loss(patient: Patient, scores: Tensor) -> float:
    """Cross-entropy, as they are."""
    if patient.has_real_images:
        labels = patient.labels[: len(scores)]
        return float(nll_loss(scores.log_softmax(dim=-1), labels))
    everything = torch.full_like(scores, 1 / scores.shape[-1])
    return float(cross_entropy(scores, everything))


@torch.no_grad()
def _are_cosines(patient: Patient) -> bool:
    """Whether the head compares directions: its classes' vectors are all equally long."""
    try:
        products = tail_of(
            patient.tape, scores_of(patient._known["answer"], patient.batch or 1, patient.classes)
        ).products
    except (LensError, ModelError, KeyError):
        return False
    if len(products) != 1 or products[0].name not in PRODUCTS:
        return False
    lengths = factors(products[0])[1].tensor.norm(dim=-2)
    return bool((lengths - lengths.mean()).abs().max() < 1e-5 * lengths.mean())


def _looks_trained(model: nn.Module) -> bool:
    """Whether factors of a norm, which everybody starts at one, are no longer all alike."""
    vectors = [p.detach() for p in model.parameters() if p.ndim == 1 and p.numel() > 1 and p.is_floating_point()]
    return any(float(vector.mean()) > 0.5 and float(vector.std()) > 1e-3 for vector in vectors)
