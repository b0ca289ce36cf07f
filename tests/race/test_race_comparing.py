"""`vitscope.compare` on tiny models: structure, what only one has, the mend that is raced, and a verdict that says no more than it knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import vitscope
from vitscope._core.errors import ModelError, UsageError
from vitscope.doctor.examination import Examination
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec, GoodViTSpec
from vitscope.race import comparing
from vitscope.race.comparing import compare
from vitscope.race.comparison import Cause, Comparison
from vitscope.race.contest import Arm
from vitscope.race.entrants import Entrant
from vitscope.race.mending import with_what_else_goes
from vitscope.race.targets import Wanted, open_course, open_pair, refuse_other_classes

pytestmark = pytest.mark.e2e  # whole races

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
    named = replace(pair, one=Entrant("good", pair.one.make), other=Entrant("bad", pair.other.make))
    return comparing.compared(named, course, checks=["input-blindness"], notes=(fitted,))


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


def test_what_the_mend_of_another_mends_is_not_called_unmendable(compared: Comparison) -> None:
    (cause,) = compared.causes
    other = Cause("bad", replace(cause.finding, fault=replace(cause.finding.fault, id="unused-parameters")))
    marked = with_what_else_goes((cause, other), {"bad": Arm("bad", bad)}, torch.randn(4, 3, 8, 8))
    assert [each.gone_with for each in marked] == [None, "class-token-never-sees-a-patch"]
    said = next(each for each in replace(compared, causes=marked).sentences if "unused" in each.en)
    assert said.en == "Only bad has 'unused-parameters'; the mend of 'class-token-never-sees-a-patch' mends it too."
    assert "一緒になくなります" in said.ja


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
    assert "no data were given to race on; give some, as in data='digits'" in found.verdict.en
    assert found.notes == ()
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


def test_examinations_are_those_of_the_doctor(compared: Comparison) -> None:
    assert isinstance(compared.one, Examination)
    assert compared.one.healthy
    assert compared.one.checks_run == ("input-blindness",)


def test_a_given_module_s_hooks_and_start_are_told() -> None:
    hooked = good()
    hooked.register_forward_hook(lambda module, given, output: output.detach())
    found = compare(good(), hooked, image_size=8, checks=["output"], data="digits", duration="2st", seeds=1)
    notes = [note.en for note in found.notes]
    assert any(
        note.startswith("A is a finished module: each seed starts from the weights that it has; give") for note in notes
    )
    assert found.starts == ("same", "same")
    assert "1 hook of functions, registered on B, was left out; neither the examination nor the race runs it." in notes
    assert any("フック1個" in note.ja for note in found.notes)
    assert found.race is not None


@pytest.mark.parametrize("is_first", [True, False])
def test_which_of_the_two_is_no_vit_is_said(is_first: bool) -> None:
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    pair = (cnn, good()) if is_first else (good(), cnn)
    with pytest.raises(ModelError, match=f"^{'one' if is_first else 'two'}: there is no attention in this model"):
        compare(*pair, image_size=8, checks=["output"], names=("one", "two"))


def test_what_cannot_be_trained_leaves_both_examinations() -> None:
    class InferenceOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = good()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training, "inference only"
            return self.vit(x)

    found = compare(good(), InferenceOnly(), image_size=8, checks=["output"], data="digits", seeds=1)
    assert found.race is None
    assert "B cannot be trained: AssertionError (inference only); mend that first." in found.verdict.en
    assert "（Bを学習できません：AssertionError (inference only)。先にこれを直してください）" in found.verdict.ja
    assert not found.healthy
    assert "no error and no warning" not in found.verdict.en
    assert (found.one.target, found.other.target) == ("A", "B")


def test_the_language_is_that_which_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    found = compare(good(), bad("none"), image_size=8, checks=["output"], lang="ja")
    for shown in (str(found), found._repr_html_(), str(found.one), found.other._repr_html_()):
        assert "健全" in shown
    assert "nothing wrong was found" in found.text("en")
    assert found.to_dict() == replace(found, lang=None).to_dict()
    with pytest.raises(UsageError, match="lang is 'de', expected one of en, ja"):
        compare(good(), good(), image_size=8, lang="de")
