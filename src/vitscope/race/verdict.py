"""What a comparison comes to, in sentences: who learns better and by how much, and whether what only one has is why."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Gap


def sentences_of(found: Comparison) -> tuple[Text, ...]:
    """The verdict, sentence by sentence."""
    parts = [_who_learns(found), *(_what_a_mend_does(cause, found.gap) for cause in found.causes)]
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


def interval(gap: Gap) -> Text:
    """A difference with its interval."""
    ends = f"{gap.low:+.1f}", f"{gap.high:+.1f}"
    return Text(
        f"{gap.points:+.1f} points (95 % interval {ends[0]} to {ends[1]})",
        f"{gap.points:+.1f}ポイント（95 %区間{ends[0]}〜{ends[1]}）",
    )


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


def _what_a_mend_does(cause: Cause, between: Gap | None) -> Text:
    name, what = cause.owner, cause.finding.id
    if cause.done is None or cause.gained is None or cause.left is None:
        untried = between is None
        return Text(
            f"Only {name} has '{what}'" + ("." if untried else ", for which there is no mend to race."),
            f"「{what}」は{name}だけにあります"
            + ("。" if untried else "が、自動で修正できないため、競争では確かめていません。"),
        )
    gained = interval(cause.gained)
    told = Text(
        f"Only {name} has '{what}'; mended ({cause.done.en}; no weight touched) it gains {gained.en}",
        f"「{what}」は{name}だけにあり、修正すると（{cause.done.ja}、重みは変更なし）{gained.ja}変わります",
    )
    ending = _ending(cause, cause.left, between)
    return Text(f"{told.en}: {ending.en}.", f"{told.ja}。{ending.ja}。")


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
