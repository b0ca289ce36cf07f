"""Whether the scores are what the loss asks for that the user trains with. In goes a patient whose loss was told, out comes what does not fit.

Of cross-entropy only that it takes several scores is judged here: what it makes of other scores holds where no loss was told, too.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.silence import quiet
from vitscope.doctor.forward.tail import Reach, Tail, are_probabilities
from vitscope.doctor.patient import Patient

_TRAINING = ("overfit", "loss-stops-at-a-floor", "initial-loss", "learning-rate")
_OFF = 0.05
"""By how much a row of log-probabilities may miss a sum of 1: far over the rounding of half precision, far under what free scores do."""

NO_LOGARITHM = Fault(
    "no-log-softmax-before-nll",
    "M12",
    "output",
    "error",
    Text(
        "NLLLoss takes neither softmax nor logarithm: it is the right class's score with a minus. Of probabilities it is flat where the model is "
        "surely wrong; of free scores it falls without end as all of them grow, whatever the image.",
        "NLLLossはsoftmaxも対数も計算せず、正解クラスのスコアの符号を変えるだけです。確率を渡すと、自信を持って間違えた画像の勾配がほとんど"
        "なくなります。自由な値のスコアを渡すと、画像に関係なく全クラスのスコアを大きくするだけで、損失が際限なく下がります。",
    ),
    Text(
        "end with log_softmax(dim=-1) (in place of a softmax), or return the scores themselves and train with CrossEntropyLoss",
        "最後をlog_softmax(dim=-1)にするか（softmaxがあれば置き換えます）、スコアをそのまま返してCrossEntropyLossで学習してください",
    ),
    "return self.head(x).log_softmax(dim=-1)",
    explains=_TRAINING,
)
NO_SIGMOID = Fault(
    "no-sigmoid-before-bce",
    "M12",
    "output",
    "error",
    Text(
        "BCELoss takes probabilities: the first number under 0 or over 1 ends the training with an error.",
        "BCELossは確率を受け取ります。0未満または1を超える値が1つでもあると、学習はエラーで止まります。",
    ),
    Text(
        "train with BCEWithLogitsLoss, which takes the sigmoid itself, or end with a sigmoid",
        "内部でsigmoidを計算するBCEWithLogitsLossで学習するか、最後にsigmoidを入れてください",
    ),
    "loss = nn.BCEWithLogitsLoss()",
    explains=_TRAINING,
)
SQUEEZED_TWICE = Fault(
    "sigmoid-applied-twice",
    "M12",
    "output",
    "error",
    Text(
        "BCEWithLogitsLoss takes a sigmoid itself. Of scores between 0 and 1 it makes probabilities between 0.5 and 0.73: no class can be called "
        "absent, the loss stays far over zero, and gradients are small.",
        "BCEWithLogitsLossは内部でsigmoidを計算します。0から1のスコアを渡すと確率は0.5から0.73にしかならず、どのクラスも「ない」と予測できません。"
        "損失はゼロよりはるかに上に止まり、勾配も小さくなります。",
    ),
    Text(
        "return the scores as the last Linear gives them, or keep the sigmoid and train with BCELoss",
        "最後のLinearの出力をそのまま返すか、sigmoidを残してBCELossで学習してください",
    ),
    "return self.head(x)   # no sigmoid",
    explains=_TRAINING,
)
LOGARITHMS = Fault(
    "log-softmax-before-bce",
    "M12",
    "output",
    "error",
    Text(
        "BCEWithLogitsLoss takes a sigmoid of free scores. Logarithms of probabilities are never above zero, so no class can be called present with "
        "more than one half, and the classes compete though their labels do not.",
        "BCEWithLogitsLossは自由な値のスコアのsigmoidを計算します。確率の対数は常に0以下なので、どのクラスの確率も0.5を超えられません。また、独立した"
        "ラベルのはずなのに、クラスどうしが競合します。",
    ),
    Text(
        "return the scores as the last Linear gives them, or keep the log-softmax and train with NLLLoss, where each image has one class",
        "最後のLinearの出力をそのまま返してください。画像ごとにクラスが1つなら、log-softmaxを残してNLLLossで学習することもできます",
    ),
    "return self.head(x)   # no log_softmax",
    explains=_TRAINING,
)


ONE_SCORE = Fault(
    "cross-entropy-of-one-score",
    "M12",
    "output",
    "error",
    Text(
        "Cross-entropy and NLLLoss compare the scores of several classes. The softmax of a single score is 1 whatever the score, so the loss is 0 "
        "and so is every gradient: nothing learns. A label of 1 is an error.",
        "クロスエントロピーとNLLLossは、複数のクラスのスコアを比べる損失です。スコアが1つだけだとsoftmaxは値にかかわらず1なので、損失も勾配もすべて0に"
        "なり、何も学習しません。ラベルが1の画像ではエラーになります。",
    ),
    Text(
        "give one score for each class (two for two classes), or keep the single score and train with BCEWithLogitsLoss",
        "クラスごとに1つのスコアを出力する（2クラスなら2つ）か、スコアを1つのままにしてBCEWithLogitsLossで学習してください",
    ),
    "self.head = nn.Linear(dim, 2)   # or loss = nn.BCEWithLogitsLoss()",
    explains=_TRAINING,
)


def misfit(patient: Patient, tail: Tail | None, reach: Reach | None) -> Finding | None:
    """What a loss was told for that cannot take these scores, in evaluation mode and in training mode."""
    if patient.loss in ("cross-entropy", "nll") and patient.classes == 1:
        return _of_one_score(patient)
    judge = {"nll": _nll, "bce-of-probabilities": _of_probabilities, "bce-with-logits": _with_logits, "bce": _either}
    if patient.loss not in judge:
        return None
    found = judge[patient.loss](patient, tail, reach)
    return None if found is None or _fits_in_training(patient) else found


def _fits_in_training(patient: Patient) -> bool:
    """Whether what is wrong for the loss is for people only: some models finish their scores in evaluation mode alone, or otherwise there."""
    images = patient.images[: patient.batch or 2]
    model = quiet(patient)
    try:
        with torch.no_grad():
            scores = model.scores(images.float() if patient.is_large else images, seed=0)
    except Exception:  # whatever it says: in training it asks for labels, or for more images
        return False
    if patient.loss == "nll":
        return _largest(scores) < _OFF
    return _are_between(scores) if patient.loss == "bce-of-probabilities" else not _are_squeezed(scores)


def bce_meant(patient: Patient) -> Text | None:
    """Where `bce` was told, which of torch's two fits these scores."""
    if patient.loss != "bce":
        return None
    if _are_between(patient.answers):
        return Text(
            "Of the two losses that bce may mean, BCELoss fits these scores, which are between 0 and 1; BCEWithLogitsLoss would take a second "
            "sigmoid.",
            "bceと呼ばれる損失は2つあり、このスコア（0から1の値）に合うのはBCELossです。BCEWithLogitsLossではsigmoidが2回適用されます。",
        )
    return Text(
        "Of the two losses that bce may mean, BCEWithLogitsLoss fits these scores, which are no probabilities; BCELoss would end in an error.",
        "bceと呼ばれる損失は2つあり、このスコア（確率ではない値）に合うのはBCEWithLogitsLossです。BCELossではエラーになります。",
    )


