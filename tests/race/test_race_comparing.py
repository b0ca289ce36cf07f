"""`vitscope.compare` on tiny models: structure, what only one has, the mend that is raced, and a verdict that says no more than it knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import vitscope
from vitscope._core.errors import UsageError
from vitscope.doctor.examination import Examination
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec, GoodViTSpec
from vitscope.race.comparing import Entrant, _with_what_else_goes, compare
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Gap
from vitscope.race.targets import Wanted, open_course, open_pair, refuse_other_classes
from vitscope.race.verdict import _ending, signed
from vitscope.report.comparing.page import page_of

TINY = {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "image_size": (8, 8), "patch_size": (4, 4)}


def good(classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return build(GoodViTSpec.parse({**TINY, "classes": classes}))


def bad(fault: BadViTFault = "batch-mixing") -> nn.Module:
    torch.manual_seed(0)
    return build(BadViTSpec.parse({**TINY, "fault": fault}))


def yaml(folder: Path, name: str, **more: object) -> str:
    values = {"name": name, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "image_size": 8, "patch_size": 4, **more}
    path = folder / f"{name}{len(more)}.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return str(path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("targets")
    wanted = Wanted(duration="12st", seeds=2)
    pair = open_pair(yaml(folder, "good-vit"), yaml(folder, "bad-vit"), wanted)
    course, fitted = open_course(pair, wanted)
    refuse_other_classes(pair, course)
    return compare(
        Entrant("good", pair.one.make),
        Entrant("bad", pair.other.make),
        image_size=pair.image_size,
        channels=pair.channels,
        course=course,
        checks=["input-blindness"],
        notes=(fitted,),
    )


def test_the_parts_stand_side_by_side(compared: Comparison) -> None:
    rows = {row.role.en: row for row in compared.rows}
    assert rows["patch embedding"].differs
    assert "carried into the other pixel by pixel, give the same tokens" in rows["patch embedding"].matters.en
    assert rows["attention compares along"].one.en == "the tokens"
    assert rows["attention compares along"].other.en == "the batch"
    assert rows["heads × width"].one == rows["heads × width"].other
    assert rows["heads × width"].one.en == "2 × 8"
    assert not rows["MLP"].differs
    assert not rows["MLP"].matters.en
    assert rows["MLP"].one.en.startswith("16 → 32 → 16")
    assert "Hardly: 48 parameters" in rows["bias of q, k, v"].matters.en
    assert "48個" in rows["bias of q, k, v"].matters.ja


def test_what_only_one_has_is_mended_and_raced_on_the_seeds_already_run(compared: Comparison) -> None:
    (cause,) = compared.causes
    assert compared.race is not None
    assert (cause.owner, cause.finding.id) == ("bad", "class-token-never-sees-a-patch")
    assert cause.is_gone
    assert [heat.seed for heat in cause.heats] == [heat.seed for heat in compared.race.of("bad")]
    assert cause.gained is not None
    assert cause.left is not None
    assert compared.gap is not None
    assert cause.gained.points + cause.left.points == pytest.approx(compared.gap.points)
    assert not compared.healthy


def test_a_mended_copy_that_has_learned_nothing_wants_more_steps(compared: Comparison) -> None:
    (cause,) = compared.causes
    heats = tuple(replace(heat, accuracy=10.0) for heat in cause.heats)
    gained = Gap("bad", "bad", -0.4, -3.7, 2.8, 2)
    found = replace(compared, causes=(replace(cause, heats=heats, gained=gained),))
    said = found.sentences[1]
    assert "it loses 0.4 points (95 % interval −3.7 to +2.8 of what it gains)" in said.en
    assert "12 steps are too few to tell; try --duration 150st" in said.en
    assert "0.4ポイント低下します" in said.ja
    assert "--duration 150st" in said.ja


def test_what_the_mend_of_another_mends_is_not_called_unmendable(compared: Comparison) -> None:
    (cause,) = compared.causes
    other = Cause("bad", replace(cause.finding, fault=replace(cause.finding.fault, id="unused-parameters")))
    marked = _with_what_else_goes((cause, other), {"bad": lambda: bad()}, torch.randn(4, 3, 8, 8))
    assert [each.gone_with for each in marked] == [None, "class-token-never-sees-a-patch"]
    said = replace(compared, causes=marked).sentences[2]
    assert said.en == "Only bad has 'unused-parameters'; the mend of 'class-token-never-sees-a-patch' mends it too."
    assert "一緒になくなります" in said.ja


def test_the_page_says_the_same_in_both_languages(compared: Comparison) -> None:
    html = page_of(compared, "ja")
    assert compared.gap is not None
    assert signed(compared.gap.shown) in html
    assert "シード0" in html
    assert "チャンスレベル" in html
    assert "異常あり" in html
    assert "noscript" not in html
    assert "a few hundred" not in page_of(compared)


def test_the_dictionary_is_json(compared: Comparison) -> None:
    import json

    for lang in ("en", "ja"):
        values = json.loads(json.dumps(compared.to_dict(lang), allow_nan=False))
        assert values["healthy"] is False
        assert values["race"]["heats"][0]["arm"] == "good"
        assert values["causes"][0]["model"] == "bad"
        assert "12" in values["verdict"]


def test_the_mended_copy_starts_from_the_same_weights(compared: Comparison) -> None:
    from vitscope.race.contest import made
    from vitscope.race.repair import mended

    images, finding = torch.randn(4, 3, 8, 8), compared.causes[0].finding
    repaired = mended(made(lambda: build(BadViTSpec.parse(TINY)), 1), finding, images)
    assert repaired is not None
    plain = made(lambda: build(BadViTSpec.parse(TINY)), 1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), repaired.model.parameters(), strict=True))


def test_modules_are_compared_and_left_as_they_are() -> None:
    one, other = good(), good()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    found = vitscope.compare(one, other, image_size=8, checks=["output"], names=("x", "x"))
    assert found.race is None
    assert found.healthy
    assert "no data were given" in found.verdict.en
    assert not any(row.differs for row in found.rows)
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert (found.one.target, found.other.target) == ("x (A)", "x (B)")


def test_what_gives_no_scores_does_not_race() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = good()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.vit(x)[:, None].expand(-1, 3, -1)

    found = compare(good(), Tokens(), image_size=8, checks=["forward"])
    assert not found.healthy
    assert found.race is None
    assert [cause.finding.id for cause in found.causes] == ["wrong-output-shape"]


def test_other_classes_do_not_race() -> None:
    found = compare(good(), good(7), image_size=8, checks=["output"])
    assert "10 scores for an image and the second 7" in found.verdict.en


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"image_size": 16}, "takes images of 8×8 pixels with 3 channels and"),
        ({"channels": 1}, "with 1 channel;"),
        ({"classes": 7}, "a race needs models of as many classes"),
    ],
)
def test_two_that_do_not_fit_together(tmp_path: Path, more: dict[str, object], sentence: str) -> None:
    def opened() -> None:
        pair = open_pair(yaml(tmp_path, "good-vit"), yaml(tmp_path, "good-vit", **more), Wanted())
        refuse_other_classes(pair, open_course(pair, Wanted())[0])

    with pytest.raises(UsageError, match=sentence):
        opened()


def test_data_of_other_classes(tmp_path: Path) -> None:
    target = yaml(tmp_path, "good-vit", classes=7)
    pair = open_pair(target, target, Wanted())
    with pytest.raises(UsageError, match="give 7 scores for an image, and digits has 10 classes"):
        refuse_other_classes(pair, open_course(pair, Wanted())[0])


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Gap("a", "b", 0.5, -2.0, 3.0, 3), "closes the gap"),
        (Gap("a", "b", 20.0, 15.0, 25.0, 3), "of the gap +20.0 points"),
        (Gap("a", "b", 5.0, -40.0, 50.0, 3), "cannot tell"),
    ],
)
def test_a_mend_is_said_to_close_the_gap_only_where_that_is_known(compared: Comparison, left: Gap, words: str) -> None:
    gained, between = Gap("b", "b", 50.0, 40.0, 60.0, 3), Gap("a", "b", 50.0, 40.0, 60.0, 3)
    cause = Cause("b", compared.causes[0].finding, gained=gained, left=left)
    assert words in _ending(cause, left, between).en


def test_examinations_are_those_of_the_doctor(compared: Comparison) -> None:
    assert isinstance(compared.one, Examination)
    assert compared.one.healthy
    assert compared.one.checks_run == ("input-blindness",)
