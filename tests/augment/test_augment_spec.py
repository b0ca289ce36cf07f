"""The settings: what is refused and in which words, what is said about them, and that torch stays out."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from vitscope._core.errors import ConfigError
from vitscope.augment import AugmentSpec, RandAugmentSpec


def test_everything_is_off_by_default() -> None:
    assert AugmentSpec().describe() == "normalise"
    assert not AugmentSpec().mixes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corp": 4}, "unknown key 'augment.corp' (did you mean 'crop'?)"),
        ({"rand_augment": {"tabel": "fitted"}}, "unknown key 'augment.rand_augment.tabel' (did you mean 'table'?)"),
        ({"rand_augment": {"table": "publish"}}, "(did you mean 'published'?)"),
        ({"rand_augment": {"m": 31}}, "augment.rand_augment.m is 31, expected a number less than or equal to 30"),
        ({"rand_augment": {"n": 0}}, "augment.rand_augment.n is 0"),
        ({"crop": True}, "augment.crop is true"),
        ({"crop": -1}, "augment.crop is -1"),
        ({"flip": 1.5}, "augment.flip is 1.5"),
        ({"mixup": -0.1}, "augment.mixup is -0.1"),
        ({"mixup": float("nan")}, "augment.mixup is nan"),
        ({"random_erasing": 2}, "augment.random_erasing is 2"),
        ({"random_resized_crop": [0.9, 0.1]}, "expected the smaller area first"),
        ({"random_resized_crop": [0, 1]}, "augment.random_resized_crop.0 is 0"),
        ({"crop": 4, "random_resized_crop": [0.1, 1]}, "set one of them"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AugmentSpec.parse(values, "augment")
    assert message in str(caught.value)


def test_flip_may_be_yes_or_no() -> None:
    assert AugmentSpec.parse({"flip": True}).flip == 0.5
    assert AugmentSpec.parse({"flip": False}).flip == 0.0


def test_plain_values_and_back() -> None:
    spec = AugmentSpec(rand_augment=RandAugmentSpec(n=1, m=9), random_resized_crop=(0.1, 1.0), flip=0.5, mixup=0.8)
    assert AugmentSpec.parse(spec.to_dict()) == spec


def test_one_line_says_what_is_done_in_its_order() -> None:
    spec = AugmentSpec(
        rand_augment=RandAugmentSpec(table="published"), crop=4, flip=0.5, colour_jitter=0.4, random_erasing=0.25,
        mixup=0.8, cutmix=1.0, mix_probability=0.9,
    )  # fmt: skip
    assert spec.describe() == (
        "RandAugment (N = 2, M = 14, published table), random crop (zero padding 4), horizontal flip (0.5), "
        "colour jitter (± 0.4), random erasing (0.25), normalise, "
        "mixup (α = 0.8) or cutmix (α = 1), cutmix in 50%, 90% of batches"
    )
    assert AugmentSpec(random_resized_crop=(0.08, 1.0), cutmix=1.0).describe() == (
        "random resized crop (8% to 100% of the area), normalise, cutmix (α = 1)"
    )


def test_settings_need_no_torch() -> None:
    code = "import sys; from vitscope.augment import AugmentSpec; import vitscope.augment.spec; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_name_that_does_not_exist() -> None:
    import vitscope.augment

    with pytest.raises(AttributeError, match="no attribute 'Augmentor'"):
        _ = vitscope.augment.Augmentor
    assert "Augmentation" in dir(vitscope.augment)
