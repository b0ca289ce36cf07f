"""That the tests run with checked types at all: a hook that came too late would check nothing, and say nothing."""

from __future__ import annotations

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from vitscope.augment.colour import brightness
from vitscope.lens.randomness import seed_cpu


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        seed_cpu("3")  # type: ignore[arg-type]


def test_shapes_that_do_not_agree_are_refused() -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    brightness(images, torch.ones(2, 1, 1, 1))
    with pytest.raises(TypeCheckError):
        brightness(images, torch.ones(3, 1, 1, 1))
