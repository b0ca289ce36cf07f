"""What a user is told before the waiting begins: how long the race will take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from vitscope._core.errors import UsageError
from vitscope._core.preprocessing import Preprocessing
from vitscope.data import DataSplits, ImageTable
from vitscope.race.budget import budget_of
from vitscope.race.course import Course
from vitscope.race.entrants import Entrant
from vitscope.train.duration import Duration


def made() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))


PAIR = [Entrant(name, made) for name in "ab"]


@pytest.fixture
def course() -> Course:
    names = tuple("abcdefghij")
    table = ImageTable(np.zeros((64, 8, 8, 3), np.uint8), np.arange(64) % 10, names, "digits train", split="train")
    return Course(
        splits=DataSplits(table, table, "test", names, "key"),
        preprocessing=Preprocessing(image_size=(8, 8), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
    )


@pytest.mark.parametrize(("steps", "said"), [(1, "The race: 1 step of 32 images"), (2, "2 steps of 32 images")])
def test_one_step_is_one(course: Course, steps: int, said: str) -> None:
    told = budget_of(PAIR, replace(course, duration=Duration(float(steps), "st")))
    assert said in told.en
    assert f"32枚×{steps}ステップ" in told.ja
    assert torch.is_grad_enabled()


def test_the_limit_is_said_and_who_is_tried_is_told(course: Course) -> None:
    told: list[str] = []
    said = budget_of(PAIR, replace(course, duration=Duration(1.0, "st")), 3600.0, told.append)
    assert told == ["a", "b"]
    assert said.en.endswith(" After 60 min all of it is ended (--time-limit).")
    assert said.ja.endswith("60分を過ぎると、すべて打ち切られます（--time-limit）。")
    assert "--time-limit" not in budget_of(PAIR, replace(course, duration=Duration(1.0, "st"))).en


def test_a_race_that_the_limit_would_cut_is_refused_with_a_limit_that_suffices(course: Course) -> None:
    long = replace(course, duration=Duration(1e6, "st"))
    with pytest.raises(
        UsageError, match=r"--time-limit ends it after 1 s; give it longer with --time-limit \d+"
    ) as refused:
        budget_of(PAIR, long, 1.0)
    enough = int(str(refused.value).partition("with --time-limit ")[2].partition(",")[0])
    assert enough % 60 == 0
    budget_of(PAIR, long, 4.0 * enough)  # timings vary on a busy machine
    assert "--time-limitにより1秒で打ち切られます" in refused.value.text.ja
