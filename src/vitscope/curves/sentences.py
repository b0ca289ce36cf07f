"""The words of a verdict: in go numbers, out come sentences in English and Japanese.

They stand apart from the rules that lead to them, so that either can be read, corrected and tested alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vitscope._core.text import Text

if TYPE_CHECKING:
    from vitscope.curves.overfitting import Overfitting
    from vitscope.curves.reference import ReferenceCurve
    from vitscope.curves.verdict import Excursion, Place

STANDINGS = {
    "ahead": Text("ahead", "帯を上回る"),
    "within": Text("within the band", "帯の範囲内"),
    "behind": Text("behind", "帯を下回る（1 エポック目）"),
    "below": Text("below", "2 エポック以上続けて帯を下回る"),
    "diverged": Text("diverged", "発散"),
}
_MEANINGS = {
    "ahead": Text("better than the reference so far", "ここまで基準より良い結果です"),
    "within": Text("it learns as the reference does", "基準と同じように学習しています"),
    "behind": Text(
        "one epoch under the band may be chance, a second in a row makes the run below",
        "1 エポックだけなら偶然かもしれません。2 エポック続くと、帯を下回ったと判定します",
    ),
    "below": Text("the last two epochs lie under the band", "最後の 2 エポックがどちらも帯の下にあります"),
}


def of_place(epoch: int, value: float, reference: float | None, half_width: float | None, standing: str) -> Text:
    """Where a run stands at an epoch: accuracies in per cent, `half_width` in points."""
    if not math.isfinite(value):
        return Text(f"epoch {epoch}: no validation accuracy", f"エポック {epoch}: 検証画像の正解率がありません")
    if reference is None or half_width is None:
        return Text(
            f"epoch {epoch}: {value:.1f} %, no reference at this epoch",
            f"エポック {epoch}: {value:.1f} %、このエポックの基準はありません",
        )
    word = STANDINGS[standing]
    return Text(
        f"epoch {epoch}: {value:.1f} %, reference {reference:.1f} % ± {half_width:.1f}, {word.en}",
        f"エポック {epoch}: {value:.1f} %、基準 {reference:.1f} % ± {half_width:.1f}、{word.ja}",
    )


def of_standing(
    standing: str, last: Place | None, reference: ReferenceCurve | None, *, diverged_at: int | None = None
) -> Text:
    """Where a run ends, and what that means; of a training that diverged, no more than how far it can be judged."""
    if diverged_at is not None:
        judged = (
            Text("no epoch can be judged", "判定できるエポックはありません")
            if last is None
            else Text(
                f"the last epoch that can be judged is {last.text.en}",
                f"判定できる最後のエポックは、{last.text.ja}",
            )
        )
        return Text(
            f"diverged at epoch {diverged_at}; {judged.en}", f"エポック {diverged_at} で発散しました。{judged.ja}"
        )
    if last is None:
        return Text(
            "no validation accuracy was measured, so the run cannot be placed",
            "検証画像の正解率が一度も測定されていないため、位置を判定できません",
        )
    if standing == "unknown" and reference is None:
        return Text(
            f"epoch {last.epoch}: {last.value:.1f} %; there is no reference to hold the run against",
            f"エポック {last.epoch}: {last.value:.1f} %。比べる基準曲線がありません",
        )
    if standing == "unknown":
        return last.text
    meaning = _MEANINGS[standing]
    placed = of_place(last.epoch, last.value, last.reference, last.half_width, standing)
    return Text(f"{placed.en}: {meaning.en}", f"{placed.ja}：{meaning.ja}")


def of_excursion(e: Excursion, *, from_start: bool) -> Text:
    """A stretch outside the band: where, how far, and whether the run came back. `from_start`: it began outside."""
    up = e.side == "above"
    edge, side_ja, edge_ja = ("over", "上", "上端") if up else ("under", "下", "下端")
    if e.epochs == 1:
        word, word_ja = ("peak", "一時的な上振れ") if up else ("dip", "一時的な落ち込み")
        return Text(
            f"a {word} at epoch {e.first}: {e.distance:.1f} points {edge} the band for one epoch",
            f"エポック {e.first} に{word_ja}があります（1 エポックだけ、帯の{edge_ja}から {e.distance:.1f} ポイント{side_ja}）",
        )
    how_far = Text(
        f"at most {e.distance:.1f} points {edge} its edge, at epoch {e.worst_epoch}",
        f"差が最大なのはエポック {e.worst_epoch} で、{edge_ja}から {e.distance:.1f} ポイント{side_ja}",
    )
    if e.came_back:
        return Text(
            f"{e.side} the band from epoch {e.first} to {e.last} ({how_far.en}), then no longer",
            f"エポック {e.first} から {e.last} まで帯の{side_ja}です（{how_far.ja}）。その後は帯の{side_ja}ではなくなりました",
        )
    advice = (
        Text("", "")
        if up
        else Text(
            "; compare learning rate, augmentation, initialisation and data with the reference's",
            "。学習率、データ拡張、初期化、データを基準のものと比べてください",
        )
    )
    if from_start:
        return Text(
            f"{e.side} the band all along, from epoch {e.first} on ({how_far.en}){advice.en}",
            f"最初のエポック {e.first} からずっと帯の{side_ja}です（{how_far.ja}）{advice.ja}",
        )
    return Text(
        f"left the band at epoch {e.first} and stays {e.side} it ({how_far.en}){advice.en}",
        f"エポック {e.first} で帯を離れ、その後ずっと帯の{side_ja}です（{how_far.ja}）{advice.ja}",
    )


def of_loss(value: float) -> str:
    """A loss with as many digits as can be read."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"


