"""The race of the mended copies: they get the seeds that were asked for, and what cannot be raced says why. Heats are scripted, not trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.data import DataSplits, ImageTable
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec
from vitscope.race import contest, mending
from vitscope.race.contest import Arm, NotTrainedError, Race, race
from vitscope.race.course import Course
from vitscope.race.gaps import Heat
from vitscope.race.mending import Only, raced_mends

TINY = {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "image_size": (8, 8), "patch_size": (4, 4)}
Reached = dict[str, Callable[[int], float]]


def bad(fault: BadViTFault = "batch-mixing") -> nn.Module:
    torch.manual_seed(0)
    return build(BadViTSpec.parse({**TINY, "fault": fault}))


def finding(fault: BadViTFault = "batch-mixing", check: str = "input-blindness") -> Finding:
    return diagnose(bad(fault), image_size=8, checks=[check]).causes[0]


def course(seeds: int) -> Course:
    names = tuple("abcdefghij")
    table = ImageTable(np.zeros((64, 8, 8, 3), np.uint8), np.arange(64) % 10, names, "digits train", split="train")
    return Course(
        splits=DataSplits(table, table, "test", names, "key"),
        preprocessing=Preprocessing(image_size=(8, 8), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
        seeds=tuple(range(seeds)),
    )


OWNER, RIVAL = Arm("owner", bad), Arm("rival", lambda: bad("none"))


def scripted(monkeypatch: pytest.MonkeyPatch, reached: Reached, seeds: int) -> Race:
    """The race of both, with these accuracies; mended copies that run later get theirs too."""

    def heat_of(arm: Arm, course: Course, seed: int) -> Heat:
        accuracy = float(reached[arm.name](seed))
        if accuracy < 0:
            raise NotTrainedError(Text(f"{arm.name} cannot be trained: it broke", f"{arm.name}を学習できません"))
        right = np.random.Generator(np.random.PCG64(seed)).permutation(1000) < 10 * accuracy
        return Heat(arm.name, seed, accuracy, 1.0, right=right)

    monkeypatch.setattr(contest, "heat_of", heat_of)
    monkeypatch.setattr(mending, "heat_of", heat_of)
    return race(RIVAL, OWNER, course(seeds))


def wobbling(mean: float, by: float) -> Callable[[int], float]:
    return lambda seed: mean + by * (-1) ** seed


def test_the_mend_gets_all_seeds_where_the_race_stopped_before(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1), "owner, mended": wobbling(45, 24)}
    run = scripted(monkeypatch, reached, 10)
    assert run.stopped_early
    assert len(run.of("rival")) == 5
    more, (cause,) = raced_mends([Only(OWNER, finding(), RIVAL)], run)
    assert [heat.seed for heat in cause.heats] == list(range(10))
    assert [len(more.of(name)) for name in ("rival", "owner")] == [10, 10]
    assert not more.stopped_early
    assert cause.confirmed


def test_it_runs_on_only_as_long_as_the_mend_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1), "owner, mended": wobbling(89, 1)}
    told: list[str] = []
    only = [Only(OWNER, finding(), RIVAL)]
    more, (cause,) = raced_mends(only, scripted(monkeypatch, reached, 10), lambda who, number, total: told.append(who))
    assert len(cause.heats) == len(more.of("owner")) == 5
    assert more.stopped_early
    assert told == ["owner, mended"] * 5


def test_with_several_mends_all_run_on_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1), "owner, mended": wobbling(45, 24)}
    only = [Only(OWNER, finding(), RIVAL)] * 2
    more, causes = raced_mends(only, scripted(monkeypatch, reached, 7), None)
    assert [len(cause.heats) for cause in causes] == [7, 7]
    assert len(more.heats) == 14


def test_a_mended_copy_that_cannot_be_trained_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1), "owner, mended": lambda seed: -1.0}
    _, (cause,) = raced_mends([Only(OWNER, finding(), RIVAL)], scripted(monkeypatch, reached, 3))
    assert (cause.done, cause.heats, cause.confirmed) == (None, (), False)
    assert cause.why_not is not None
    assert cause.why_not.en == "owner, mended cannot be trained: it broke"
    assert cause.why_not.ja == "owner, mendedを学習できません"


def test_models_that_break_on_a_later_seed_leave_the_seeds_before(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {
        "rival": lambda seed: 90.0 + seed % 2 if seed < 6 else -1.0,
        "owner": wobbling(20, 1),
        "owner, mended": wobbling(45, 24),
    }
    more, (cause,) = raced_mends([Only(OWNER, finding(), RIVAL)], scripted(monkeypatch, reached, 10))
    assert len(cause.heats) == len(more.of("rival")) == len(more.of("owner")) == 6


def test_a_fault_without_a_mend_has_no_reason_and_one_that_did_not_do_has(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1)}
    run = scripted(monkeypatch, reached, 2)
    nothing = Only(Arm("owner", lambda: bad("post-norm")), finding("post-norm", "residual"), RIVAL)
    elsewhere = Only(Arm("owner", lambda: bad("none")), finding(), RIVAL)
    _, causes = raced_mends([nothing, elsewhere], run)
    assert causes[0].why_not is None
    assert causes[1].why_not is not None
    assert causes[1].why_not.en == "the place to change was not found"


def test_a_mend_after_which_the_check_still_finds_it_is_not_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Reached = {"rival": wobbling(90, 0.5), "owner": wobbling(20, 1)}
    run = scripted(monkeypatch, reached, 2)
    monkeypatch.setattr(mending, "_is_gone", lambda *given: False)
    _, (cause,) = raced_mends([Only(OWNER, finding(), RIVAL)], run)
    assert cause.why_not is not None
    assert "still finds the fault" in cause.why_not.en
    assert "同じチェック" in cause.why_not.ja


class Twice(nn.Module):
    """Sequence first with the batch in front, and a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 16) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 5, 16) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", norm_first=True) for _ in range(2)
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0]).softmax(-1)


