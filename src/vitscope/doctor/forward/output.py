"""Whether what a model gives are scores, free in both directions, or something that was squeezed through a function first. In goes a patient, out
come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.dropout import draws_in_training
from vitscope.doctor.forward.removal import without, without_misfit
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.forward.tail import Reach, Tail, are_probabilities, floor_of_width, reach_of, tail_of
from vitscope.doctor.forward.told import misfit
from vitscope.doctor.naming import in_words
from vitscope.doctor.patient import Patient, not_followed, scores_of
from vitscope.lens.operations import NORMS

_TRAINING = ("overfit", "loss-stops-at-a-floor", "initial-loss", "learning-rate")

SOFTMAX = Fault(
    "softmax-in-the-model",
    "M12",
    "output",
    "warning",
    Text(
        "Cross-entropy applies a softmax itself. Given probabilities, it makes them nearly uniform: the loss cannot fall below "
        "ln(e + C − 1) − 1 (C classes), gradients are small, and training starts slowly and ends low.",
        "クロスエントロピーは内部でsoftmaxを計算します。確率を渡すと再びほぼ均等な確率になり、損失はln(e + C − "
        "1) − 1（Cはクラス数）より下がらず、"
        "勾配は小さく、学習の立ち上がりは遅く、正解率は低いままになります。",
    ),
    Text(
        "return the scores (logits) as the last Linear gives them; take the softmax where probabilities are shown",
        "最後のLinearの出力（ロジット）をそのまま返し、softmaxは確率を表示するときだけ計算してください",
    ),
    "return self.head(x)   # no softmax\nprobabilities = model(images).softmax(dim=-1)   # for people",
    explains=_TRAINING,
)
SIGMOID = Fault(
    "sigmoid-in-the-model",
    "M12",
    "output",
    "warning",
    Text(
        "Cross-entropy compares scores that are free; between 0 and 1 its loss cannot fall under ln(e + C − 1) − 1 (C "
        "classes), and gradients are small.",
        "クロスエントロピーは自由な値のスコアを前提としています。0から1に押し込むと、損失はln(e + C − 1) − "
        "1（Cはクラス数）より下がらず、勾配も小さくなります。",
    ),
    Text(
        "return the scores as the last Linear gives them; for independent labels use BCEWithLogitsLoss, which takes the sigmoid itself",
        "最後のLinearの出力をそのまま返してください。独立したラベルの場合は、内部でsigmoidを計算するBCEWithLogitsLossを使います",
    ),
    "return self.head(x)   # no sigmoid",
    explains=_TRAINING,
)
LOG_SOFTMAX = Fault(
    "log-softmax-before-cross-entropy",
    "M12",
    "output",
    "note",
    Text(
        "Cross-entropy takes a log-softmax itself; one more changes nothing (the log-softmax of a log-softmax is the same), and costs a little.",
        "クロスエントロピーは内部でlog-softmaxを計算します。もう一度適用しても結果は同じですが、その分だけ無駄な計算になります。",
    ),
    Text(
        "return the scores themselves, or keep the log-softmax and train with nll_loss",
        "スコアをそのまま返すか、log-softmaxを残してnll_lossで学習してください",
    ),
    "return self.head(x)",
)
BOUNDED = Fault(
    "bounded-scores",
    "M13",
    "output",
    "warning",
    Text(
        "With scores that cannot be far apart no prediction can be sure, and the loss has a floor over zero, however long the training.",
        "スコアの差を大きくできないため確信のある予測ができず、どれだけ学習しても損失はゼロより上の下限に止まります。",
    ),
    Text(
        "let the last layer be a bare Linear",
        "最後の層は活性化関数のないLinearにしてください",
    ),
    "return self.head(x)   # no tanh",
    explains=_TRAINING,
)
RECTIFIED = Fault(
    "rectified-scores",
    "M13",
    "output",
    "warning",
    Text(
        "A class whose score is cut off at zero gets no gradient any more: classes die, and the others can only be told apart on one side of it.",
        "スコアがゼロで切られたクラスには勾配が届かなくなり、そのクラスは二度と学習されなくなることがあります。",
    ),
    Text(
        "let the last layer be a bare Linear",
        "最後の層は活性化関数のないLinearにしてください",
    ),
    "return self.head(x)   # no ReLU",
    explains=_TRAINING,
)
DROPPED = Fault(
    "dropout-behind-the-head",
    "M13",
    "output",
    "warning",
    Text(
        "In training some classes' scores are set to zero at random, right ones among them, which no weight can make good.",
        "学習中に、正解のものを含む一部のクラスのスコアがランダムにゼロにされます。どのように重みを変えても補えません。",
    ),
    Text(
        "put the dropout before the last Linear, or leave it out",
        "ドロップアウトは最後のLinearの前に置くか、取り除いてください",
    ),
    "nn.Sequential(nn.Dropout(0.1), nn.Linear(dim, classes))",
    explains=("dropout-too-strong",),
)


def output(patient: Patient) -> Iterator[Finding]:
    """What stands between the last product and the scores.

    Does: tests the scores for being probabilities or their logarithms; plays the end of the forward again with the last product replaced by large
    numbers of either sign, and looks where the scores stop; looks for dropout there in training mode.
    Finds: softmax and sigmoid before cross-entropy, scores that are not what another loss takes that was told (M12), scores that are bounded,
    rectified or dropped out (M13).
    Must not accuse: log-softmax with its own loss, sigmoid with binary cross-entropy, scales and norms that are learned, soft caps far out, cosines,
    logarithms of sigmoids, distances; one score that is squeezed, where no loss was told.
    Source: torch.nn.CrossEntropyLoss and BCEWithLogitsLoss, which take logits, NLLLoss and BCELoss, which do not.
    """
    refuse_not_finite(patient)
    tail: Tail | None
    try:
        tail = tail_of(patient.tape, _scores(patient))
        reach = reach_of(tail)
    except (LensError, RuntimeError) as error:
        tail, reach = None, None
        why = Skipped(not_followed(in_words(error)))
    answers = patient.answers
    unfit = misfit(patient, tail, reach)
    if unfit is not None:
        yield replace(unfit, fault=without_misfit(unfit.fault, patient.model, tail))
    elif patient.classes == 1:
        if tail is not None and reach is not None and not tail.is_learned and reach.is_rectified:
            yield from _squeezed(patient, tail, reach)
    elif are_probabilities(answers) and (reach is None or reach.sums_to_one):
        yield from _softmax(patient, tail, answers)
    elif float(torch.logsumexp(answers, dim=-1).abs().max()) < 1e-6 * (1 + float(answers.abs().max())):
        if patient.loss == "cross-entropy":
            yield _log_softmax(patient, tail, answers)
    elif tail is not None and reach is not None and not tail.is_learned:
        yield from _squeezed(patient, tail, reach)
    yield from _dropped(patient)
    if tail is None:
        raise why


def _scores(patient: Patient) -> Tensor:
    tape = patient.tape  # its answer is kept beside it
    del tape
    return scores_of(patient._known["answer"], patient.batch or 1, patient.classes)


def _softmax(patient: Patient, tail: Tail | None, answers: Tensor) -> Iterator[Finding]:
    if patient.loss not in _CROSS_ENTROPY:
        return
    floor = floor_of_width(patient.classes, 1.0)
    apart = float((answers.sum(dim=-1) - 1).abs().max())
    yield without(SOFTMAX, "_softmax", patient.model, tail).found(
        Text(
            f"The scores are probabilities: none is negative, and each row sums to 1. With cross-entropy the loss cannot fall under "
            f"{floor:.4f} ({patient.classes} classes).",
            f"スコアが確率になっています。負の値がなく、各行の合計が1です。クロスエントロピーで学習すると、損失は{floor:.4f}"
            f"（{patient.classes}クラス）より下がりません。",
        ),
        {
            "largest_distance_of_sums_from_1": apart,
            "lowest": float(answers.min()),
            "floor": floor,
            "loss": patient.loss,
        },
        severity="error" if patient.loss == "cross-entropy" else None,
    )


def _log_softmax(patient: Patient, tail: Tail | None, answers: Tensor) -> Finding:
    largest = float(torch.logsumexp(answers, dim=-1).abs().max())
    return without(LOG_SOFTMAX, "_log_softmax", patient.model, tail).found(
        Text(
            "The scores are logarithms of probabilities (log-softmax), and the loss is cross-entropy, which takes them once more.",
            "スコアが確率の対数（log-softmax）になっており、損失のクロスエントロピーがもう一度log-softmaxを計算します。",
        ),
        {"largest_logsumexp": largest},
    )


def _squeezed(patient: Patient, tail: Tail, reach: Reach) -> Iterator[Finding]:
    """What large products show: scores that stop on both sides, or on one."""
    is_of_rows = reach.is_bounded and (reach.length is not None or reach.floor(patient.classes) is None)
    known = _NORMALISERS if is_of_rows else _SQUEEZERS
    named = next((name for name in reversed(tail.names) if name.rstrip("_") in known), "")
    if reach.is_bounded:
        yield from _bounded(patient, tail, named, reach)
    elif reach.is_rectified_above:
        yield from _rectified_above(patient, tail, named, reach)
    elif reach.is_rectified:
        by, by_ja = (f" ({named})", f"（{named}）") if named else ("", "")
        yield without(RECTIFIED, named, patient.model, tail).found(
            Text(
                f"The scores are cut off below{by}: with the last product far negative none is under {reach.lower:.3g}, far positive they reach "
                f"{reach.higher:.3g}.",
                f"スコアの下側が切られています{by_ja}。最後の積を大きな負の値にしても{reach.lower:.3g}を下回らず、正の値では{reach.higher:.3g}に達します。",
            ),
            {"lowest": reach.lower, "highest": reach.higher, "operation": named},
        )


def _bounded(patient: Patient, tail: Tail, named: str, reach: Reach) -> Iterator[Finding]:
    """Scores that stop on both sides, unless far out, or where the loss wants them so."""
    width, floor, loss = reach.higher - reach.lower, reach.floor(patient.classes), patient.loss
    if width < 1e-6 or (floor_of_width(patient.classes, width) if floor is None else floor) < 0.01:
        return  # scores that hang on no product, or a soft cap far out
    if loss == "mse" or (loss not in _CROSS_ENTROPY and reach.is_between_0_and_1 and width > 0.96):
        return
    is_sigmoid = named.startswith("sigmoid") and abs(reach.lower) < 1e-6 and abs(reach.higher - 1) < 1e-6
    by, by_ja = (f" ({named})", f"（{named}）") if named else ("", "")
    low, high = (round(x, 6) for x in (reach.lower, reach.higher))
    en, ja = (
        f"the scores stay between {low:.3g} and {high:.3g}{by}",
        f"スコアは{low:.3g}から{high:.3g}の範囲を出ません{by_ja}",
    )
    if reach.length is not None:
        en = f"the scores of an image, as a vector, are {reach.length:.3g} long{by}"
        ja = f"画像1枚のスコアは、ベクトルとしての長さが{reach.length:.3g}のままです{by_ja}"
    elif floor is None:
        en = f"the scores grow no further{by}: those that were tried are between {low:.3g} and {high:.3g}"
        ja = f"スコアはそれ以上大きくなりません{by_ja}。試した範囲では{low:.3g}から{high:.3g}でした"
    en, ja = f"However large the last product is made, {en}.", f"最後の積をどれだけ大きくしても、{ja}。"
    evidence = {"lowest": reach.lower, "highest": reach.higher, "operation": named, "loss": loss}
    if floor is not None and loss in _CROSS_ENTROPY:
        en += f" With cross-entropy the loss cannot fall under {floor:.4f} ({patient.classes} classes)."
        ja += f"クロスエントロピーで学習すると、損失は{floor:.4f}（{patient.classes}クラス）より下がりません。"
        evidence["floor"] = floor
    left_out = named or ("norm" if reach.length is not None else "")
    yield without(SIGMOID if is_sigmoid else BOUNDED, left_out, patient.model, tail).found(
        Text(en, ja), evidence, severity="error" if is_sigmoid and loss == "cross-entropy" else None
    )


def _rectified_above(patient: Patient, tail: Tail, named: str, reach: Reach) -> Iterator[Finding]:
    """The same the other way up, where scores of images lie on the bound: a logarithm or a distance never does."""
    highest = reach.higher + 0.0  # no minus before a zero
    cut = int((patient.answers == highest).sum())
    if not cut:
        return
    by, by_ja = (f" ({named})", f"（{named}）") if named else ("", "")
    yield without(RECTIFIED, named, patient.model, tail).found(
        Text(
            f"The scores are cut off above{by}: whatever the last product, none is over {highest:.3g}, while they go down to {reach.lower:.3g}; "
            f"{cut} of {patient.answers.numel()} scores lie exactly there.",
            f"スコアの上側が切られています{by_ja}。最後の積がどんな値でも{highest:.3g}を上回らず、負の側は{reach.lower:.3g}に達します。"
            f"{patient.answers.numel()}個中{cut}個のスコアがちょうどその上限にあります。",
        ),
        {"lowest": reach.lower, "highest": highest, "on_the_bound": cut, "operation": named},
    )


_CROSS_ENTROPY = (None, "cross-entropy")
"""What holds of cross-entropy is worth saying where no loss was told, and beside the point where another was."""
_NORMALISERS = NORMS | {"linalg_vector_norm", "norm", "native_group_norm"}
_SQUEEZERS = frozenset(
    {"sigmoid", "tanh", "relu", "clamp", "clamp_min", "clamp_max", "hardtanh", "hardsigmoid", "softplus", "gelu"}
    | {"silu", "elu", "exp", "native_layer_norm", "_fused_rms_norm"}
    | {"leaky_relu", "threshold", "_softmax", "maximum", "abs", "hardswish", "mish"}
)


def _dropped(patient: Patient) -> Iterator[Finding]:
    """Whether training mode drops scores."""
    behind = [draw for draw in draws_in_training(patient) if draw.is_behind_head]
    if not behind:
        return
    p = behind[-1].p
    yield DROPPED.found(
        Text(
            f"In training mode dropout stands behind the last product: {100 * p:.0f} % of the scores are set to zero.",
            f"学習モードで、最後の積の後にドロップアウトがあります。スコアの{100 * p:.0f} %がゼロにされます。",
        ),
        {"p": p, "operation": behind[-1].operation, "module": behind[-1].path},
    )
