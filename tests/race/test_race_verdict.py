"""What a comparison comes to, in sentences that say no more than the seeds do, on screen and page. Nothing is trained: accuracies are given."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Lang, Text
from vitscope.cli.compare_screen import show
from vitscope.data import DataSplits, ImageTable
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Fault, Finding, Skip
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Race
from vitscope.race.course import Course
from vitscope.race.differences import signed, stopped
from vitscope.race.entrants import Starts
from vitscope.race.gaps import Heat, gap
from vitscope.report.comparing.page import breakable, page_of
from vitscope.train.duration import Duration

SOME, DONE = Text("some", "ある"), Text("switched", "変更")
FINDING = Fault("sick", "X1", "output", "error", SOME, SOME).found(SOME, {})
Numbers = tuple[float, ...]


def course(steps: int = 150) -> Course:
    names = tuple("abcdefghij")
    table = ImageTable(np.zeros((64, 8, 8, 3), np.uint8), np.arange(64) % 10, names, "digits train", split="train")
    return Course(
        splits=DataSplits(table, table, "test", names, "key"),
        preprocessing=Preprocessing(image_size=(8, 8), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
        duration=Duration(float(steps), "st"),
    )


def heats(arm: str, accuracies: Numbers, lost: tuple[int, ...] = ()) -> tuple[Heat, ...]:
    """Other images right for each seed, as trainings give them; those of lost seeds diverged."""
    shuffled = [np.random.Generator(np.random.PCG64(seed)).permutation(360) for seed in range(len(accuracies))]
    return tuple(
        Heat(arm, seed, 10.0, float("nan"), diverged=True)
        if seed in lost
        else Heat(arm, seed, accuracy, 1.0, right=shuffled[seed] < 360 * accuracy / 100)
        for seed, accuracy in enumerate(accuracies)
    )


def compared(
    rival: Numbers, owner: Numbers, mended: Numbers = (), *, is_owner_first: bool = False, lost: tuple[int, ...] = ()
) -> Comparison:
    """`owner` has a fault that `rival` has not; what they and the mended copy reached."""
    ours, theirs, its = heats("owner", owner, lost), heats("rival", rival), heats("owner, mended", mended)
    cause = Cause("owner", FINDING, why_not=SOME)
    if its:
        cause = Cause("owner", FINDING, DONE, True, its, gap(its, ours), gap(theirs, its))
    run = Race(course(), (*ours, *theirs), False)
    sides = [Examination(name, (), ("output",), (), {}, {"classes": 10}) for name in ("owner", "rival")]
    one, other = sides if is_owner_first else sides[::-1]
    return Comparison(one, other, (), run, (cause,))


LOW, MIDDLE, HIGH = (30.0, 31.0, 29.0), (61.0, 61.0, 61.0), (85.0, 86.0, 84.0)


@pytest.mark.parametrize("is_owner_first", [True, False])
@pytest.mark.parametrize(
    ("rival", "owner", "mended", "words"),
    [
        (HIGH, LOW, (85.0, 85.0, 85.5), "it is the cause, and mending it closes the gap; what is left is "),
        (MIDDLE, LOW, HIGH, "it is the cause, and mended the model is now ahead by 24.0 points"),
        (HIGH, LOW, (50.0, 51.0, 49.0), "it is a cause, and of the gap +35.0 points"),
        (HIGH, LOW, (60.0, 90.0, 88.0), "which 3 seeds cannot tell from nothing or from half of it"),
        (LOW, MIDDLE, HIGH, "no cause of a gap: owner was ahead without the mend; with it the lead is +55.0 points"),
        (MIDDLE, (60.0, 62.0, 61.0), HIGH, "there was no clear gap to close; mended minus rival is +24.0 points"),
        (HIGH, MIDDLE, LOW, "mended so, it learns worse"),
        (HIGH, MIDDLE, (10.0, 11.0, 10.0), "mended so, it learns worse"),
        (HIGH, LOW, (32.0, 45.0, 25.0), "on 3 seeds it does not show as a cause; try --seeds 10."),
        (HIGH, (10.0, 11.0, 10.0), (10.0, 11.0, 11.0), "150 steps are too few to tell; try --duration 600st"),
    ],
)
def test_what_a_mend_does_to_the_gap(
    rival: Numbers, owner: Numbers, mended: Numbers, words: str, is_owner_first: bool
) -> None:
    said = compared(rival, owner, mended, is_owner_first=is_owner_first).sentences[1]
    assert words in said.en
    assert ("closes the gap" in said.en) == ("closes the gap" in words)
    assert said.ja.endswith("。")


@pytest.mark.parametrize("mended", [(90.0,), (30.5,), (10.0,)])
def test_one_seed_tells_no_cause_and_no_better_model(mended: Numbers) -> None:
    found = compared((85.0,), (30.0,), mended)
    assert found.sentences[0].en.endswith("rival is ahead on this seed; one seed cannot tell models from luck.")
    assert "シード1個ではモデルの差と偶然を区別できません" in found.sentences[0].ja
    assert "clearly" not in found.verdict.en
    assert "one seed cannot tell a cause from luck" in found.sentences[1].en
    assert not found.causes[0].confirmed
    assert found.to_dict()["causes"][0]["confirmed"] is False
    assert found.to_dict()["gap"]["clear"] is False
    for lang in ("en", "ja"):
        assert "95 %" not in found.verdict[lang]
    assert (
        "a difference of −55.0 points (one seed, so no interval)"
        in replace(found, one=found.other, other=found.one).verdict.en
    )
    assert found.to_dict()["gap"]["low"] is None
    page = page_of(found)
    assert page.count('<td class="n">–</td>') == 3
    assert "There was one seed, so there are no intervals" in page
    assert "There was one seed" not in page_of(compared(HIGH, LOW, HIGH))


def examined(name: str, *findings: Finding, checks_run: tuple[str, ...] = ("output",)) -> Examination:
    return Examination(name, findings, checks_run, (), {}, {"classes": 10})


def test_what_both_have_is_said_of_both() -> None:
    found = replace(compared(HIGH, LOW), one=examined("rival", FINDING), other=examined("owner", FINDING), causes=())
    assert found.shared == ("sick",)
    assert [each.en for each in found.sentences[1:]] == [
        "The doctor finds no error and no warning in one that the other has not.",
        "Both have 'sick'; a race of the two cannot show what that costs.",
    ]
    assert found.sentences[2].ja.startswith("「sick」は両方にあります。")


def test_where_neither_has_anything_that_is_said() -> None:
    found = replace(compared(HIGH, LOW), causes=())
    assert found.sentences[-1].en == "The doctor finds no error and no warning in either."


def test_what_the_other_was_not_examined_for_is_not_called_absent_there() -> None:
    found = replace(compared(HIGH, LOW, HIGH), one=examined("rival", checks_run=("forward",)))
    said = found.sentences[1]
    assert said.en.startswith("owner has 'sick' (rival was not examined for it); mended (")
    assert "「sick」がownerにあり（rivalではこのチェックを行っていません）、修正すると" in said.ja
    with_tag = replace(found, other=examined("owner", FINDING))
    assert "only in owner" not in page_of(with_tag)
    assert "only in owner" in page_of(replace(with_tag, one=examined("rival")))


def test_a_mend_that_was_not_checked_again_says_so() -> None:
    found = compared(HIGH, LOW, HIGH)
    found = replace(found, causes=(replace(found.causes[0], is_gone=None),))
    assert "(switched; no weight touched; whether it is gone could not be checked again)" in found.sentences[1].en
    assert "再検査" in found.sentences[1].ja


def test_the_very_same_answers_are_told() -> None:
    same = "Both have the very same images right, on every seed."
    assert same in compared(HIGH, HIGH).verdict.en
    assert same not in compared(HIGH, LOW).verdict.en
    assert same not in compared(HIGH, HIGH, lost=(1,)).verdict.en
    assert same not in compared((10.0, 11.0), (10.0, 11.0)).verdict.en


def test_a_race_that_nobody_learned_in_tells_nothing() -> None:
    found = compared((10.0, 11.0, 10.0), (11.0, 10.0, 11.0))
    assert found.sentences[0].en.endswith("this race tells nothing of the two; try --duration 600st.")
    sick = replace(found, other=examined("owner", FINDING))
    assert "mend the errors that the doctor found, or try" in sick.sentences[0].en
    assert "no clear difference" in compared(HIGH, HIGH).sentences[0].en


def test_seeds_that_cannot_tell_two_apart_are_not_called_no_difference() -> None:
    wide = compared((74.0, 75.0, 60.0), (51.0, 70.0, 40.0)).sentences[0]
    assert wide.en.endswith(": 3 seeds cannot tell them apart; try --seeds 6.")
    assert wide.ja.endswith("シード3個では優劣を判断できません。--seeds 6を試してください。")
    assert compared((85.0, 86.0), (85.0, 86.0)).sentences[0].en.endswith("no clear difference.")


@pytest.mark.parametrize("starts", [("same", "fresh"), ("fresh", "same")])
def test_models_that_start_from_the_same_weights_each_time_are_judged_from_these(starts: tuple[Starts, Starts]) -> None:
    """The interval holds the order of the images, and not what other start values would give."""
    said = replace(compared(HIGH, LOW), starts=starts).sentences[0]
    assert said.en.endswith(
        ": from these start values rival learns clearly better; other start values may tell otherwise."
    )
    assert "この初期値からは、rivalのほうが明らかに" in said.ja


@pytest.mark.parametrize("owner", [HIGH, (62.0, 60.0, 61.0)])
def test_an_error_that_the_race_does_not_show_stays_one(owner: Numbers) -> None:
    found = replace(compared(MIDDLE, owner), other=examined("owner", FINDING))
    said = found.sentences[1]
    assert said.en.startswith("owner has 'sick' all the same: what the doctor measured holds")
    assert "in batches of 32" in said.en
    assert "ownerには「sick」があります" in said.ja
    behind = replace(compared(MIDDLE, LOW), other=examined("owner", FINDING))
    assert "all the same" not in behind.verdict.en


def test_all_that_can_be_mended_is_told_as_one_copy() -> None:
    other = Fault("squeezed", "X2", "output", "error", SOME, SOME).found(SOME, {})
    found = compared(HIGH, (10.0, 11.0, 10.0), (10.0, 11.0, 11.0))
    (alone,) = found.causes
    its = heats("owner, mended", HIGH)
    assert found.race is not None
    both = replace(
        alone,
        heats=its,
        gained=gap(its, found.race.of("owner")),
        left=gap(found.race.of("rival"), its),
        together=("sick", "squeezed"),
    )
    found = replace(found, other=examined("owner", FINDING, other), causes=(alone, both))
    first, second = found.sentences[1:3]
    assert first.en.endswith("the mended copy is hardly above chance either, and it still has 'squeezed'.")
    assert first.ja.endswith("「squeezed」が残っています。")
    assert "--duration" not in first.en
    assert second.en.startswith("owner without 'sick', 'squeezed', all at once; mended (")
    assert "closes the gap" in second.en
    assert [arm.en for arm, _ in found.arms][2:] == ["owner without 'sick'", "owner without 'sick', 'squeezed'"]
    assert found.to_dict()["causes"][1]["together"] == ["sick", "squeezed"]
    for lang in ("en", "ja"):
        assert "sick, squeezed" in page_of(found, lang).replace("sick、squeezed", "sick, squeezed")


def test_a_mend_that_makes_weights_does_not_say_that_it_touches_none() -> None:
    found = compared(HIGH, LOW, HIGH)
    shared = Fault("shared-blocks", "M16", "parameters", "error", SOME, SOME).found(SOME, {})
    found = replace(found, causes=(replace(found.causes[0], finding=shared),))
    assert "mended (switched) it gains" in found.sentences[1].en
    assert "修正すると（変更）" in found.sentences[1].ja


def test_what_a_mend_changes_has_one_sign() -> None:
    said = compared(HIGH, MIDDLE, LOW).sentences[1]
    assert "it changes by −31.0 points (95 % interval −33.6 to −28.4)" in said.en
    assert "正解率が−31.0ポイント変化します（95 %区間−33.6〜−28.4）" in said.ja


def test_why_a_race_stopped_is_true_of_the_seeds_that_it_ran() -> None:
    far, near = (90.0, 91.0, 90.0, 91.0, 90.0), (10.0, 11.0, 10.0, 11.0, 10.0)
    early = compared(far, near)
    assert early.race is not None
    assert stopped(early) is None
    said = stopped(replace(early, race=replace(early.race, stopped_early=True)))
    assert said is not None
    assert "each alone is 10 points or more apart" in said.en
    later = compared((*far, 12.0), (*near, 11.0))
    assert later.race is not None
    said = stopped(replace(later, race=replace(later.race, stopped_early=True)))
    assert said is not None
    assert "after 5 seeds the difference of the two was beyond doubt" in said.en
    assert "シード5個" in said.ja


def test_level_on_one_seed() -> None:
    assert "level on this seed" in compared((50.0,), (50.0,)).sentences[0].en


def test_what_diverged_is_said_and_not_called_measured(capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(HIGH, LOW, lost=(1, 2))
    assert found.sentences[1] == Text(
        "owner diverged in 2 of 3 seeds (counted as chance).",
        "ownerは、シード3個のうち2個で発散しました（チャンスレベルとして計算）。",
    )
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))["race"]["heats"]
    assert [heat["accuracy"] for heat in told if heat["arm"] == "owner"] == [30.0, None, None]
    assert told[1]["counted_as"] == 10.0
    show(found, "en")
    assert "–: diverged; it counts as chance in the mean." in capsys.readouterr().out
    show(compared(HIGH, LOW), "en")
    assert "–: diverged" not in capsys.readouterr().out


def test_a_mend_that_was_tried_is_not_called_missing() -> None:
    found = compared(HIGH, LOW)
    assert found.sentences[1].en == "Only owner has 'sick'; a mend was tried and not raced: some."
    assert "修正を試みましたが" in found.sentences[1].ja
    assert found.to_dict()["causes"][0]["why_not_raced"] == "some"
    assert "tried and not raced: some" in page_of(found)


def test_one_number_everywhere() -> None:
    found = compared((61.16,) * 3, (49.54, 49.44, 49.54))
    assert found.gap is not None
    points = found.to_dict()["gap"]["points"]
    assert signed(points) == "+11.7"
    assert "a difference of +11.7 points" in found.verdict.en
    assert "<b>+11.7</b>" in page_of(found)


def test_a_comparison_can_be_printed_and_shows_itself_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(compared(HIGH, LOW, HIGH), notes=(Text("Images: <digits>.", "画像：<digits>。"),))
    monkeypatch.setenv("LC_ALL", "C")
    lines = str(found).splitlines()
    assert lines[0] == "Images: <digits>."
    start = next(number for number, line in enumerate(lines) if line.startswith("right after the race, %"))
    assert [len(line) for line in lines[start : start + 4]] == [len(lines[start])] * 4
    assert lines[start + 1].split() == ["rival", "85.0", "86.0", "84.0", "85.0"]
    assert "rival: healthy" in str(found)
    assert repr(found) == "<Comparison of rival and owner; print it to read it>"
    assert "Images: &lt;digits&gt;." in found._repr_html_()
    assert "競争後の正解率（%）" in found.text("ja")


def test_nothing_has_no_sign() -> None:
    assert [signed(points) for points in (0.0, -0.04, 0.06, -1.0)] == ["0.0", "0.0", "+0.1", "−1.0"]


def test_names_at_the_head_of_a_table_break_between_their_parts_only() -> None:
    assert breakable("my.models:ViT(a=1,b=2)") == "my.<wbr>models:<wbr>ViT<wbr>(a=1,<wbr>b=2)"
    assert breakable("<x>") == "&lt;x&gt;"


@pytest.mark.parametrize(("lang", "head"), [("en", "could not be made"), ("ja", "検査できなかったもの")])
def test_what_could_not_be_examined_stands_on_the_page(lang: Lang, head: str) -> None:
    skips = (Skip("position", Text("not seen", "見えない")), Skip("learning-rate", SOME, is_left_out=True))
    page = page_of(replace(compared(HIGH, LOW), one=replace(examined("rival"), skipped=skips)), lang)
    assert head in page
    assert f"<li>position{'：見えない' if lang == 'ja' else ': not seen'}</li>" in page
    assert "learning-rate" not in page


def test_the_page_in_japanese() -> None:
    page = page_of(compared(HIGH, LOW, HIGH), "ja")
    for words in ("シード0", "チャンスレベル", "修正したコピーは元のモデルとまったく同じ重みから"):
        assert words in page
    assert "noscript" not in page
    assert "a few hundred" not in page_of(compared(HIGH, LOW))


def test_one_step_is_one_on_screen_and_page() -> None:
    found = compared(LOW, (10.0, 11.0, 10.0), (10.0, 11.0, 10.0))
    assert found.race is not None
    found = replace(found, race=replace(found.race, course=course(1)))
    assert found.verdict.en.startswith("After 1 step on the same digits images")
    assert "so 1 step is too few to tell" in found.verdict.en
    assert "Each was trained 1 step on digits" in page_of(found)
    assert "1ステップ学習し" in page_of(found, "ja")
