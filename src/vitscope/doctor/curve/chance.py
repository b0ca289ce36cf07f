"""Whether a training is stuck, and at which number: a loss that stands at an exact value says what is wrong. In goes a curve, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from vitscope._core.text import Text
from vitscope.doctor.curve.watched import USUAL, Watched, last
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.runs import EpochMetrics

CHECK = "curve-chance"
STUCK = Fault(
    "stuck-at-chance",
    "M2",
    CHECK,
    "error",
    Text(
        "Most likely the model answers the same for every picture: it does not see the image, or its weights do not move. Labels that do not belong "
        "to the images leave the same curve.",
        "モデルがどの画像にも同じ答えを返している可能性が高いです。画像が見えていないか、重みが更新されていません。ラベルが画像と対応していない場合も、同じ曲線になります。",
    ),
    Text(
        "examine the model (vitscope doctor on its code): a class token that never sees a patch is the usual cause; else look whether "
        "labels belong to images, whether the optimizer holds the model's parameters, and try a tenth of the learning rate",
        "モデルのコードをvitscope doctorで検査してください。よくある原因は、クラストークンがパッチを一度も参照していないことです。"
        "次に、ラベルが画像と対応しているか、オプティマイザがモデルのパラメータを保持しているかを確認し、学習率を10分の1にして試してください",
    ),
    "vitscope doctor package.module:callable --image-size S",
    explains=("curve-band", "curve-modes", "curve-overfitting", "curve-learning-rate"),
)
SOFTMAX = Fault(
    "softmax-before-cross-entropy",
    "M12",
    CHECK,
    "error",
    Text(
        "Cross-entropy takes logits. Given probabilities (softmax or sigmoid), it cannot fall below ln(e + C − 1) − 1 (C classes), gradients are "
        "small, and learning is slow and worse.",
        "クロスエントロピーはロジットを受け取ります。確率（softmaxやsigmoidの出力）を渡すと損失はln(e + C − 1) − 1（Cはクラス数）を下回れず、"
        "勾配が小さくなり、学習が遅く、正解率も下がります。",
    ),
    Text(
        "return logits: take the softmax or sigmoid out of the model",
        "モデルからsoftmaxやsigmoidを取り除き、ロジットを返してください",
    ),
    "return self.head(x)   # no softmax",
    explains=("curve-band", "bounded-scores"),
)
ONE_ANSWER = Fault(
    "one-answer-to-all",
    "M2",
    CHECK,
    "warning",
    Text(
        "An accuracy that never moves by one image is that of a model that answers the same to all, as a rule the largest class.",
        "1枚分も動かない正解率は、すべての画像に同じ答え（通常は最も多いクラス）を返すモデルのものです。",
    ),
    Text(
        "look at what is predicted; examine the model (vitscope doctor on its code), the labels, and whether the weights move",
        "予測の内訳を確認してください。モデルのコードをvitscope doctorで検査し、ラベルと、重みが更新されているかも確認してください",
    ),
    "vitscope doctor package.module:callable --image-size S",
)
BOUNDED = Fault(
    "bounded-scores",
    "M13",
    CHECK,
    "warning",
    Text(
        "Scores between -1 and 1 (tanh) keep cross-entropy above ln(1 + (C - 1) e^-2), however sure the model is.",
        "スコアが-1から1までに制限されていると（tanh）、モデルがどれほど確信しても損失はln(1 + (C - 1) e^-2)を下回れません。",
    ),
    Text("end the model in a bare nn.Linear", "モデルの最後は、活性化関数のないnn.Linearにしてください"),
    "return self.head(x)   # no tanh",
)


def curve_chance(watched: Watched) -> Iterator[Finding]:
    """Whether a curve stands at a number that says why.

    Does: holds the last third of the epochs (three at least) against one in C and ln C, the loss of equal answers, and against the floors that
    cross-entropy has of scores that are probabilities or bounded.
    Finds: a training stuck at chance (M2, an error), an accuracy that never moves (a warning), softmax or sigmoid before cross-entropy (M12),
    scores bounded by tanh (M13).
    Must not accuse: a slow start, a curve that has left chance or still comes down, label smoothing and mixing (they lift the training loss:
    only validation counts then), a loss that passes such a number on its way.
    """
    if watched.supposed_classes is None:
        for usual in USUAL:
            yield from _softmax(watched, usual)
    classes = watched.need_classes()
    if classes < 2:
        raise Skipped(Text("there are no two classes", "クラスが2つ以上ありません"))
    if not watched.has("val_acc"):
        yield from _stuck_losses(watched, classes)
        yield from _bounded(watched, classes)
        return
    rows = watched.need("val_acc", epochs=3)
    if all(watched.is_at_chance(row.val_acc) for row in rows):
        finding = _stuck(watched, rows, classes)
        if finding is not None:
            yield finding
        return
    yield from _one_answer(watched, rows)
    yield from _softmax(watched, classes)
    yield from _bounded(watched, classes)


def _stuck(watched: Watched, rows: Sequence[EpochMetrics], classes: int) -> Finding | None:
    level, end = math.log(classes), last(rows)
    losses = [row.val_loss for row in end if math.isfinite(row.val_loss)] or [
        row.train_loss for row in end if math.isfinite(row.train_loss)
    ]
    learned = [row.train_acc for row in end if math.isfinite(row.train_acc)]
    if learned and max(learned) > 2 * 100 / classes:
        return None  # training learns: the validation is what is wrong
    if _falls(watched.losses(), level):
        return None
    if losses and not all(0.97 * level <= loss for loss in losses):
        return None
    final = end[-1].val_acc
    exact = bool(losses) and all(abs(loss - level) <= 0.01 * level for loss in losses)
    named = Text("", "")
    if losses:
        named = Text(
            f", the loss at {losses[-1]:.3f}"
            + (f" (ln {classes} = {level:.3f}: equal scores for all classes)" if exact else ""),
            f"損失は{losses[-1]:.3f}"
            + (f"（ln {classes} = {level:.3f}、全クラス同じスコアのときの値）" if exact else "")
            + "です。",
        )
    return STUCK.found(
        Text(
            f"{_after(rows[-1].epoch)} validation accuracy stands at {final:.1f} %, one in {classes}{named.en}.",
            f"{rows[-1].epoch}エポック学習しても、検証画像の正解率は{final:.1f} %（{classes}分の1）のままです。{named.ja}",
        ),
        {
            "classes": classes,
            "val_acc": final,
            "chance": 100 / classes,
            "loss": losses[-1] if losses else None,
            "ln_classes": level,
            "epochs": rows[-1].epoch,
        },
    )


def _falls(losses: Sequence[float], level: float) -> bool:
    """Whether a loss still comes down, by more than a two-hundredth of what guessing costs, from the middle of the curve to its end."""
    third = len(losses) // 3
    return third > 0 and median(losses[third : 2 * third]) - median(losses[-third:]) > 0.005 * level


def _stuck_losses(watched: Watched, classes: int) -> Iterator[Finding]:
    """The same where no accuracy of validation was measured: the losses stand at ln C."""
    level, losses = math.log(classes), watched.losses()
    accuracies = [row.train_acc for row in watched.rows if math.isfinite(row.train_acc)][-5:]
    if len(losses) < 5:
        watched.need("val_acc", epochs=3)
    at_chance = all(abs(loss - level) <= 0.01 * level for loss in losses[-max(5, len(losses) // 2) :])
    if not at_chance or _falls(losses, level) or any(value > 200 / classes for value in accuracies):
        return
    yield STUCK.found(
        Text(
            f"{_after(watched.rows[-1].epoch)} the loss stands at {losses[-1]:.3f} (ln {classes} = {level:.3f}: equal scores for all classes).",
            f"{watched.rows[-1].epoch}エポック学習しても、損失は{losses[-1]:.3f}のままです"
            f"（ln {classes} = {level:.3f}、全クラス同じスコアのときの値）。",
        ),
        {"classes": classes, "loss": losses[-1], "ln_classes": level, "epochs": watched.rows[-1].epoch},
    )


def _one_answer(watched: Watched, rows: Sequence[EpochMetrics]) -> Iterator[Finding]:
    """An accuracy that is the same to the last digit in five epochs and more, while the losses hardly move either."""
    losses, value = watched.losses(), rows[-1].val_acc
    if len(rows) < 5 or value > 99.5 or any(row.val_acc != value for row in rows) or not losses:
        return
    if max(losses) - min(losses) > 0.02 * max(losses):
        return
    yield ONE_ANSWER.found(
        Text(
            f"Validation accuracy is {value:g} % in all {len(rows)} epochs, to the last digit, and the loss stays at {losses[-1]:.4g}.",
            f"検証画像の正解率は{len(rows)}エポックすべてで{value:g} %とまったく同じで、損失も{losses[-1]:.4g}から動きません。",
        ),
        {"val_acc": value, "epochs": len(rows), "loss": losses[-1]},
    )


def _softmax(watched: Watched, classes: int) -> Iterator[Finding]:
    """Sure answers cost the floor where they are right and one more where they are wrong: floor + share of wrong answers."""
    floor = math.log(math.e + classes - 1) - 1
    told = [row for row in watched.rows if math.isfinite(row.val_loss) and math.isfinite(row.val_acc)]
    if len(told) < 3 or classes < 3:
        return
    end, near = last(told, 0.2), 0.08 if watched.classes is not None else 0.05
    losses = [row.val_loss for row in told]
    if not watched.settings.mixes and not watched.settings.smoothing:
        losses += [row.train_loss for row in told if math.isfinite(row.train_loss)]
    if max(losses) > floor + 1.02 or not _follows_accuracy(told, floor, near):
        return  # of probabilities no loss is over floor + 1
    lowest = min(losses)
    wanted = [floor + 1 - row.val_acc / 100 for row in end]
    agrees = all(abs(row.val_loss - want) <= near for row, want in zip(end, wanted, strict=True))
    has_learned = end[-1].val_acc >= 100 / classes + (15 if classes > 5 else 90 - 100 / classes)
    if not (agrees and has_learned and lowest >= floor - 0.005):
        return
    yield SOFTMAX.found(
        Text(
            f"No loss goes below {floor:.4f} = ln(e + {classes} - 1) - 1, and at {end[-1].val_acc:.1f} % it is {end[-1].val_loss:.3f}, "
            f"where the floor "
            f"plus the share of wrong answers is {wanted[-1]:.3f}: cross-entropy is given probabilities.",
            f"損失が一度も{floor:.4f} = ln(e + {classes} - 1) - 1を下回らず、正解率{end[-1].val_acc:.1f} %での損失{end[-1].val_loss:.3f}は、"
            f"下限に誤答率を足した{wanted[-1]:.3f}にほぼ一致します。クロスエントロピーに確率が渡されています。",
        ),
        {"classes": classes, "floor": floor, "lowest_loss": lowest, "loss": end[-1].val_loss, "expected": wanted[-1]},
    )


def _follows_accuracy(rows: Sequence[EpochMetrics], floor: float, near: float) -> bool:
    """Whether most epochs have the loss that goes with their accuracy, not only the last: sure answers come early."""
    close = [abs(row.val_loss - (floor + 1 - row.val_acc / 100)) <= 3 * near for row in rows]
    return 2 * sum(close) >= len(close)


def _bounded(watched: Watched, classes: int) -> Iterator[Finding]:
    settings = watched.settings
    if settings.mixes or settings.smoothing:
        return
    floor = math.log(1 + (classes - 1) * math.exp(-2))
    told = [row for row in watched.rows if math.isfinite(row.train_loss) and math.isfinite(row.train_acc)]
    end = last(told)
    if len(told) < 3 or min(row.train_loss for row in told) < floor - 0.002:
        return
    if not all(row.train_acc >= 97 and row.train_loss <= floor * 1.06 + 0.02 for row in end):
        return
    yield BOUNDED.found(
        Text(
            f"With {end[-1].train_acc:.1f} % of the training images right, the training loss stays at {end[-1].train_loss:.3f}, above "
            f"{floor:.3f} = ln(1 + {classes - 1} e^-2), the floor of scores between -1 and 1.",
            f"学習画像の{end[-1].train_acc:.1f} %に正解していながら、学習損失は{end[-1].train_loss:.3f}から下がりません。"
            f"スコアが-1から1までに制限されたときの損失の下限は、{floor:.3f} = ln(1 + {classes - 1} e^-2)です。",
        ),
        {"classes": classes, "floor": floor, "train_loss": end[-1].train_loss, "train_acc": end[-1].train_acc},
    )


def _after(epochs: int) -> str:
    return f"After {epochs} epoch{'' if epochs == 1 else 's'}"
