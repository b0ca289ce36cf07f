"""Verdicts: each case by its definition, and each sentence word for word in both languages."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vitscope._core.text import LANGS, Text
from vitscope.curves import ReferenceCurve, Verdict, judge, load_reference, place
from vitscope.curves.sentences import STANDINGS
from vitscope.runs import EpochMetrics, read_metrics

PUBLISHED = load_reference("vit_patch4_cifar10_200ep")
nan = math.nan


def rows(accuracies: Sequence[float], val: Sequence[float] = (), train: Sequence[float] = ()) -> list[EpochMetrics]:
    def at(values: Sequence[float], i: int) -> float:
        return values[i] if values else nan

    return [
        EpochMetrics(i + 1, i + 1, 1.0, at(train, i), nan, at(val, i), float(accuracy), nan, nan)
        for i, accuracy in enumerate(accuracies)
    ]


def flat(epochs: int = 10, val: Sequence[float] = ()) -> ReferenceCurve:
    """A reference of 50 % ± 2 at each epoch."""
    return ReferenceCurve("flat", tuple(rows([50.0] * epochs, val)), Text("flat", "平ら"), "made up")


def texts(accuracies: Sequence[float], reference: ReferenceCurve | None) -> list[tuple[str, Text]]:
    return [(finding.kind, finding.text) for finding in judge(rows(accuracies), reference).findings]


# --- place


@pytest.mark.parametrize(
    ("value", "english", "japanese"),
    [
        (66.9, "epoch 12: 66.9 %, reference 63.2 % ± 2.0, ahead", "エポック 12: 66.9 %、基準 63.2 % ± 2.0、帯を上回る"),
        (
            64.0,
            "epoch 12: 64.0 %, reference 63.2 % ± 2.0, within the band",
            "エポック 12: 64.0 %、基準 63.2 % ± 2.0、帯の範囲内",
        ),
        (
            60.0,
            "epoch 12: 60.0 %, reference 63.2 % ± 2.0, behind",
            "エポック 12: 60.0 %、基準 63.2 % ± 2.0、帯を下回る（1 エポック目）",
        ),
        (nan, "epoch 12: no validation accuracy", "エポック 12: 検証画像の正解率がありません"),
    ],
)
def test_a_place_in_words(value: float, english: str, japanese: str) -> None:
    spot = place(12, value, PUBLISHED)
    assert spot.text == Text(english, japanese)
    json.dumps(spot.to_dict(), allow_nan=False)


def test_a_place_without_reference() -> None:
    beyond = Text(
        "epoch 201: 80.0 %, no reference at this epoch", "エポック 201: 80.0 %、このエポックの基準はありません"
    )
    assert place(201, 80.0, PUBLISHED).text == beyond
    assert place(201, 80.0, None) == place(201, 80.0, PUBLISHED)
    assert place(201, 80.0, None).standing == "unknown"


@pytest.mark.parametrize(
    ("epoch", "value", "standing"),
    [
        (1, 38.7, "within"),
        (1, 38.71, "ahead"),
        (1, 34.7, "within"),
        (1, 34.69, "behind"),
        (2, 49.37, "within"),  # 47.37 + 2 is 49.37 only on paper
        (2, 45.37, "within"),
    ],
)
def test_the_edges_belong_to_the_band(epoch: int, value: float, standing: str) -> None:
    assert place(epoch, value, PUBLISHED).standing == standing


# --- standing and excursions


@pytest.mark.parametrize(
    ("accuracies", "standing", "left_at", "how", "excursions"),
    [
        ([50, 50, 50], "within", None, None, []),
        ([50, 50, 47, 47], "below", 3, "below", [(3, 4)]),  # exactly the last two
        ([50, 47, 50, 50], "within", None, None, [(2, 2)]),  # a single dip
        ([50, 50, 50, 47], "behind", None, None, [(4, 4)]),  # one epoch is not below
        ([47], "behind", None, None, [(1, 1)]),  # nor is the only one
        ([47, 47], "below", 1, "below", [(1, 2)]),
        ([50, 47, 46, 47, 50], "within", None, None, [(2, 4)]),  # leaves and comes back
        ([50, 47, 46, 50, 47, 47], "below", 5, "below", [(2, 3), (5, 6)]),
        ([53, 53, 53], "ahead", 1, "above", [(1, 3)]),
        ([47, 47, 53, 53], "ahead", 3, "above", [(1, 2), (3, 4)]),  # through the band without a stop
        ([50, 47, nan, 47], "below", 2, "below", [(2, 4)]),  # an epoch without validation does not interrupt
        ([], "unknown", None, None, []),
        ([nan, nan], "unknown", None, None, []),
    ],
)
def test_where_a_run_left(
    accuracies: list[float], standing: str, left_at: int | None, how: str | None, excursions: list[tuple[int, int]]
) -> None:
    verdict = judge(rows(accuracies), flat())
    assert verdict.standing == standing
    assert verdict.below == (standing == "below")
    assert verdict.left_at == left_at
    assert (verdict.left.side if verdict.left else None) == how
    assert [(e.first, e.last) for e in verdict.excursions] == excursions
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_run_longer_than_its_reference_stands_where_the_reference_ends() -> None:
    verdict = judge(rows([50, 47, 47, 90, 90]), flat(3))
    assert verdict.below
    assert verdict.findings[-1].text == Text(
        "the reference ends at epoch 3, so the run is not judged after it (epochs 4 to 5)",
        "基準はエポック 3 までのため、それより後（エポック 4〜5）は判定していません",
    )


def test_the_reference_is_within_its_own_band() -> None:
    verdict = judge(PUBLISHED.rows, PUBLISHED)
    assert (verdict.standing, verdict.excursions, verdict.overfitting) == ("within", (), None)


def test_the_words_of_a_run_below() -> None:
    (_, standing), (_, left) = texts([50, 47, 45.5], flat())
    assert standing == Text(
        "epoch 3: 45.5 %, reference 50.0 % ± 2.0, below: the last two epochs lie under the band",
        "エポック 3: 45.5 %、基準 50.0 % ± 2.0、2 エポック以上続けて帯を下回る：最後の 2 エポックがどちらも帯の下にあります",
    )
    assert left == Text(
        "left the band at epoch 2 and stays below it (at most 2.5 points under its edge, at epoch 3); "
        "compare learning rate, augmentation, initialisation and data with the reference's",
        "エポック 2 で帯を離れ、その後ずっと帯の下です（差が最大なのはエポック 3 で、下端から 2.5 ポイント下）。"
        "学習率、データ拡張、初期化、データを基準のものと比べてください",
    )


@pytest.mark.parametrize(
    ("accuracies", "kind", "text"),
    [
        (
            [53, 54],
            "left",
            Text(
                "above the band all along, from epoch 1 on (at most 2.0 points over its edge, at epoch 2)",
                "最初のエポック 1 からずっと帯の上です（差が最大なのはエポック 2 で、上端から 2.0 ポイント上）",
            ),
        ),
        (
            [50, 47, 46, 50],
            "excursion",
            Text(
                "below the band from epoch 2 to 3 (at most 2.0 points under its edge, at epoch 3), then no longer",
                "エポック 2 から 3 まで帯の下です（差が最大なのはエポック 3 で、下端から 2.0 ポイント下）。その後は帯の下ではなくなりました",
            ),
        ),
        (
            [50, 47, 50],
            "excursion",
            Text(
                "a dip at epoch 2: 1.0 points under the band for one epoch",
                "エポック 2 に一時的な落ち込みがあります（1 エポックだけ、帯の下端から 1.0 ポイント下）",
            ),
        ),
        (
            [50, 53, 50],
            "excursion",
            Text(
                "a peak at epoch 2: 1.0 points over the band for one epoch",
                "エポック 2 に一時的な上振れがあります（1 エポックだけ、帯の上端から 1.0 ポイント上）",
            ),
        ),
    ],
)
def test_the_words_of_an_excursion(accuracies: list[float], kind: str, text: Text) -> None:
    assert texts(accuracies, flat())[1] == (kind, text)


@pytest.mark.parametrize(
    ("accuracies", "reference", "text"),
    [
        (
            [53],
            flat(),
            Text(
                "epoch 1: 53.0 %, reference 50.0 % ± 2.0, ahead: better than the reference so far",
                "エポック 1: 53.0 %、基準 50.0 % ± 2.0、帯を上回る：ここまで基準より良い結果です",
            ),
        ),
        (
            [51],
            flat(),
            Text(
                "epoch 1: 51.0 %, reference 50.0 % ± 2.0, within the band: it learns as the reference does",
                "エポック 1: 51.0 %、基準 50.0 % ± 2.0、帯の範囲内：基準と同じように学習しています",
            ),
        ),
        (
            [47],
            flat(),
            Text(
                "epoch 1: 47.0 %, reference 50.0 % ± 2.0, behind: "
                "one epoch under the band may be chance, a second in a row makes the run below",
                "エポック 1: 47.0 %、基準 50.0 % ± 2.0、帯を下回る（1 エポック目）："
                "1 エポックだけなら偶然かもしれません。2 エポック続くと、帯を下回ったと判定します",
            ),
        ),
        (
            [47],
            None,
            Text(
                "epoch 1: 47.0 %; there is no reference to hold the run against",
                "エポック 1: 47.0 %。比べる基準曲線がありません",
            ),
        ),
        (
            [],
            None,
            Text(
                "no validation accuracy was measured, so the run cannot be placed",
                "検証画像の正解率が一度も測定されていないため、位置を判定できません",
            ),
        ),
    ],
)
def test_the_words_of_a_standing(accuracies: list[float], reference: ReferenceCurve | None, text: Text) -> None:
    assert texts(accuracies, reference) == [("standing", text)]


# --- overfitting

FALLING = [2.0 * 0.9**i for i in range(30)]


def v_shaped(turn: int, slope: float, noise: float = 0.0, epochs: int = 30) -> list[float]:
    chance = random.Random(0)
    return [1.0 + 0.1 * max(0, turn - i) + slope * max(0, i - turn) + chance.gauss(0, noise) for i in range(epochs)]


def found(val: Sequence[float], train: Sequence[float], reference: ReferenceCurve | None = None) -> object:
    return judge(rows([50.0] * len(val), val, train), reference).overfitting


def test_validation_loss_rising_while_training_loss_falls() -> None:
    verdict = judge(rows([50.0] * 30, v_shaped(9, 0.02), FALLING), flat(30, v_shaped(29, 0.0)))
    assert verdict.overfitting is not None
    assert (verdict.overfitting.lowest_epoch, verdict.overfitting.severity) == (10, "warning")
    assert verdict.overfitting.rise == pytest.approx(0.4)
    assert verdict.findings[-1].text == Text(
        "overfitting: validation loss was lowest at epoch 10 (1.000) and rose to 1.400 by epoch 30 (+40 %) while training "
        "loss fell; the reference's rose by 0 % by then; stronger augmentation, more regularisation or fewer epochs would help",
        "過学習：検証損失はエポック 10 で最小（1.000）となり、学習損失が下がり続ける一方で、エポック 30 には 1.400 まで"
        "上がりました（+40 %）。基準の上昇は同じ時点で 0 % です。データ拡張や正則化を強めるか、エポック数を減らすと改善が見込めます",
    )


def test_a_rise_like_the_references_own_is_a_note() -> None:
    run = [replace(row, train_loss=2.0 * 0.98**row.epoch) for row in PUBLISHED.rows]
    verdict = judge(run, PUBLISHED)
    assert verdict.overfitting is not None
    assert verdict.overfitting.severity == "note"
    assert verdict.findings[-1].text == Text(
        "overfitting: validation loss was lowest at epoch 75 (0.686) and rose to 0.823 by epoch 200 (+20 %) while training "
        "loss fell; the reference's own rose by 20 % by then, so this is no fault",
        "過学習：検証損失はエポック 75 で最小（0.686）となり、学習損失が下がり続ける一方で、エポック 200 には 0.823 まで"
        "上がりました（+20 %）。基準の検証損失も同じ時点で 20 % 上がっているため、問題とはみなしません",
    )
    worse = [replace(row, val_loss=row.val_loss * (1 + max(0, row.epoch - 75) / 1000)) for row in run]
    assert judge(worse, PUBLISHED).findings[-1].severity == "warning"


def test_the_yardstick_is_the_references_rise_up_to_the_same_epoch() -> None:
    early = [0.5 + 0.05 * abs(row.epoch - 20) for row in PUBLISHED.rows[:30]]  # lowest long before the reference's
    run = [replace(r, train_loss=f, val_loss=v) for r, f, v in zip(PUBLISHED.rows, FALLING, early, strict=False)]
    verdict = judge(run, PUBLISHED)
    assert verdict.overfitting is not None
    assert verdict.overfitting.reference_rise is not None
    assert verdict.overfitting.reference_rise < 0.05  # it rises by 20 %, but not before epoch 75
    assert verdict.overfitting.severity == "warning"


def test_without_a_yardstick_it_is_a_warning() -> None:
    verdict = judge(rows([50.0] * 30, v_shaped(9, 0.02), FALLING), None)
    assert verdict.findings[-1].severity == "warning"
    assert verdict.findings[-1].text.en.endswith(
        "while training loss fell; stronger augmentation, more regularisation or fewer epochs would help"
    )


@pytest.mark.parametrize(
    "case",
    [
        lambda: (v_shaped(9, 0.02), [1.0] * 30),  # training loss stands still: not overfitting
        lambda: (v_shaped(9, 0.02), FALLING[::-1]),  # rises too: diverging, not overfitting
        lambda: (v_shaped(9, 0.02), [nan] * 30),  # not known
        lambda: (v_shaped(29, 0.0), FALLING),  # keeps falling
        lambda: (v_shaped(9, 0.001), FALLING),  # rises by 2 %
        lambda: (v_shaped(9, 0.0, noise=0.03), FALLING),  # only noise, single epochs differ by 10 %
        lambda: ([*v_shaped(29, 0.0)[:-1], 1.5], FALLING),  # one spike at the end
        lambda: ([*v_shaped(25, 0.0)[:10], 0.5, *v_shaped(25, 0.0)[11:]], FALLING),  # one lucky epoch
        lambda: ([2.0, 1.0, 1.5, 1.6], FALLING[:4]),  # too short to tell
    ],
)
def test_what_is_no_overfitting(case: Callable[[], tuple[list[float], list[float]]]) -> None:
    assert found(*case()) is None


@pytest.mark.parametrize("turn", [5, 9, 14])
def test_noise_does_not_hide_overfitting(turn: int) -> None:
    assert found(v_shaped(turn, 0.02, noise=0.02), FALLING) is not None


def test_a_short_run_can_overfit_too() -> None:
    assert found([1.5, 1.2, 1.0, 1.1, 1.2, 1.3], FALLING[:6]) is not None


# --- divergence


def test_a_diverged_run_is_named() -> None:
    verdict = judge(rows([50, 40, 10], [1.0, 2.0, nan], [2.0, math.inf, nan]), flat())
    assert (verdict.standing, verdict.diverged_at) == ("diverged", 2)
    assert verdict.findings[1].severity == "error"
    assert verdict.findings[1].text == Text(
        "epoch 2: train_loss is not a finite number, so the training diverged; "
        "lower the learning rate, lengthen the warm-up or clip the gradients",
        "エポック 2: train_loss が有限の数ではなく、学習は発散しています。"
        "学習率を下げるか、ウォームアップを長くするか、勾配クリッピングを使ってください",
    )


@pytest.mark.parametrize(
    ("run", "epoch"),
    [
        (rows([50, 10], [1.0, nan]), None),  # an empty cell
        (rows([50, 10], [1.0, math.inf]), 2),
        (rows([50, 50], [nan, nan]), None),  # a file without the column
        (rows([50, nan, 50], [1.0, nan, 1.0]), None),  # an epoch without validation
        (rows([50, 50], [1.0, 1.0], [1.0, nan]), None),
        (rows([50, math.inf]), 2),
        (rows([50], [1.0], [-math.inf]), 1),
    ],
)
def test_what_was_not_measured_has_not_diverged(run: list[EpochMetrics], epoch: int | None) -> None:
    assert judge(run, flat()).diverged_at == epoch


def judged(folder: Path, text: str) -> Verdict:
    path = folder / "theirs.csv"
    path.write_text(text)
    return judge(read_metrics(path), flat())


def test_an_empty_cell_of_a_file_is_no_divergence_and_the_word_nan_is(tmp_path: Path) -> None:
    assert judged(tmp_path, "epoch,val_loss,val_acc\n1,1.0,50\n2,,50\n3,0.9,\n4,0.9,50\n").diverged_at is None
    assert judged(tmp_path, "epoch,val_loss,val_acc\n1,1.0,50\n2,nan,50\n").diverged_at == 2
    assert judged(tmp_path, "epoch,val_loss,val_acc\n1,1.0,50\n2,NaN,\n").diverged_at == 2
    assert judged(tmp_path, "epoch,train_loss,val_acc\n1,1.0,50\n2,inf,50\n").diverged_at == 2


def test_a_run_that_diverged_has_no_other_standing(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path, "epoch,train_loss,val_loss,val_acc\n1,2,2,50\n2,1.9,1.9,51\n3,nan,nan,nan\n4,nan,nan,nan\n"
    )
    assert (verdict.standing, verdict.diverged_at) == ("diverged", 3)
    assert verdict.failed
    assert verdict.to_dict()["failed"]
    assert verdict.findings[0].severity == "error"
    assert verdict.findings[0].text == Text(
        "diverged at epoch 3; the last epoch that can be judged is epoch 2: 51.0 %, reference 50.0 % ± 2.0, within the band",
        "エポック 3 で発散しました。判定できる最後のエポックは、エポック 2: 51.0 %、基準 50.0 % ± 2.0、帯の範囲内",
    )
    assert verdict.findings[1].kind == "diverged"
    ahead = judged(tmp_path, "epoch,val_loss,val_acc\n1,2,60\n2,nan,nan\n")
    assert ahead.failed
    assert not ahead.below
    assert "better" not in ahead.findings[0].text.en
    assert "良い" not in ahead.findings[0].text.ja
    assert judge(rows([math.inf]), None).findings[0].text == Text(
        "diverged at epoch 1; no epoch can be judged",
        "エポック 1 で発散しました。判定できるエポックはありません",
    )
    both = judge(rows([47, 47, math.inf]), flat())
    assert both.below
    assert both.standing == "diverged"


def test_no_loss_fills_the_screen_with_digits() -> None:
    steep = [1e-3 * 1e9**i for i in range(9)]
    verdict = judge(rows([50.0] * 9, steep, FALLING[:9]), flat())
    assert verdict.overfitting is not None
    assert "rose to 1e+69 by epoch 9 (+1e+74 %)" in verdict.findings[-1].text.en


def test_a_verdict_says_where_it_stands_in_the_words_of_its_finding() -> None:
    for accuracies, word in (([50.0, 47], "behind"), ([47.0, 47], "below"), ([53.0], "ahead"), ([50.0], "within")):
        verdict = judge(rows(accuracies), flat())
        assert verdict.standing == word
        assert verdict.place is not None
        for lang in LANGS:
            assert verdict.findings[0].text[lang].startswith(verdict.place[lang])
    assert judge([], flat()).place is None
    assert STANDINGS["behind"].ja != STANDINGS["below"].ja
