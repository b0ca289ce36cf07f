"""What a comparison comes to, in sentences: who learns better and by how much, and whether what only one has is why."""

from __future__ import annotations

import numpy as np

from vitscope._core.text import Text
from vitscope.doctor.telling import listed
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Race
from vitscope.race.course import STEPS, Course
from vitscope.race.differences import ends, interval, signed
from vitscope.race.gaps import Gap, is_near_chance
from vitscope.race.structure_texts import filled


def sentences_of(found: Comparison) -> tuple[Text, ...]:
    """The verdict, sentence by sentence."""
    parts = [_who_learns(found), *_alike(found), *_diverged(found)]
    parts += [_what_a_mend_does(cause, found) for cause in found.causes]
    return (*parts, *_what_both_have(found))


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


def _what_both_have(found: Comparison) -> list[Text]:
    """What the doctor finds in both, or that it finds nothing."""
    if not found.shared:
        return [] if found.causes else [_NOTHING]
    ids = list(found.shared)
    shared = filled(
        _BOTH_HAVE, ids=Text(listed([f"'{each}'" for each in ids]).en, "".join(f"「{each}」" for each in ids))
    )
    return [shared] if found.causes else [_NOTHING_ALONE, shared]


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
        f"After {course.steps} steps on the same {course.data} images, {seeds} seed{'s' if seeds > 1 else ''}: {one} {means[one]:.1f} %, "
        f"{other} {means[other]:.1f} % right, a difference of {said.en}",
        f"同じ{course.data}の画像で{course.steps}ステップ学習した結果（シード{seeds}個）、正解率は{one}が{means[one]:.1f} %、"
        f"{other}が{means[other]:.1f} %、差は{said.ja}",
    )
    better = one if between.points > 0 else other
    if seeds == 1:
        return Text(
            f"{told.en}: {_on_one_seed(better, between).en}.", f"{told.ja}です。{_on_one_seed(better, between).ja}。"
        )
    if between.is_clear:
        return Text(
            f"{told.en}: {better} learns clearly better.", f"{told.ja}で、{better}のほうが明らかによく学習します。"
        )
    if _learned_nothing(found, found.race):
        tells_nothing = _TELLS_NOTHING if found.healthy else _TELLS_NOTHING_OF_SICK
        ending = tells_nothing.format(steps=_longer(course))
        return Text(f"{told.en}: {ending.en}", f"{told.ja}です。{ending.ja}")
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


def _longer(course: Course) -> int:
    """Steps to try where so many were too few."""
    return max(4 * course.steps, STEPS)


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


def _what_a_mend_does(cause: Cause, found: Comparison) -> Text:
    if cause.done is None or cause.gained is None or cause.left is None:
        return _untried(cause, found)
    by, range_ = abs(cause.gained.points), ends(cause.gained)
    gains = cause.gained.points >= 0
    one_seed, owned = cause.gained.seeds == 1, _owned(cause, found)
    unsure = Text("", "") if cause.is_gone is not None else _NOT_SEEN_GONE
    told = Text(
        f"{owned.en}; mended ({cause.done.en}; no weight touched{unsure.en}) it {'gains' if gains else 'loses'} {by:.1f} points "
        f"({range_.en}{'' if gains or one_seed else ' of what it gains'})",
        f"{owned.ja}、修正すると（{cause.done.ja}、重みは変更なし{unsure.ja}）正解率が{by:.1f}ポイント"
        f"{'向上します' if gains else '低下します'}（{'' if one_seed else '変化の'}{range_.ja}）",
    )
    ending = _too_short(cause, found) or _ending(cause, cause.left, found.gap)
    return Text(f"{told.en}: {ending.en}.", f"{told.ja}。{ending.ja}。")


_NOT_SEEN_GONE = Text(
    "; whether it is gone could not be checked again", "、なくなったかどうかの再検査はできませんでした"
)


def _owned(cause: Cause, found: Comparison) -> Text:
    """Who has it, for a sentence to go on from."""
    name, what = cause.owner, cause.finding.id
    if found.examined(cause):
        return Text(f"Only {name} has '{what}'", f"「{what}」は{name}だけにあり")
    rival = found.other.target if name == found.one.target else found.one.target
    return Text(
        f"{name} has '{what}' ({rival} was not examined for it)",
        f"「{what}」が{name}にあり（{rival}ではこのチェックを行っていません）",
    )