def twice() -> nn.Module:
    torch.manual_seed(0)
    return Twice()


def test_what_one_model_has_of_several_is_mended_at_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone leaves it at chance."""
    found = diagnose(twice(), image_size=8, checks=["input-blindness", "output"]).findings
    blind = next(each for each in found if each.id == "class-token-never-sees-a-patch")
    squeezed = next(each for each in found if each.id == "softmax-in-the-model")
    owner = Arm("owner", twice)
    run = scripted(
        monkeypatch, {"rival": wobbling(90, 0.5), "owner": wobbling(10, 1), "owner, mended": wobbling(12, 1)}, 3
    )
    _, (one, other, both) = raced_mends([Only(owner, blind, RIVAL), Only(owner, squeezed, RIVAL)], run)
    assert (one.together, other.together) == ((), ())
    assert both.together == ("class-token-never-sees-a-patch", "softmax-in-the-model")
    assert both.is_gone
    assert both.done is not None
    assert one.done is not None
    assert other.done is not None
    assert both.done.en == f"{one.done.en}; {other.done.en}"
    assert len(both.heats) == 3


def test_what_is_folded_under_another_is_mended_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose(twice(), image_size=8, checks=["input-blindness", "output"]).findings
    blind = next(each for each in found if each.id == "class-token-never-sees-a-patch")
    squeezed = next(each for each in found if each.id == "softmax-in-the-model")
    run = scripted(
        monkeypatch, {"rival": wobbling(90, 0.5), "owner": wobbling(10, 1), "owner, mended": wobbling(12, 1)}, 2
    )
    _, causes = raced_mends([Only(Arm("owner", twice), blind, RIVAL, (squeezed,))], run)
    assert [each.together for each in causes] == [(), (blind.id, squeezed.id)]


def test_the_copy_without_any_fault_is_the_sound_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same weights, bit for bit."""

    class Sound(Twice):
        def __init__(self) -> None:
            super().__init__()
            for block in self.blocks:
                block.self_attn.batch_first = True

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log()  # softmax and logarithm: the scores but for a constant

    mended_models: list[nn.Module] = []
    monkeypatch.setattr(contest, "heat_of", lambda arm, course, seed: Heat(arm.name, seed, 50.0, 1.0))
    monkeypatch.setattr(
        mending,
        "heat_of",
        lambda arm, course, seed: (mended_models.append(arm.make()), Heat(arm.name, seed, 50.0, 1.0))[1],
    )
    found = diagnose(twice(), image_size=8, checks=["input-blindness", "output"]).causes
    run = race(RIVAL, Arm("owner", twice), course(2))
    raced_mends([Only(Arm("owner", twice), each, RIVAL) for each in found], run)
    torch.manual_seed(0)
    sound, images = Sound().eval(), torch.randn(3, 3, 8, 8)
    scores = mended_models[-1].eval()(images)
    assert torch.allclose(scores.log_softmax(-1), sound(images), atol=1e-6)
