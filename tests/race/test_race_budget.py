"""What a user is told before the waiting begins: how long the race will take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

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
