"""Tables, divisions and the spec: what they hold, and that they cost little."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope._core.errors import ConfigError
from vitscope.data import DataSpec, ImageTable, mean_std, table
from vitscope.data.splitting import first_of_shuffle, stratified


def test_the_statistics_are_those_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHUNK_BYTES", 1000)
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    whole = ImageTable(images, np.zeros(50, np.int64), ("a", "b"), "t")
    rows = np.array([3, 9, 4, 44])
    for chosen, pixels in ((whole, images), (whole.subset(rows), images[rows])):
        mean, std = mean_std(chosen)
        np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 1, 2)), rtol=1e-9)


def test_a_constant_table_has_no_deviation() -> None:
    assert mean_std(ImageTable(np.full((4, 2, 2, 1), 51, np.uint8), np.zeros(4, np.int64), ("a",), "t"))[1] == (0.0,)


def test_a_subset_shares_the_pixels() -> None:
    whole = ImageTable(np.zeros((10, 2, 2, 3), np.uint8), np.arange(10), ("a",) * 10, "t")
    part = whole.subset(np.array([1, 5]), name="part")
    assert np.shares_memory(part.images, whole.images)
    assert (len(part), part.name, part.image_size, part.channels) == (2, "part", (2, 2), 3)
    assert part.labels.tolist() == [1, 5]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.9), st.integers(0, 2**32))
def test_a_stratified_division_is_complete_and_in_proportion(labels: list[int], fraction: float, seed: int) -> None:
    values = np.array(labels)
    keep, held = stratified(values, fraction, seed)
    assert sorted([*keep, *held]) == list(range(len(values)))
    for label in set(labels):
        of_class = (values == label).sum()
        assert (values[keep] == label).any()
        assert abs((values[held] == label).sum() - of_class * fraction) <= 1 + of_class / len(values)
    again = stratified(values, fraction, seed)
    np.testing.assert_array_equal(held, again[1])


def test_the_seed_changes_who_is_held_out_and_a_larger_limit_includes_a_smaller() -> None:
    labels = np.arange(200) % 4
    assert stratified(labels, 0.2, 0)[1].tolist() != stratified(labels, 0.2, 1)[1].tolist()
    assert set(first_of_shuffle(100, 10, 3)) < set(first_of_shuffle(100, 20, 3))


def test_the_spec_loads_nothing_heavy() -> None:
    code = "import sys, vitscope.data, vitscope.data.spec; print([m for m in ('torch','datasets','pyarrow','sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_data_loads_neither_torch_nor_datasets() -> None:
    code = (
        "import sys; from vitscope.data import DataSpec, open_data; open_data(DataSpec(source='digits'), image_size=(8, 8));"
        "print([m for m in ('torch', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": "digits", "skip_corupt": True}, "unknown key 'data.skip_corupt' (did you mean 'skip_corrupt'?)"),
        ({"source": "digits", "val_fraction": 1.5}, "data.val_fraction is 1.5, expected a number less than 1"),
        (
            {"source": "digits", "resize": "cop"},
            "data.resize is 'cop', expected one of 'crop' or 'squash' (did you mean 'crop'?)",
        ),
        (
            {"source": "digits", "val_fraction": 0.1, "val_split": "test"},
            "data: val_fraction and val_split are both given; hold a part out or name a split, not both",
        ),
        (
            {"source": "digits", "archive": "x.tar.gz"},
            "data: archive goes with source cifar10 or cifar100, not with 'digits'; leave it out",
        ),
        ({"source": "digits", "limit": 0}, "data.limit is 0, expected a number greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit_get_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DataSpec.parse(values, where="data")
    assert str(caught.value) == sentence


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in DataSpec.model_fields.values())
