"""What a comparison comes to, in sentences: who learns better and by how much, and whether what only one has is why."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Gap
from vitscope.race.course import STEPS


def sentences_of(found: Comparison) -> tuple[Text, ...]:
    """The verdict, sentence by sentence."""
    parts = [_who_learns(found), *(_what_a_mend_does(cause, found) for cause in found.causes)]
    if not found.causes:
        parts.append(_NOTHING)
    return tuple(parts)


_NOTHING = Text(
    "The doctor finds no error and no warning in one that the other has not.",
    "一方だけに見つかったエラーや警告はありません。",
)


STOPPED = Text(
    "Stopped before the last seed: the interval leaves out zero, and each seed alone is 10 points or more apart.",
    "区間が0を含まず、どのシードでも10ポイント以上の差があるため、最後のシードの前に打ち切りました。",
)


def signed(points: float) -> str:
    """A difference with its sign; a minus is a minus, and nothing is neither more nor less."""
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")


def ends(gap: Gap) -> Text:
    """The interval of a difference."""
    low, high = signed(gap.low), signed(gap.high)
    return Text(f"95 % interval {low} to {high}", f"95 %区間{low}〜{high}")


def interval(gap: Gap) -> Text:
    """A difference with its interval."""
    said, between = signed(gap.shown), ends(gap)
    return Text(f"{said} points ({between.en})", f"{said}ポイント（{between.ja}）")


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
    if between.is_clear:
        better = one if between.points > 0 else other
        return Text(
            f"{told.en}: {better} learns clearly better.", f"{told.ja}で、{better}のほうが明らかによく学習します。"
        )
    return Text(f"{told.en}: no clear difference.", f"{told.ja}で、明確な差はありません。")


def _what_a_mend_does(cause: Cause, found: Comparison) -> Text:
    name, what, between = cause.owner, cause.finding.id, found.gap
    if cause.done is None or cause.gained is None or cause.left is None:
        return _untried(cause, has_raced=between is not None)
    by, range_ = abs(cause.gained.shown), ends(cause.gained)
    gains = cause.gained.shown >= 0
    told = Text(
        f"Only {name} has '{what}'; mended ({cause.done.en}; no weight touched) it {'gains' if gains else 'loses'} {by:.1f} points "
        f"({range_.en}{'' if gains else ' of what it gains'})",
        f"「{what}」は{name}だけにあり、修正すると（{cause.done.ja}、重みは変更なし）正解率が{by:.1f}ポイント"
        f"{'向上します' if gains else '低下します'}（変化の{range_.ja}）",
    )
    ending = _too_short(cause, found) or _ending(cause, cause.left, between)
    return Text(f"{told.en}: {ending.en}.", f"{told.ja}。{ending.ja}。")


def _untried(cause: Cause, *, has_raced: bool) -> Text:
    """A cause whose mend was not raced."""
    name, what, other = cause.owner, cause.finding.id, cause.gone_with
    if other is not None:
        return Text(
            f"Only {name} has '{what}'; the mend of '{other}' mends it too.",
            f"「{what}」は{name}だけにありますが、「{other}」を修正すると一緒になくなります。",
        )
    return Text(
        f"Only {name} has '{what}'" + (", for which there is no mend to race." if has_raced else "."),
        f"「{what}」は{name}だけにあります"
        + ("が、自動で修正できないため、競争では確かめていません。" if has_raced else "。"),
    )


def _too_short(cause: Cause, found: Comparison) -> Text | None:
    """Where the mended copy has learned nothing yet, that more steps are needed."""
    course = found.race.course if found.race else None
    if course is None or cause.confirmed or not cause.is_near_chance(course.classes):
        return None
    longer = max(4 * course.steps, STEPS)
    return Text(
        f"the mended copy has learned nothing yet either, so {course.steps} steps are too few to tell; try --duration {longer}st",
        f"修正版もまだ何も学習していないため、{course.steps}ステップでは短すぎて判断できません。--duration {longer}stを試してください",
    )


def _ending(cause: Cause, left: Gap, between: Gap | None) -> Text:
    """What a mend leaves of the gap, and how sure that is."""
    if not cause.confirmed:
        return Text("in so short a race it does not show as a cause", "この短い競争では原因と確認できません")
    rest = interval(left)
    if left.low > 0:
        return Text(f"it is a cause, and of the gap {rest.en} are left", f"原因の1つですが、差は{rest.ja}残ります")
    if between is not None and left.high < abs(between.points) / 2:
        return Text(
            f"it is the cause, and mending it closes the gap; what is left is {rest.en}",
            f"これが原因で、修正すると差は解消します。残る差は{rest.ja}です",
        )
    return Text(
        f"it is a cause; what is left of the gap is {rest.en}, which these few seeds cannot tell from nothing or from half of it",
        f"原因の1つです。残る差は{rest.ja}で、このシード数では差が解消したとまでは言えません",
    )
