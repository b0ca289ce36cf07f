"""What a comparison comes to, in sentences: who learns better and by how much, and whether what only one has is why."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.course import STEPS
from vitscope.race.gaps import CLEAR_AFTER, Gap, is_near_chance


def sentences_of(found: Comparison) -> tuple[Text, ...]:
    """The verdict, sentence by sentence."""
    parts = [_who_learns(found), *_diverged(found), *(_what_a_mend_does(cause, found) for cause in found.causes)]
    if not found.causes:
        parts.append(_NOTHING)
    return tuple(parts)


_NOTHING = Text(
    "The doctor finds no error and no warning in one that the other has not.",
    "一方だけに見つかったエラーや警告はありません。",
)
STOPPED = Text(
    f"Stopped before the last seed: {CLEAR_AFTER} seeds or more are run, each alone is 10 points or more apart, "
    "and the 99 % interval leaves out zero.",
    f"シードを{CLEAR_AFTER}個以上試し、どのシードでも10ポイント以上の差があり、99 %区間が0を含まないため、最後のシードの前に打ち切りました。",
)


def signed(points: float) -> str:
    """A difference with its sign; a minus is a minus, and nothing is neither more nor less."""
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")


def ends(gap: Gap) -> Text:
    """The interval of a difference; of one seed, what it is over."""
    low, high = signed(gap.low), signed(gap.high)
    if gap.seeds == 1:
        return Text(
            f"95 % interval over the images of this seed {low} to {high}",
            f"95 %区間{low}〜{high}、このシードの評価画像だけから計算",
        )
    return Text(f"95 % interval {low} to {high}", f"95 %区間{low}〜{high}")


def interval(gap: Gap) -> Text:
    """A difference with its interval."""
    said, between = signed(gap.points), ends(gap)
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
    better = one if between.points > 0 else other
    if seeds == 1:
        return Text(
            f"{told.en}: {_on_one_seed(better, between).en}.", f"{told.ja}です。{_on_one_seed(better, between).ja}。"
        )
    if between.is_clear:
        return Text(
            f"{told.en}: {better} learns clearly better.", f"{told.ja}で、{better}のほうが明らかによく学習します。"
        )
    return Text(f"{told.en}: no clear difference.", f"{told.ja}で、明確な差はありません。")


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
    name, what = cause.owner, cause.finding.id
    if cause.done is None or cause.gained is None or cause.left is None:
        return _untried(cause, has_raced=found.gap is not None)
    by, range_ = abs(cause.gained.points), ends(cause.gained)
    gains = cause.gained.points >= 0
    told = Text(
        f"Only {name} has '{what}'; mended ({cause.done.en}; no weight touched) it {'gains' if gains else 'loses'} {by:.1f} points "
        f"({range_.en}{'' if gains else ' of what it gains'})",
        f"「{what}」は{name}だけにあり、修正すると（{cause.done.ja}、重みは変更なし）正解率が{by:.1f}ポイント"
        f"{'向上します' if gains else '低下します'}（変化の{range_.ja}）",
    )
    ending = _too_short(cause, found) or _ending(cause, cause.left, found.gap)
    return Text(f"{told.en}: {ending.en}.", f"{told.ja}。{ending.ja}。")


def _untried(cause: Cause, *, has_raced: bool) -> Text:
    """A cause whose mend was not raced, and why."""
    name, what, other, why = cause.owner, cause.finding.id, cause.gone_with, cause.why_not
    if other is not None:
        return Text(
            f"Only {name} has '{what}'; the mend of '{other}' mends it too.",
            f"「{what}」は{name}だけにありますが、「{other}」を修正すると一緒になくなります。",
        )
    if not has_raced:
        return Text(f"Only {name} has '{what}'.", f"「{what}」は{name}だけにあります。")
    if why is not None:
        return Text(
            f"Only {name} has '{what}'; a mend was tried and not raced: {why.en}.",
            f"「{what}」は{name}だけにあります。修正を試みましたが、競争では確かめていません（{why.ja}）。",
        )
    return Text(
        f"Only {name} has '{what}', for which there is no mend to race.",
        f"「{what}」は{name}だけにありますが、自動で修正できないため、競争では確かめていません。",
    )


def _too_short(cause: Cause, found: Comparison) -> Text | None:
    """Where neither the model nor its mended copy has learned anything yet, that more steps are needed."""
    race = found.race
    if race is None or cause.confirmed:
        return None
    classes, steps = race.course.classes, race.course.steps
    if not (is_near_chance(cause.heats, classes) and is_near_chance(race.of(cause.owner), classes)):
        return None
    longer = max(4 * steps, STEPS)
    return Text(
        f"the mended copy has learned nothing yet either, so {steps} steps are too few to tell; try --duration {longer}st",
        f"修正したコピーもまだ何も学習していないため、{steps}ステップでは短すぎて判断できません。--duration {longer}stを試してください",
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


def _unconfirmed(gained: Gap | None) -> Text:
    """A mend that does not make the model learn clearly better."""
    if gained is None or gained.seeds == 1:
        return Text(
            "one seed cannot tell a cause from luck; try --seeds 3",
            "シード1個では原因と偶然を区別できません。--seeds 3を試してください",
        )
    if gained.is_clear:
        return Text("mended so, it learns worse", "このように修正すると、かえって学習が悪くなります")
    return Text(
        f"on {gained.seeds} seeds it does not show as a cause",
        f"シード{gained.seeds}個では原因と確認できません",
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
