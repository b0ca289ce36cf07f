"""What only one of two models has, in sentences: whether mending it makes that model learn better, and what it leaves of the gap to the other."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.race.comparison import Cause, Comparison, quoted
from vitscope.race.differences import ends, interval, signed
from vitscope.race.gaps import Gap, is_near_chance

UNSHARED = "shared-blocks"
"""The one whose mend makes weights: blocks that shared them get their own."""
FEW = 6
"""Seeds below which more of them may tell what these do not."""


def what_a_mend_does(cause: Cause, found: Comparison) -> Text:
    if cause.done is None or cause.gained is None or cause.left is None:
        return _untried(cause, found)
    points, range_, owned = cause.gained.points, ends(cause.gained), _owned(cause, found)
    untouched = Text("", "") if UNSHARED in cause.ids else Text("; no weight touched", "、重みは変更なし")
    unsure = Text("", "") if cause.is_gone is not None else _NOT_SEEN_GONE
    change = (
        Text(f"it gains {points:.1f} points", f"正解率が{points:.1f}ポイント向上します")
        if points >= 0
        else Text(f"it changes by {signed(points)} points", f"正解率が{signed(points)}ポイント変化します")
    )
    told = Text(
        f"{owned.en}; mended ({cause.done.en}{untouched.en}{unsure.en}) {change.en} ({range_.en})",
        f"{owned.ja}、修正すると（{cause.done.ja}{untouched.ja}{unsure.ja}）{change.ja}（{range_.ja}）",
    )
    ending = _too_short(cause, found) or _ending(cause, cause.left, found.gap)
    return Text(f"{told.en}: {ending.en}.", f"{told.ja}。{ending.ja}。")


_NOT_SEEN_GONE = Text(
    "; whether it is gone could not be checked again", "、なくなったかどうかの再検査はできませんでした"
)


def _owned(cause: Cause, found: Comparison) -> Text:
    """Who has it, for a sentence to go on from."""
    name, what = cause.owner, cause.finding.id
    if cause.together:
        ids = quoted(cause.together)
        return Text(f"{name} without {ids.en}, all at once", f"{name}の{ids.ja}をまとめて取り除き")
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
    classes = race.course.classes
    if not (is_near_chance(cause.heats, classes) and is_near_chance(race.of(cause.owner), classes)):
        return None
    beside = _errors_beside(cause, found)
    if beside:
        ids = quoted(beside)
        return Text(
            f"the mended copy is hardly above chance either, and it still has {ids.en}",
            f"修正したコピーもチャンスレベルとほとんど変わりませんが、{ids.ja}が残っています",
        )
    course, longer = race.course, race.course.more_steps
    return Text(
        f"the mended copy is hardly above chance yet either, so {course.length.en} {'is' if course.steps == 1 else 'are'} too few to tell; "
        f"try --duration {longer}st",
        f"修正したコピーもまだチャンスレベルとほとんど変わらないため、"
        f"{course.length.ja}では短すぎて判断できません。--duration {longer}stを試してください",
    )


def _errors_beside(cause: Cause, found: Comparison) -> list[str]:
    """Errors of the same model that its mended copy still has."""
    side = found.one if cause.owner == found.one.target else found.other
    gone = {*cause.ids, *(each.finding.id for each in found.causes if each.gone_with in cause.ids)}
    return [each.id for each in side.causes if each.severity == "error" and each.id not in gone]


def _ending(cause: Cause, left: Gap, between: Gap | None) -> Text:
    """What a mend does to the model, what it leaves of the gap to the rival, and how sure that is."""
    gained = cause.gained
    if gained is None or not cause.confirmed:
        return _unconfirmed(gained)
    if between is None:
        return Text("it is a cause", "原因の1つです")
    before = between.turned if between.one == cause.owner else between  # rival minus owner, as `left` is
    return _of_a_gap(left, before) if before.is_clear and before.low > 0 else _without_a_gap(left, before)


def _unconfirmed(gained: Gap | None) -> Text:
    """A mend that does not make the model learn clearly better."""
    if gained is None or gained.seeds == 1:
        return Text(
            "one seed cannot tell a cause from luck; try --seeds 3",
            "シード1個では原因と偶然を区別できません。--seeds 3を試してください",
        )
    if gained.is_clear:
        return Text(
            "mended so, it learns worse on these images in so many steps",
            "このように修正すると、この画像・ステップ数ではかえって学習が悪くなります",
        )
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