def _either(patient: Patient, tail: Tail | None, reach: Reach | None) -> Finding | None:
    """What fits neither."""
    return None if _of_probabilities(patient, tail, reach) is None else _with_logits(patient, tail, reach)


def _of_one_score(patient: Patient) -> Finding:
    return ONE_SCORE.found(
        Text(
            f"The loss is {patient.loss}, and the model gives a single score: of one class it is 0 for every image, whatever the score.",
            f"損失は{patient.loss}ですが、モデルのスコアは1つだけです。クラスが1つなら、スコアにかかわらずどの画像でも損失は0になります。",
        ),
        {"scores": 1, "loss": patient.loss},
    )


def _nll(patient: Patient, tail: Tail | None, reach: Reach | None) -> Finding | None:
    del tail
    answers = patient.answers
    if _largest(answers) < _OFF:
        return None
    sums = torch.logsumexp(answers.double(), dim=-1)
    low, high = float(sums.min()), float(sums.max())
    said = Text(
        f"The loss is nll, which takes logarithms of probabilities, and the scores are none: the log of the sum of their exponentials is between "
        f"{low:.3g} and {high:.3g}, where log_softmax makes it 0.",
        f"損失のnllは確率の対数を受け取りますが、スコアはそうなっていません。スコアの指数の和の対数は、log_softmaxなら0になるところ、画像ごとに"
        f"{low:.3g}から{high:.3g}です。",
    )
    if are_probabilities(answers) and (reach is None or reach.sums_to_one):
        said = Text(
            "The scores are probabilities (none is negative, and each row sums to 1), and the loss is nll, which takes their logarithms: the log is "
            "missing, and the loss stays between -1 and 0.",
            "スコアが確率になっています（負の値がなく、各行の合計が1）。損失のnllは確率の対数を受け取るので、対数が抜けており、損失は"
            "-1から0の間に止まります。",
        )
    return NO_LOGARITHM.found(said, {"lowest_logsumexp": low, "highest_logsumexp": high, "loss": patient.loss})