def of_overfitting(o: Overfitting) -> Text:
    """Which losses, how far apart, and whether the reference did the same."""
    rise = f"{100 * o.rise:.0f}" if o.rise < 1000 else f"{100 * o.rise:.2g}"
    lowest, last = of_loss(o.lowest_loss), of_loss(o.last_loss)
    facts = Text(
        f"overfitting: validation loss was lowest at epoch {o.lowest_epoch} ({lowest}) and rose to "
        f"{last} by epoch {o.last_epoch} (+{rise} %) while training loss fell",
        f"過学習：検証損失はエポック {o.lowest_epoch} で最小（{lowest}）となり、学習損失が下がり続ける一方で、"
        f"エポック {o.last_epoch} には {last} まで上がりました（+{rise} %）",
    )
    advice = Text(
        "; stronger augmentation, more regularisation or fewer epochs would help",
        "。データ拡張や正則化を強めるか、エポック数を減らすと改善が見込めます",
    )
    if o.reference_rise is None:
        return Text(facts.en + advice.en, facts.ja + advice.ja)
    if o.severity == "note":
        return Text(
            f"{facts.en}; the reference's own rose by {100 * o.reference_rise:.0f} % by then, so this is no fault",
            f"{facts.ja}。基準の検証損失も同じ時点で {100 * o.reference_rise:.0f} % 上がっているため、問題とはみなしません",
        )
    return Text(
        f"{facts.en}; the reference's rose by {100 * o.reference_rise:.0f} % by then{advice.en}",
        f"{facts.ja}。基準の上昇は同じ時点で {100 * o.reference_rise:.0f} % です{advice.ja}",
    )


def of_divergence(epoch: int, column: str) -> Text:
    """A number that is not finite: where and what to try."""
    return Text(
        f"epoch {epoch}: {column} is not a finite number, so the training diverged; "
        "lower the learning rate, lengthen the warm-up or clip the gradients",
        f"エポック {epoch}: {column} が有限の数ではなく、学習は発散しています。"
        "学習率を下げるか、ウォームアップを長くするか、勾配クリッピングを使ってください",
    )


def of_range(end: int, last: int) -> Text:
    """A run that is longer than its reference."""
    beyond = (
        Text(f"epoch {last}", f"エポック {last}")
        if last == end + 1
        else Text(f"epochs {end + 1} to {last}", f"エポック {end + 1}〜{last}")
    )
    return Text(
        f"the reference ends at epoch {end}, so the run is not judged after it ({beyond.en})",
        f"基準はエポック {end} までのため、それより後（{beyond.ja}）は判定していません",
    )
