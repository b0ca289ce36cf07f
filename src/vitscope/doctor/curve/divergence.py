"""Whether a training broke. In goes a curve, out come findings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from vitscope._core.text import Text
from vitscope.curves import sentences
from vitscope.doctor.curve.watched import Watched, last
from vitscope.doctor.finding import Fault, Finding
from vitscope.runs import EpochMetrics

CHECK = "curve-divergence"
_ADVICE = Text(
    "lower the learning rate (a third, then a tenth), warm up for some epochs, clip the gradient at norm 1; in fp16 use a GradScaler or bfloat16",
    "学習率を下げ（3分の1、次に10分の1）、数エポックのウォームアップを入れ、勾配をノルム1でクリップしてください。"
    "fp16ではGradScalerを使うか、bfloat16にしてください",
)
_CODE = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
NOT_FINITE = Fault(
    "loss-not-finite",
    "L1",
    CHECK,
    "error",
    Text(
        "From the first NaN on every weight is NaN: nothing is learned any more.",
        "最初のNaN以降、すべての重みがNaNになり、それ以上何も学習されません。",
    ),
    _ADVICE,
    _CODE,
    explains=("curve-band", "curve-modes", "curve-chance"),
)
COLLAPSED = Fault(
    "fell-back-to-chance",
    "L1",
    CHECK,
    "error",
    Text(
        "A step that was too large threw the weights to where all images look the same, and no gradient leads back.",
        "更新が大きすぎて、どの画像も同じに見えるところまで重みが飛ばされ、そこから戻るための勾配がありません。",
    ),
    _ADVICE,
    _CODE,
    explains=("curve-band", "curve-modes", "curve-overfitting"),
)
RISING = Fault(
    "training-loss-rises",
    "L1",
    CHECK,
    "warning",
    Text(
        "The optimizer walks away from what it minimises: its steps are too large for where it stands.",
        "オプティマイザが、最小化すべき損失からかえって遠ざかっています。現在の位置に対して更新が大きすぎます。",
    ),
    _ADVICE,
    _CODE,
)
ABOVE, FAR = 1.5, 0.3
"""How far above its lowest a training loss has left its course: so many times as high, and so much higher."""


def curve_divergence(watched: Watched) -> Iterator[Finding]:
    """Whether losses became infinite, fell back to chance, or rise.

    Does: looks for numbers that are not finite, for a validation accuracy that was well above chance and ended there, and for a training
    loss whose last
    epochs (the median) lie half as high again as the lowest.
    Finds: NaN (L1, an error), a collapse to chance (an error), a rising training loss (a warning).
    Must not accuse: single spikes that the training comes back from, losses near 0 (where half as much again is nothing), late mixing of images.
    """
    verdict = watched.verdict
    if verdict.diverged_at is not None:
        yield _not_finite(watched, verdict.diverged_at)
        return
    if watched.supposed_classes is not None and watched.has("val_acc"):
        rows = watched.need("val_acc")
        chance, best = 100 / watched.need_classes(), max(rows, key=lambda row: row.val_acc)
        end = rows[-2:]
        lead = best.val_acc - chance
        if lead > max(5.0, chance / 2) and all(
            row.val_acc < chance + 0.1 * lead and watched.is_at_chance(row.val_acc) for row in end
        ):
            yield COLLAPSED.found(
                Text(
                    f"Validation accuracy reached {best.val_acc:.1f} % at epoch {best.epoch} and ends at {end[-1].val_acc:.1f} %, which is chance.",
                    f"検証画像の正解率はエポック{best.epoch}で{best.val_acc:.1f} %に達しましたが、"
                    f"最後はチャンスレベルの{end[-1].val_acc:.1f} %です。",
                ),
                {"best": best.val_acc, "best_epoch": best.epoch, "val_acc": end[-1].val_acc, "chance": chance},
            )
            return
    least = min(watched.need("train_loss", epochs=5), key=lambda row: row.train_loss)
    lowest = least.train_loss
    now = median(row.train_loss for row in last(watched.need("train_loss"), 0.1))
    if now > ABOVE * lowest and now - lowest > FAR and math.isfinite(now):
        yield RISING.found(
            Text(
                f"Training loss was {lowest:.3f} at its lowest (epoch {least.epoch}) and is {now:.3f} in the last epochs.",
                f"学習損失は最小で{lowest:.3f}（エポック{least.epoch}）でしたが、最後の数エポックでは{now:.3f}です。",
            ),
            {"lowest": lowest, "last": now, "lowest_epoch": least.epoch},
        )


def _not_finite(watched: Watched, epoch: int) -> Finding:
    row = next(row for row in watched.rows if row.epoch == epoch)
    said = sentences.of_divergence(epoch, row.not_finite or "train_loss")
    en, ja = f"{said.en[0].upper()}{said.en[1:].partition(';')[0]}.", said.ja.partition("。")[0] + "。"
    evidence: dict[str, object] = {"epoch": epoch, "measure": row.not_finite}
    left = _left_at(watched, epoch)
    if left is not None:
        before, at = left
        rate = (
            Text(f", at a learning rate of {at.lr:g}", f"（学習率{at.lr:g}）") if math.isfinite(at.lr) else Text("", "")
        )
        en = (
            f"Training loss went up from {before.train_loss:.3g} in epoch {before.epoch} to {at.train_loss:.3g} in epoch {at.epoch}{rate.en}, and "
            f"never came back; {en[0].lower()}{en[1:]}"
        )
        ja = (
            f"学習損失はエポック{before.epoch}の{before.train_loss:.3g}からエポック{at.epoch}で{at.train_loss:.3g}に跳ね上がり"
            f"{rate.ja}、その後も戻っていません。{ja}"
        )
        evidence |= {
            "epoch_of_the_rise": at.epoch,
            "loss_before_the_rise": before.train_loss,
            "loss_after_the_rise": at.train_loss,
        }
    return NOT_FINITE.found(Text(en, ja), evidence)


def _left_at(watched: Watched, epoch: int) -> tuple[EpochMetrics, EpochMetrics] | None:
    """The epochs between which the training loss left its course, before that one: behind them it is never again half as high above its lowest."""
    rows = [row for row in watched.rows if row.epoch < epoch and math.isfinite(row.train_loss)]
    if len(rows) < 2:
        return None
    lowest = min(rows, key=lambda row: row.train_loss)
    high = max(ABOVE * lowest.train_loss, lowest.train_loss + FAR)
    before = [row for row in rows if row.train_loss <= high][-1]
    after = [row for row in rows if row.epoch > before.epoch]
    return (before, after[0]) if after else None
