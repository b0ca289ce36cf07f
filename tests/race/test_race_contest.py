"""The race: both arms meet the same batches from the same start, no heat leaves a trace in the next, and what cannot be trained is said."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitscope._core.errors import Interrupted
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.augment import AugmentSpec
from vitscope.data import DataSplits, ImageTable
from vitscope.race.contest import Arm, NotTrainedError, heat_of, in_words, made, mended, race
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
    """A model that tells what it was given in training; a race trains copies, which tell the same function."""

    def __init__(self, width: int, tell: Callable[[Tensor], None] | None = None) -> None:
        super().__init__()
        self.between = nn.Linear(8 * 8 * 3, width)
        self.head = nn.Linear(width, 2)
        self.tell = tell

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.tell is not None:
            self.tell(x.detach().clone())
        return self.head(self.between(x.flatten(1)))


def test_both_arms_get_the_same_pixels_in_the_same_order() -> None:
    seen: list[list[Tensor]] = []

    def arm(width: int) -> Arm:
        def make() -> nn.Module:
            batches: list[Tensor] = []
            seen.append(batches)
            return Probe(width, lambda x: batches.append(x))

        return Arm(str(width), make)

    race(arm(3), arm(17), course(steps=6, seeds=(0, 1), augment=AugmentSpec(crop=2, flip=0.5)))
    one, other, again, _ = (torch.stack(batches) for batches in seen)
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


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, NotImplementedError, ZeroDivisionError])
def test_what_cannot_be_trained_is_said_in_a_sentence(error: type[Exception]) -> None:
    class Broken(Probe):
        def forward(self, x: Tensor) -> Tensor:
            raise error("no way")

    with pytest.raises(NotTrainedError, match=rf"broken cannot be trained: {error.__name__} \(no way\)") as raised:
        heat_of(Arm("broken", lambda: Broken(4)), course(), 0)
    assert raised.value.text.ja == f"brokenを学習できません：{error.__name__} (no way)。先にこれを直してください"


def test_a_mended_copy_is_called_so_in_both_languages() -> None:
    assert in_words(mended("x")) == Text("x, mended", "x（修正したコピー）")
    assert in_words("x") == Text("x", "x")


def test_an_interruption_is_no_failure_of_the_model() -> None:
    class Stopped(Probe):
        def forward(self, x: Tensor) -> Tensor:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        heat_of(Arm("stopped", lambda: Stopped(4)), course(), 0)


def test_what_a_factory_keeps_is_not_trained() -> None:
    """A layer at the module's top, a default argument, a cached model: the second heat starts where the first did."""
    shared, whole = nn.Linear(8 * 8 * 3, 4), Probe(4)

    def with_shared_layer() -> nn.Module:
        model = Probe(4)
        model.between = shared
        return model

    @lru_cache
    def cached() -> nn.Module:
        return whole

    for make in (with_shared_layer, cached):
        before = shared.weight.detach().clone(), whole.head.weight.detach().clone()
        first = heat_of(Arm("a", make), course(), 0)
        assert torch.equal(before[0], shared.weight)
        assert torch.equal(before[1], whole.head.weight)
        again = heat_of(Arm("a", make), course(), 0)
        assert first.loss == again.loss


def test_a_compiled_model_is_raced_as_the_model_that_it_is() -> None:
    model = made(lambda: torch.compile(Probe(4), backend="eager"), 0)  # type: ignore[arg-type,return-value]
    assert isinstance(model, Probe)