def _of_probabilities(patient: Patient, tail: Tail | None, reach: Reach | None) -> Finding | None:
    del tail
    answers = patient.answers
    if _are_between(answers) or (_lie_between(answers) and (reach is None or reach.is_between_0_and_1)):
        return None
    low, high = float(answers.min()), float(answers.max())
    en = (
        f"the scores are between {low:.3g} and {high:.3g}" if low < high else f"the scores, now all {low:.3g}, are free"
    )
    ja = f"スコアは{low:.3g}から{high:.3g}です" if low < high else f"スコアは自由な値です（今はすべて{low:.3g}）"
    return NO_SIGMOID.found(
        Text(
            f"The loss is BCELoss, which takes probabilities from 0 to 1, and {en}: the sigmoid is missing.",
            f"損失のBCELossは0から1の確率を受け取りますが、{ja}。sigmoidが抜けています。",
        ),
        {"lowest": low, "highest": high, "loss": patient.loss},
    )


def _with_logits(patient: Patient, tail: Tail | None, reach: Reach | None) -> Finding | None:
    answers = patient.answers
    if answers.shape[1] > 1 and _largest(answers) < 1e-6 * (1 + float(answers.abs().max())):
        return _logarithms(patient)
    is_softmax = are_probabilities(answers) and (reach is None or reach.sums_to_one)
    if not is_softmax:
        if tail is None or reach is None or tail.is_learned or not _lie_between(answers):
            return None
        if not (reach.is_bounded and reach.is_between_0_and_1 and reach.higher - reach.lower > 1e-6):
            return None
    en, ja = "the scores are squeezed twice", "スコアが2回押し込められています"
    if is_softmax:
        en, ja = "a sigmoid is applied to what a softmax gives", "softmaxの出力にさらにsigmoidが適用されます"
    elif tail is not None and tail.is_sigmoid:
        en, ja = "the sigmoid is applied twice", "sigmoidが2回適用されます"
    floor = log(2)
    return SQUEEZED_TWICE.found(
        Text(
            f"The scores are between 0 and 1 already, and the loss is BCEWithLogitsLoss, which takes a sigmoid itself: {en}, and the loss of a "
            f"class that an image does not show cannot fall under {floor:.4f}.",
            f"スコアがすでに0から1の値になっており、損失のBCEWithLogitsLossは内部でsigmoidを計算します。{ja}。画像にないクラスの損失は{floor:.4f}"
            f"より下がりません。",
        ),
        {
            "lowest": float(answers.min()),
            "highest": float(answers.max()),
            "floor_of_an_absent_class": floor,
            "loss": patient.loss,
        },
    )


def _logarithms(patient: Patient) -> Finding:
    highest = float(patient.answers.max())
    return LOGARITHMS.found(
        Text(
            f"The scores are logarithms of probabilities (log-softmax; the highest is {highest:.3g}), and the loss is BCEWithLogitsLoss, which takes "
            "free scores.",
            f"スコアが確率の対数（log-softmax、最大値{highest:.3g}）になっていますが、損失のBCEWithLogitsLossは自由な値のスコアを受け取ります。",
        ),
        {"largest_logsumexp": _largest(patient.answers), "highest": highest, "loss": patient.loss},
    )


def _largest(scores: Tensor) -> float:
    return float(torch.logsumexp(scores.double(), dim=-1).abs().max())


def _are_squeezed(scores: Tensor) -> bool:
    """Whether they are probabilities, or logarithms of them."""
    return _lie_between(scores) or (scores.shape[1] > 1 and _largest(scores) < _OFF)


def _lie_between(scores: Tensor) -> bool:
    return bool(((scores >= 0) & (scores <= 1 + 1e-6)).all())


def _are_between(scores: Tensor) -> bool:
    """Whether they lie between 0 and 1, and not only because a head of zeros gives nothing else."""
    return _lie_between(scores) and bool((scores != 0).any())
