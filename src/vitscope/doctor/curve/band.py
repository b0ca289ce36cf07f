"""Where a curve stands against its reference, and whether it overfits. In goes a curve, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.curves import sentences
from vitscope.doctor.curve.watched import Watched
from vitscope.doctor.finding import Fault, Finding, Skipped

GAP = 30.0
"""Points between training and validation accuracy, from which on images were learned by heart."""
SLIGHT = 0.2
"""A rise of the validation loss that harms nothing, if the accuracy is at its best."""
BELOW = Fault(
    "below-the-reference",
    "E6",
    "curve-band",
    "warning",
    Text(
        "The same kind of model on the same data is known to learn better than this: something differs, and not by chance.",
        "同じ種類のモデルが同じデータでこれより良く学習することが分かっています。偶然ではない違いがどこかにあります。",
    ),
    Text(
        "examine the model and the data first; then compare learning rate, warm-up, augmentation and start values with the reference's",
        "まずモデルとデータを検査し、次に学習率、ウォームアップ、データ拡張、初期値を基準のものと比べてください",
    ),
)
OVERFITTING = Fault(
    "overfitting",
    "D1",
    "curve-overfitting",
    "warning",
    Text(
        "The model learns its training images by heart: what it gains there no longer helps with new ones.",
        "モデルが学習画像を暗記しています。学習画像での改善が、もう新しい画像の役に立っていません。",
    ),
    Text(
        "stronger augmentation, more regularisation (weight decay, dropout up to 0.1), fewer epochs, or more images",
        "データ拡張を強める、正則化（重み減衰、0.1までのドロップアウト）を強める、エポック数を減らす、画像を増やす、のいずれかを試してください",
    ),
    "transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.RandAugment()",
)


def curve_band(watched: Watched) -> Iterator[Finding]:
    """Whether a curve ends below its reference, and since when.

    Does: takes the verdict of `vitscope curve`: two epochs in a row under the band, and no return.
    Finds: a curve below its reference (E6).
    Must not accuse: a dip that the curve came back from, a single epoch, epochs beyond the reference's end. A reference is no law: a warning.
    """
    reference = watched.reference
    if reference is None:
        raise Skipped(
            Text("there is no reference to hold the curve against", "比べる基準曲線がありません"), is_left_out=True
        )
    verdict = watched.verdict
    if verdict.last is None or verdict.last.reference is None:
        raise Skipped(
            Text("no epoch has both an accuracy and a reference", "正解率と基準の両方があるエポックがありません")
        )
    left = verdict.left
    if left is None or left.side != "below":
        return
    final = verdict.last
    said = sentences.of_excursion(left, from_start=left.first == watched.rows[0].epoch)
    at = verdict.place or final.text
    yield BELOW.found(
        Text(
            f"{at.en[0].upper()}{at.en[1:]}; {said.en.partition(';')[0]}.", f"{at.ja}。{said.ja.partition('。')[0]}。"
        ),
        {
            "reference": reference.name,
            "below_since": left.first,
            "epoch": final.epoch,
            "val_acc": final.value,
            "reference_acc": final.reference,
            "half_width": final.half_width,
            "most_below": left.distance,
            "most_below_at": left.worst_epoch,
        },
    )


def curve_overfitting(watched: Watched) -> Iterator[Finding]:
    """Whether validation gets worse while training gets better.

    Does: takes the verdict of `vitscope curve` (validation loss up by 5 % from its lowest, in a running median, while training loss
    falls), and where that says
    nothing the gap between the two accuracies.
    Finds: overfitting (D1), a note where the reference does the same.
    Must not accuse: a loss that jumps for an epoch, a reference's own rise, a small rise with the accuracy at its best (a note: the model
    only gets surer), training accuracy that is high because training images are easy to learn.
    """
    found = watched.verdict.overfitting
    if found is not None:
        said = sentences.of_overfitting(found)
        en, ja = said.en.partition(";")[0].partition(": ")[2], said.ja.partition("。")[0].partition("：")[2]
        yield OVERFITTING.found(
            Text(f"{en[0].upper()}{en[1:]}.", f"{ja}。"),
            {name: value for name, value in found.to_dict().items() if name != "severity"},
            severity="note" if _is_harmless(watched) else found.severity,
        )
        return
    if watched.has("val_loss") and watched.has("train_loss"):
        watched.need("train_loss", "val_loss", epochs=5)
        if not (watched.has("train_acc") and watched.has("val_acc")):
            return
    final = watched.need("train_acc", "val_acc", epochs=5)[-1]
    best = max(row.val_acc for row in watched.rows if math.isfinite(row.val_acc))
    if final.train_acc - final.val_acc > GAP and final.train_acc > 90:
        yield OVERFITTING.found(
            Text(
                f"At epoch {final.epoch} {final.train_acc:.1f} % of the training images are right and {final.val_acc:.1f} % of the "
                f"validation images.",
                f"エポック{final.epoch}の正解率は、学習画像で{final.train_acc:.1f} %、検証画像で{final.val_acc:.1f} %です。",
            ),
            {"epoch": final.epoch, "train_acc": final.train_acc, "val_acc": final.val_acc, "best_val_acc": best},
        )


def _is_harmless(watched: Watched) -> bool:
    """Whether the loss rises by little while validation accuracy is as good as it ever was."""
    found, rows = watched.verdict.overfitting, [row for row in watched.rows if math.isfinite(row.val_acc)]
    return (
        found is not None
        and bool(rows)
        and found.smoothed_rise < SLIGHT
        and rows[-1].val_acc >= max(row.val_acc for row in rows) - 1
    )