def _untried(cause: Cause, found: Comparison) -> Text:
    """A cause whose mend was not raced, and why."""
    owned, other, why = _owned(cause, found), cause.gone_with, cause.why_not
    if other is not None:
        return Text(
            f"{owned.en}; the mend of '{other}' mends it too.",
            f"{owned.ja}、「{other}」を修正すると一緒になくなります。",
        )
    if found.gap is None:
        return Text(f"{owned.en}.", f"{owned.ja}ます。")
    if why is not None:
        return Text(
            f"{owned.en}; a mend was tried and not raced: {why.en}.",
            f"{owned.ja}、修正を試みましたが、競争では確かめていません（{why.ja}）。",
        )
    return Text(
        f"{owned.en}, for which there is no mend to race.",
        f"{owned.ja}、自動で修正できないため、競争では確かめていません。",
    )


def _too_short(cause: Cause, found: Comparison) -> Text | None:
    """Where neither the model nor its mended copy has learned anything yet, that more steps are needed."""
    race = found.race
    if race is None or cause.confirmed:
        return None
    classes, steps = race.course.classes, race.course.steps
    if not (is_near_chance(cause.heats, classes) and is_near_chance(race.of(cause.owner), classes)):
        return None
    longer = _longer(race.course)
    return Text(
        f"the mended copy is hardly above chance yet either, so {steps} steps are too few to tell; try --duration {longer}st",
        f"修正したコピーもまだチャンスレベルとほとんど変わらないため、"
        f"{steps}ステップでは短すぎて判断できません。--duration {longer}stを試してください",
    )


def _ending(cause: Cause, left: Gap, between: Gap | None) -> Text:
    """What a mend does to the model, what it leaves of the gap to the rival, and how sure that is."""
    gained = cause.gained
    if gained is None or not cause.confirmed:
        return _unconfirmed(gained)
    if between is None:
        return Text("it is a cause", "原因の1つです")
    before = between.turned if between.one == cause.owner else between  # rival minus owner, as `left` is
    return _of_a_gap(left, before) if before.is_clear and before.low > 0 else _without_a_gap(left, before)


FEW = 6
"""Seeds below which more of them may tell what these do not."""


def _unconfirmed(gained: Gap | None) -> Text:
    """A mend that does not make the model learn clearly better."""
    if gained is None or gained.seeds == 1:
        return Text(
            "one seed cannot tell a cause from luck; try --seeds 3",
            "シード1個では原因と偶然を区別できません。--seeds 3を試してください",
        )
    if gained.is_clear:
        return Text("mended so, it learns worse", "このように修正すると、かえって学習が悪くなります")
    more = (
        Text("; try --seeds 10", "。--seeds 10を試してください")
        if gained.points > 0 and gained.seeds < FEW
        else Text("", "")
    )
    return Text(
        f"on {gained.seeds} seeds it does not show as a cause{more.en}",
        f"シード{gained.seeds}個では原因と確認できません{more.ja}",
    )


def _of_a_gap(left: Gap, before: Gap) -> Text:
    """A mend that helps a model which is clearly behind."""
    rest = interval(left)
    if left.is_clear and left.high < 0:
        ahead = signed(-left.points).lstrip("+")
        return Text(
            f"it is the cause, and mended the model is now ahead by {ahead} points (what is left of the gap: {rest.en})",
            f"これが原因で、修正すると逆に相手のモデルを{ahead}ポイント上回ります。残る差は{rest.ja}です",
        )
    if left.low > 0:
        return Text(f"it is a cause, and of the gap {rest.en} are left", f"原因の1つですが、差は{rest.ja}残ります")
    half = before.points / 2
    if -half < left.low <= left.high < half:
        return Text(
            f"it is the cause, and mending it closes the gap; what is left is {rest.en}",
            f"これが原因で、修正すると差は解消します。残る差は{rest.ja}です",
        )
    return Text(
        f"it is a cause; what is left of the gap is {rest.en}, which {left.seeds} seeds cannot tell from nothing or from half of it",
        f"原因の1つです。残る差は{rest.ja}で、シード{left.seeds}個では、差が解消したのか、半分ほど残っているのかを区別できません",
    )


def _without_a_gap(left: Gap, before: Gap) -> Text:
    """A mend that helps a model which was ahead already, or not clearly behind: there is no gap that it could close."""
    now = interval(left.turned)
    if before.is_clear:
        return Text(
            f"it costs accuracy, and is no cause of a gap: {before.other} was ahead without the mend; with it the lead is {now.en}",
            f"この問題は正解率を下げていますが、差の原因ではありません（修正前から{before.other}が上）。修正後のリードは{now.ja}です",
        )
    return Text(
        f"it costs accuracy, though there was no clear gap to close; mended minus {before.one} is {now.en}",
        f"この問題は正解率を下げていますが、解消すべき明確な差はありませんでした。修正したコピーから{before.one}を引いた差は{now.ja}です",
    )
