"""The race: both arms meet the same batches from the same start, intervals are honest, and it stops early only where it may."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import AugmentSpec
from vitscope.data import DataSplits, ImageTable
from vitscope.race.contest import Arm, Heat, gap, heat_of, is_beyond_doubt, made, race
from vitscope.race.course import Course
from vitscope.train.duration import Duration


def course(steps: int = 4, seeds: tuple[int, ...] = (0, 1, 2), augment: AugmentSpec | None = None) -> Course:
    """Dark and bright squares, which anything can learn."""
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (48, 8, 8, 3), dtype=np.uint8)
    labels = (pixels.mean(axis=(1, 2, 3)) > 127).astype(np.int64)
    train = ImageTable(pixels[:32], labels[:32], ("dark", "bright"), "squares train", split="train")
    val = ImageTable(pixels[32:], labels[32:], ("dark", "bright"), "squares test", split="test")
    half = (0.5,) * 3
    return Course(
        splits=DataSplits(train, val, "test", ("dark", "bright"), "key"),
        preprocessing=Preprocessing(image_size=(8, 8), channels=3, mean=half, std=half),
        duration=Duration(float(steps), "st"),
        batch_size=8,
        seeds=seeds,
        augment=augment or AugmentSpec(),
    )


class Probe(nn.Module):
    """A model that keeps what it was given in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.between = nn.Linear(8 * 8 * 3, width)
        self.head = nn.Linear(width, 2)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return self.head(self.between(x.flatten(1)))


def test_an_interval_ends_where_no_difference_can_be() -> None:
    def heats(arm: str, *right: float) -> list[Heat]:
        return [Heat(arm, seed, each, 1.0, right=np.arange(200) < 2 * each) for seed, each in enumerate(right)]

    wide = gap(heats("a", 73.0, 90.0), heats("b", 10.0, 9.0))
    assert wide.low > -100
    assert wide.high == 100
    same = gap(heats("a", 50.0, 50.0), heats("b", 50.0, 50.0))
    assert same.low < -0.3
    assert same.high > 0.3
    odd = gap(heats("a", 39.74), heats("b", 36.66))
    assert odd.shown == pytest.approx(3.0)
    assert odd.points == pytest.approx(3.08)


def test_both_arms_get_the_same_pixels_in_the_same_order() -> None:
    models: list[Probe] = []

    def arm(width: int) -> Arm:
        def make() -> nn.Module:
            models.append(Probe(width))
            return models[-1]

        return Arm(str(width), make)

    race(arm(3), arm(17), course(steps=6, seeds=(0, 1), augment=AugmentSpec(crop=2, flip=0.5)))
    one, other = (torch.stack(model.seen) for model in models[:2])
    again, _ = (torch.stack(model.seen) for model in models[2:])
    assert torch.equal(one, other)
    assert one.shape[0] == 6
    assert not torch.equal(one, again), "another seed is another order"


def test_a_heat_can_be_run_again() -> None:
    arm = Arm("probe", lambda: Probe(4))
    first, second = heat_of(arm, course(), 1), heat_of(arm, course(), 1)
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)
    assert np.array_equal(first.right, second.right)


def test_start_values_follow_from_the_seed_whatever_they_are_drawn_with() -> None:
    def draw() -> nn.Module:
        model = nn.Linear(3, 3)
        with torch.no_grad():
            model.bias += random.random() + float(np.random.rand())
        return model

    one, other, third = made(draw, 3), made(draw, 3), made(draw, 4)
    assert isinstance(one.bias, Tensor)
    assert torch.equal(one.bias, other.bias)  # type: ignore[arg-type]
    assert not torch.equal(one.bias, third.bias)  # type: ignore[arg-type]


def test_random_states_are_as_they_were() -> None:
    # Python's own is put back too, but the checks of types under the tests draw from it
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    heat_of(Arm("probe", lambda: Probe(4)), course(), 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


def test_scores_in_a_tuple_are_trained_too() -> None:
    class Pair(Probe):
        def forward(self, x: Tensor) -> tuple[Tensor, str]:  # type: ignore[override]
            return super().forward(x), "aside"

    assert 0 <= heat_of(Arm("pair", lambda: Pair(4)), course(), 0).accuracy <= 100


def test_what_cannot_be_trained_is_said_in_a_sentence() -> None:
    class Broken(Probe):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no way")

    with pytest.raises(ModelError, match=r"broken cannot be trained: RuntimeError \(no way\)"):
        heat_of(Arm("broken", lambda: Broken(4)), course(), 0)


def heats(arm: str, *accuracies: float, images: int = 1000) -> list[Heat]:
    return [
        Heat(arm, seed, accuracy, 1.0, right=np.arange(images) < images * accuracy / 100)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_the_interval_is_student_s_over_paired_differences() -> None:
    found = gap(heats("a", 80.0, 90.0, 85.0), heats("b", 50.0, 55.0, 60.0))
    assert found.points == pytest.approx(30.0)
    half = 4.303 * np.std([30, 35, 25], ddof=1) / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((30 - half, 30 + half))
    assert found.is_clear


def test_two_seeds_that_agree_prove_no_more_than_their_images() -> None:
    found = gap(heats("a", 60.0, 60.0, images=100), heats("b", 55.0, 55.0, images=100))
    error = 100 * np.sqrt(0.05 * 0.95) / 10
    assert found.high - found.points == pytest.approx(1.96 * error / np.sqrt(2))


def test_the_interval_covers_what_it_says() -> None:
    """Of 2000 races of equals, over three seeds, about one in twenty looks clear."""
    generator = np.random.Generator(np.random.PCG64(0))
    wrong = 0
    for _ in range(2000):
        one, other = 50 + 5 * generator.standard_normal((2, 3))
        wrong += gap(heats("a", *one, images=20), heats("b", *other, images=20)).is_clear
    assert wrong / 2000 < 0.06


@pytest.mark.parametrize(
    ("ones", "others", "stops"),
    [
        ((90.0, 91.0), (10.0, 10.0), True),
        ((10.0, 10.0), (90.0, 91.0), True),
        ((90.0, 30.0), (10.0, 10.0), False),  # the interval of two such seeds holds zero
        ((15.0, 15.0), (10.0, 10.0), False),  # clear, and not by far
        ((90.0, 10.0), (10.0, 90.0), False),
    ],
)
def test_it_stops_only_where_no_further_seed_is_needed(
    ones: tuple[float, ...], others: tuple[float, ...], stops: bool
) -> None:
    assert is_beyond_doubt(heats("a", *ones), heats("b", *others)) is stops


def test_one_that_diverged_counts_as_chance() -> None:
    lost = [Heat("b", 0, 10.0, float("nan"), diverged=True)]
    found = gap(heats("a", 90.0), lost)
    assert found.points == pytest.approx(80.0)
    assert found.is_clear
    assert lost[0].to_dict()["train_loss"] is None
