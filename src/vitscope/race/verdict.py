"""What a comparison comes to, in sentences: who learns better and by how much, and whether what only one has is why."""

from __future__ import annotations

import numpy as np

from vitscope._core.text import Text
from vitscope.race.causes import FEW, what_a_mend_does
from vitscope.race.comparison import Comparison, quoted
from vitscope.race.contest import Race
from vitscope.race.differences import interval
from vitscope.race.gaps import Gap, is_near_chance


def sentences_of(found: Comparison) -> tuple[Text, ...]:
    """The verdict, sentence by sentence."""
    parts = [_who_learns(found), *_alike(found), *_diverged(found), *_wrong_all_the_same(found)]
    parts += [what_a_mend_does(cause, found) for cause in found.causes]
    return (*parts, *_what_both_have(found))


WIDE = 10.0
"""Points from one end to the other of an interval that says little."""
_NOTHING = Text(
    "The doctor finds no error and no warning in either.", "どちらのモデルにも、エラーや警告は見つかりません。"
)
_NOTHING_ALONE = Text(
    "The doctor finds no error and no warning in one that the other has not.",
    "一方だけに見つかったエラーや警告はありません。",
)
_BOTH_HAVE = Text(
    "Both have {ids}; a race of the two cannot show what that costs.",
    "{ids}は両方にあります。両者の競争では、その影響は分かりません。",
)
_RIGHT_ALIKE = Text(
    "Both have the very same images right, on every seed.",
    "正解した画像は、どのシードでも両者で完全に一致しています。",
)


_WRONG_ALL_THE_SAME = Text(
    "{model} has {ids} all the same: what the doctor measured holds, whatever the accuracy on these images, after so few steps and in batches of "
    "{batch}.",
    "ただし{model}には{ids}があります。この画像・ステップ数・バッチサイズ（{batch}枚）での正解率に表れなくても、検査で確認された誤りであることに変わりはありません。",
)


def _wrong_all_the_same(found: Comparison) -> list[Text]:
    """That a model which is not clearly behind the other has an error that the other has not."""
    between, race = found.gap, found.race
    if between is None or race is None or _learned_nothing(found, race):
        return []
    told = []
    for side, lead in ((found.one, between), (found.other, between.turned)):
        ids = [each.finding.id for each in found.causes if each.owner == side.target and not each.together]
        errors = [each.id for each in side.causes if each.severity == "error" and each.id in ids]
        if errors and not (lead.is_clear and lead.high < 0):
            told.append(_WRONG_ALL_THE_SAME.format(model=side.target, ids=quoted(errors), batch=race.course.a_batch))
    return told


def _what_both_have(found: Comparison) -> list[Text]:
    """What the doctor finds in both, or that it finds nothing."""
    if not found.shared:
        return [] if found.causes or found.untrained else [_NOTHING]
    shared = _BOTH_HAVE.format(ids=quoted(found.shared))
    return [shared] if found.causes or found.untrained else [_NOTHING_ALONE, shared]


def _alike(found: Comparison) -> list[Text]:
    """Whether nothing that was measured tells the two apart."""
    if found.race is None or _learned_nothing(found, found.race):  # whoever answers the same to all has the same right
        return []
    pairs = zip(found.race.of(found.one.target), found.race.of(found.other.target), strict=False)
    alike = [len(a.right) > 0 and np.array_equal(a.right, b.right) for a, b in pairs]
    return [_RIGHT_ALIKE] if alike and all(alike) else []


