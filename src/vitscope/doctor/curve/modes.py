"""Whether training and validation were measured in the same way. In go the four columns of a curve, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vitscope._core.text import Text
from vitscope.doctor.curve.watched import Watched
from vitscope.doctor.finding import Fault, Finding
from vitscope.runs import EpochMetrics

CHECK = "curve-modes"
AT_CHANCE = Fault(
    "validation-at-chance-while-training-learns",
    "D4",
    CHECK,
    "warning",
    Text(
        "A model that learned something of the images does better than chance on others like them: validation shows it something else.",
        "画像から何かを学んだモデルなら、似た画像ではチャンスレベルより高い正解率になるはずです。検証では別のものを見せていると考えられます。",
    ),
    Text(
        "compare what validation does with what training does: normalisation, order of classes and labels, model.eval(), the weights that "
        "are loaded; and "
        "look whether training labels belong to their images",
        "検証時の処理を学習時の処理と比べてください（正規化、クラスとラベルの順序、model.eval()、読み込む重み）。学習ラベルが画像と対応しているかも確認してください",
    ),
    "vitscope.doctor.data.examine_data(train_loader, val_loader, classes=C)",
    explains=("curve-overfitting", "curve-band", "validation-loss-far-above-training"),
)
FAR_ABOVE = Fault(
    "validation-loss-far-above-training",
    "E1",
    CHECK,
    "warning",
    Text(
        "Overfitting comes with time; a gap that is there from the first epoch comes from measuring: another normalisation, dropout or "
        "batch statistics "
        "that are on in validation, other labels.",
        "過学習は時間とともに進みます。最初のエポックからある差は測り方によるもので、正規化の違い、検証中も有効なドロップアウトやバッチ統計、"
        "ラベルの違いなどが原因です。",
    ),
    Text(
        "call model.eval() before validation and model.train() behind it, and give both sets the same normalisation",
        "検証の前にmodel.eval()を、後にmodel.train()を呼び、両方のデータに同じ正規化を使ってください",
    ),
    "model.eval()\nwith torch.no_grad(): …\nmodel.train()",
    explains=("curve-overfitting", "curve-band"),
)
TRAIN_BELOW = Fault(
    "training-accuracy-below-validation",
    "E5",
    CHECK,
    "note",
    Text(
        "Training accuracy is of augmented images, with dropout on, averaged while the model still learned: it is no measure of fit, and "
        "the gap is no fault.",
        "学習画像の正解率は、拡張した画像とドロップアウトありの状態で、学習途中の平均として測られます。モデルの当てはまりを示す指標ではないため、差があっても問題ありません。",
    ),
    Text(
        "to compare the two, measure some unchanged training images in model.eval() too",
        "比較したい場合は、加工していない学習画像もmodel.eval()で測ってください",
    ),
)
NO_MEAN = Fault(
    "training-loss-is-no-mean",
    "L6",
    CHECK,
    "note",
    Text(
        "An image that is answered wrongly costs at least ln 2 of cross-entropy. A smaller loss was divided once more, as by the batch size "
        "(with SGD that "
        "divides the learning rate too), or is another loss.",
        "誤答した画像1枚につき、クロスエントロピーは少なくともln 2になります。損失がそれより小さい場合は、バッチサイズなどでもう一度割っているか"
        "（SGDでは学習率も割ったことになります）、別の損失を使っています。",
    ),
    Text(
        "nn.CrossEntropyLoss gives the mean already: do not divide it by len(batch), and average losses weighted by batch size",
        "nn.CrossEntropyLossはすでに平均を返します。len(batch)で割らず、平均する際はバッチサイズで重み付けしてください",
    ),
    "total += loss.item() * len(images)   # and total / count at the end",
)


def curve_modes(watched: Watched) -> Iterator[Finding]:
    """Whether training and validation numbers fit together.

    Does: looks at accuracies and losses of both from the first epoch on, and at what a loss must be at least for its accuracy.
    Finds: validation at chance while training learns (D4), a validation loss that is far above the training loss from the start (E1), a training loss
    that is too small for its accuracy (L6, a note), a training accuracy far below validation (E5, a note).
    Must not accuse: overfitting, which comes later; the first epoch of a batch norm; training accuracy below validation, which is what augmentation,
    mixing and dropout do (said only where it is large, and as what it is).
    """
    rows = [row for row in watched.rows if _is_told(row.train_acc) or _is_told(row.train_loss)]
    if not rows or not (watched.has("val_acc") or watched.has("val_loss")):
        watched.need("train_acc", "val_acc")
    yield from _at_chance(watched)
    yield from _far_above(watched)
    yield from _no_mean(watched)
    yield from _train_below(watched)


def _is_told(value: float) -> bool:
    return math.isfinite(value)


def _pairs(watched: Watched, *names: str) -> list[EpochMetrics]:
    return [row for row in watched.rows if all(_is_told(getattr(row, name)) for name in names)]


def _at_chance(watched: Watched) -> Iterator[Finding]:
    rows = _pairs(watched, "train_acc", "val_acc")
    if watched.supposed_classes is None or len(rows) < 3:
        return
    chance = 100 / watched.supposed_classes
    final = rows[-1]
    if final.train_acc < chance + max(10.0, (100 - chance) / 4) or not all(
        watched.is_at_chance(row.val_acc) for row in rows
    ):
        return
    yield AT_CHANCE.found(
        Text(
            f"At epoch {final.epoch} {final.train_acc:.1f} % of the training images are right, and {final.val_acc:.1f} % of the validation "
            f"images, which is "
            "chance, as in all epochs.",
            f"エポック{final.epoch}で学習画像の正解率は{final.train_acc:.1f} %ですが、検証画像は{final.val_acc:.1f} %で、"
            "全エポックを通じてチャンスレベルです。",
        ),
        {"epoch": final.epoch, "train_acc": final.train_acc, "val_acc": final.val_acc, "chance": chance},
    )


def _far_above(watched: Watched) -> Iterator[Finding]:
    rows = _pairs(watched, "train_loss", "val_loss")
    first, level = rows[:5], math.log(watched.supposed_classes or math.inf)
    if len(rows) < 3:
        return

    def is_far(row: EpochMetrics) -> bool:
        is_told = _is_told(row.train_acc) and _is_told(row.val_acc)
        worse = not is_told or row.val_acc < row.train_acc - 5 or row.val_loss > level + 1
        return worse and row.val_loss > 2 * row.train_loss and row.val_loss > row.train_loss + 0.7

    if _is_no_mean(first[0]) or not all(is_far(row) for row in first):
        return
    at = first[0]
    yield FAR_ABOVE.found(
        Text(
            f"From epoch {at.epoch} on the validation loss ({at.val_loss:.3f}) is far above the training loss ({at.train_loss:.3f}).",
            f"エポック{at.epoch}からすでに、検証損失（{at.val_loss:.3f}）が学習損失（{at.train_loss:.3f}）を大きく上回っています。",
        ),
        {
            "epoch": at.epoch,
            "train_loss": [row.train_loss for row in first],
            "val_loss": [row.val_loss for row in first],
        },
    )


def _is_no_mean(row: EpochMetrics) -> bool:
    """Whether a training loss is less than a tenth of what its wrong answers cost at least."""
    return (
        _is_told(row.train_acc)
        and row.train_acc < 90
        and row.train_loss < 0.1 * (1 - row.train_acc / 100) * math.log(2)
    )


def _no_mean(watched: Watched) -> Iterator[Finding]:
    rows: Sequence[EpochMetrics] = _pairs(watched, "train_loss", "train_acc")[:3]
    if watched.settings.mixes or not rows or not all(_is_no_mean(row) for row in rows):
        return
    at = rows[0]
    least = (1 - at.train_acc / 100) * math.log(2)
    yield NO_MEAN.found(
        Text(
            f"At epoch {at.epoch} the training loss is {at.train_loss:.4g} with {at.train_acc:.1f} % right; cross-entropy would be "
            f"{least:.3f} at least.",
            f"エポック{at.epoch}の学習損失は{at.train_loss:.4g}、正解率は{at.train_acc:.1f} %です。"
            f"クロスエントロピーなら少なくとも{least:.3f}になるはずです。",
        ),
        {"epoch": at.epoch, "train_loss": at.train_loss, "train_acc": at.train_acc, "least": least},
    )


def _train_below(watched: Watched) -> Iterator[Finding]:
    rows = _pairs(watched, "train_acc", "val_acc")
    if len(rows) < 3 or not all(row.train_acc < row.val_acc for row in rows):
        return
    final = rows[-1]
    if final.val_acc - final.train_acc < 15:
        return
    mixes = watched.settings.mixes
    reason = (
        Text(" as mixed images make it", "。画像を混合（mixup・cutmix）しているため、これは当然です")
        if mixes
        else Text("", "")
    )
    yield TRAIN_BELOW.found(
        Text(
            f"Training accuracy ({final.train_acc:.1f} % at epoch {final.epoch}) is below validation accuracy ({final.val_acc:.1f} %) all "
            f"along{reason.en}.",
            f"学習画像の正解率（エポック{final.epoch}で{final.train_acc:.1f} %）が、"
            f"終始、検証画像の正解率（{final.val_acc:.1f} %）を下回っています{reason.ja}。",
        ),
        {"epoch": final.epoch, "train_acc": final.train_acc, "val_acc": final.val_acc, "mixes": mixes},
    )
