"""What a race tells: intervals are honest, one seed proves nothing, and a race stops early only where it may."""

from __future__ import annotations

import numpy as np
import pytest

from vitscope.race.gaps import Gap, Heat, gap, is_beyond_doubt


def heats(arm: str, *accuracies: float, images: int = 1000) -> list[Heat]:
    return [
        Heat(arm, seed, accuracy, 1.0, right=np.arange(images) < images * accuracy / 100)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_an_interval_ends_where_no_difference_can_be() -> None:
    wide = gap(heats("a", 73.0, 90.0, images=200), heats("b", 10.0, 9.0, images=200))
    assert wide.low > -100
    assert wide.high == 100
    same = gap(heats("a", 50.0, 50.0, images=200), heats("b", 50.0, 50.0, images=200))
    assert same.low < -0.3
    assert same.high > 0.3


def test_the_interval_is_student_s_over_paired_differences() -> None:
    found = gap(heats("a", 80.0, 90.0, 85.0), heats("b", 50.0, 55.0, 60.0))
    assert found.points == pytest.approx(30.0)
    half = 4.303 * np.std([30, 35, 25], ddof=1) / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((30 - half, 30 + half))
    assert found.is_clear


def test_seeds_that_agree_prove_no_more_than_their_images() -> None:
    """More seeds on the same images make the interval no narrower than those images can tell."""
    error = 100 * np.sqrt(0.05 * 0.95) / 10
    for seeds in (2, 10):
        found = gap(heats("a", *[60.0] * seeds, images=100), heats("b", *[55.0] * seeds, images=100))
        assert found.high - found.points == pytest.approx(1.96 * error)


def test_three_images_on_ten_seeds_are_no_clear_difference() -> None:
    right = np.arange(360) < 300
    fewer = right & (np.arange(360) >= 3)
    ones = [Heat("a", seed, 100 * float(right.mean()), 1.0, right=right) for seed in range(10)]
    others = [Heat("b", seed, 100 * float(fewer.mean()), 1.0, right=fewer) for seed in range(10)]
    assert not gap(ones, others).is_clear


def test_one_seed_is_never_clear() -> None:
    found = gap(heats("a", 90.0), heats("b", 10.0))
    assert (found.points, found.low, found.high) == (80.0, -100.0, 100.0)
    assert not found.is_clear
    told = found.to_dict()
    assert (told["points"], told["low"], told["high"], told["clear"]) == (80.0, None, None, False)


def test_what_is_printed_is_what_the_json_holds() -> None:
    found = gap(heats("a", 61.16, 61.16), heats("b", 49.54, 49.44))
    assert found.shown == found.points
    assert found.to_dict()["points"] == pytest.approx(11.67)


def test_the_other_way_round() -> None:
    assert Gap("a", "b", 2.0, -1.0, 5.0, 3).turned == Gap("b", "a", -2.0, -5.0, 1.0, 3)


def test_the_interval_covers_what_it_says() -> None:
    """Of 2000 races of equals, over three seeds, about one in twenty looks clear."""
    generator = np.random.Generator(np.random.PCG64(0))
    wrong = 0
    for _ in range(2000):
        one, other = 50 + 5 * generator.standard_normal((2, 3))
        wrong += gap(heats("a", *one, images=20), heats("b", *other, images=20)).is_clear
    assert wrong / 2000 < 0.06


FIVE_90, FIVE_10 = (90.0, 91.0, 90.0, 91.0, 90.0), (10.0,) * 5


@pytest.mark.parametrize(
    ("ones", "others", "stops"),
    [
        (FIVE_90, FIVE_10, True),
        (FIVE_10, FIVE_90, True),
        (FIVE_90[:4], FIVE_10[:4], False),  # four seeds are too few where a model learns on some only
        ((90.0, 30.0, 90.0, 21.0, 90.0), FIVE_10, False),  # the 99 % interval of such seeds holds zero
        ((15.0,) * 5, FIVE_10, False),  # clear, and not by far
        ((90.0, 90.0, 90.0, 90.0, 10.0), FIVE_10, False),
    ],
)
def test_it_stops_only_where_no_further_seed_is_needed(
    ones: tuple[float, ...], others: tuple[float, ...], stops: bool
) -> None:
    assert is_beyond_doubt(heats("a", *ones), heats("b", *others)) is stops


def wrongly_clear(seeds: int, low: float, high: float, races: int = 3000) -> float:
    """The part of races of two equals, which learn on every second seed only, that end with a clear difference, early or at the last seed."""
    generator, wrong = np.random.Generator(np.random.PCG64(0)), 0
    for _ in range(races):
        learns = generator.random((2, seeds)) < 0.5
        reached = np.where(learns, high, low) + generator.standard_normal((2, seeds))
        one, other = (
            [Heat(name, s, float(x), 1.0) for s, x in enumerate(row)] for name, row in zip("ab", reached, strict=True)
        )
        stops = any(is_beyond_doubt(one[:count], other[:count]) for count in range(2, seeds))
        wrong += stops or gap(one, other).is_clear
    return wrong / races


@pytest.mark.parametrize(("seeds", "at_most"), [(3, 0.05), (5, 0.035), (6, 0.05), (10, 0.07)])
@pytest.mark.parametrize("low", [10.0, 60.0])
def test_a_model_that_learns_on_every_second_seed_looks_no_clearer_for_stopping(
    seeds: int, at_most: float, low: float
) -> None:
    """Measured over 200,000 races: 3.8 % of 3 seeds, 2.3 % of 5, 3.7 % of 6, 5.6 % of 10, as without stopping; stops after two seeds made it 13 to
    17 %."""
    assert wrongly_clear(seeds, low, 90.0) < at_most


def test_one_that_diverged_counts_as_chance_and_is_not_called_measured() -> None:
    lost = [Heat("b", seed, 10.0, float("nan"), diverged=True) for seed in range(2)]
    found = gap(heats("a", 90.0, 91.0), lost)
    assert found.points == pytest.approx(80.5)
    assert found.is_clear
    told = lost[0].to_dict()
    assert (told["train_loss"], told["accuracy"], told["counted_as"]) == (None, None, 10.0)