def _who_learns(found: Comparison) -> Text:
    between = found.gap
    if between is None or found.race is None:
        why = found.why_no_race or Text("there was no course", "データがありません")
        return Text(f"They did not race: {why.en}.", f"競争は行っていません（{why.ja}）。")
    one, other, course = found.one.target, found.other.target, found.race.course
    means = {name: found.race.mean(name) for name in (one, other)}
    seeds, said = between.seeds, interval(between)
    told = Text(
        f"After {course.length.en} on the same {course.data} images, {seeds} seed{'s' if seeds > 1 else ''}: {one} {means[one]:.1f} %, "
        f"{other} {means[other]:.1f} % right, a difference of {said.en}",
        f"同じ{course.data}の画像で{course.length.ja}学習した結果（シード{seeds}個）、正解率は{one}が{means[one]:.1f} %、"
        f"{other}が{means[other]:.1f} %、差は{said.ja}",
    )
    better = one if between.points > 0 else other
    if seeds == 1:
        return Text(
            f"{told.en}: {_on_one_seed(better, between).en}.", f"{told.ja}です。{_on_one_seed(better, between).ja}。"
        )
    if between.is_clear and "same" in found.starts:  # seeds vary the order of the images alone
        return Text(
            f"{told.en}: from these start values {better} learns clearly better; other start values may tell otherwise.",
            f"{told.ja}です。この初期値からは、{better}のほうが明らかによく学習します（別の初期値では変わることがあります）。",
        )
    if between.is_clear:
        return Text(
            f"{told.en}: {better} learns clearly better.", f"{told.ja}で、{better}のほうが明らかによく学習します。"
        )
    if _learned_nothing(found, found.race):
        tells_nothing = _TELLS_NOTHING if found.healthy else _TELLS_NOTHING_OF_SICK
        ending = tells_nothing.format(steps=course.more_steps)
        return Text(f"{told.en}: {ending.en}", f"{told.ja}です。{ending.ja}")
    if between.seeds < FEW and between.high - between.low > WIDE:
        more = max(FEW, 2 * between.seeds)
        return Text(
            f"{told.en}: {between.seeds} seeds cannot tell them apart; try --seeds {more}.",
            f"{told.ja}です。シード{between.seeds}個では優劣を判断できません。--seeds {more}を試してください。",
        )
    return Text(f"{told.en}: no clear difference.", f"{told.ja}で、明確な差はありません。")


_TELLS_NOTHING = Text(
    "neither is clearly above chance, so this race tells nothing of the two; try --duration {steps}st.",
    "どちらもチャンスレベルとほとんど変わらないため、この競争では優劣を判断できません。--duration {steps}stを試してください。",
)
_TELLS_NOTHING_OF_SICK = Text(
    "neither is clearly above chance, so this race tells nothing of the two; mend the errors that the doctor found, or try --duration {steps}st.",
    "どちらもチャンスレベルとほとんど変わらないため、この競争では優劣を判断できません。"
    "見つかったエラーを直すか、--duration {steps}stを試してください。",
)


def _learned_nothing(found: Comparison, race: Race) -> bool:
    """Whether neither of the two is clearly above chance."""
    return all(is_near_chance(race.of(each.target), race.course.classes) for each in (found.one, found.other))


def _on_one_seed(better: str, between: Gap) -> Text:
    """Who is ahead where there is one seed, and what that is worth."""
    if not between.points:
        return Text(
            "level on this seed; one seed cannot tell models from luck",
            "このシードでは同点ですが、シード1個ではモデルの差と偶然を区別できません",
        )
    return Text(
        f"{better} is ahead on this seed; one seed cannot tell models from luck",
        f"このシードでは{better}が上ですが、シード1個ではモデルの差と偶然を区別できません",
    )


def _diverged(found: Comparison) -> list[Text]:
    """Of each arm, in how many seeds its loss became no number."""
    counted = [(name, sum(heat.diverged for heat in heats), len(heats)) for name, heats in found.arms]
    return [
        Text(
            f"{name.en} diverged in {lost} of {seeds} seed{'s' if seeds > 1 else ''} (counted as chance).",
            f"{name.ja}は、シード{seeds}個のうち{lost}個で発散しました（チャンスレベルとして計算）。",
        )
        for name, lost, seeds in counted
        if lost
    ]
