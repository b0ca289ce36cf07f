"""The policy as a whole: order of the steps, determinism, independence of the images, types and shapes."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitscope._core.errors import DataError
from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import Augmentation, AugmentSpec, geometry, policy

SPECS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "crop and flip": {"crop": 4, "flip": 0.5},
    "resized crop": {"random_resized_crop": (0.1, 1.0), "flip": 0.5},
    "erasing": {"random_erasing": 0.7},
    "colour jitter": {"colour_jitter": 0.4},
    "published": {"rand_augment": {"table": "published"}, "crop": 4, "flip": 0.5},
    "fitted": {"rand_augment": {"table": "fitted", "m": 25}},
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "all": {
        "rand_augment": {}, "crop": 2, "flip": 0.5, "colour_jitter": 0.2, "random_erasing": 0.25, "mixup": 0.8, "cutmix": 1.0,
    },
}  # fmt: skip
MIXING = {"mixup", "cutmix", "all"}


def augmentation(name: str, channels: int = 3, **changes: Any) -> Augmentation:
    grey = {"channels": 1, "mean": (0.5,), "std": (0.25,)} if channels == 1 else {}
    preprocessing = Preprocessing.parse({"image_size": 32, **grey})
    return Augmentation(AugmentSpec.parse({**SPECS[name], **changes}), 10, normalise=preprocessing.normalise)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(B: int = 16, C: int = 3, H: int = 32, W: int = 32) -> tuple[Tensor, Tensor]:
    g = seeded(9)
    return torch.randint(0, 256, (B, C, H, W), generator=g, dtype=torch.uint8), torch.randint(10, (B,), generator=g)


@pytest.mark.parametrize("shape", [(16, 3, 32, 32), (16, 1, 32, 32), (1, 3, 32, 32), (6, 3, 20, 36), (2, 1, 2, 3)])
@pytest.mark.parametrize("name", SPECS)
def test_shapes_and_types(name: str, shape: tuple[int, int, int, int]) -> None:
    images, labels = batch(*shape)
    before = images.clone()
    out, targets = augmentation(name, shape[1])(images, labels, seeded())
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert torch.equal(images, before), "the batch given must stay as it was"
    if name in MIXING:
        assert targets.dtype == torch.float32
        assert targets.shape == (len(images), 10)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(images)))
        assert (targets >= 0).all()
    else:
        assert torch.equal(targets, labels)


@pytest.mark.parametrize("name", SPECS)
def test_same_seed_same_result_and_no_other_chance(name: str) -> None:
    images, labels = batch()
    augment = augmentation(name)
    first = augment(images, labels, seeded())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.manual_seed(123)
    again = augment(images, labels, seeded())
    assert torch.equal(torch.get_rng_state(), torch.manual_seed(123).get_state())
    assert (np.random.get_state()[1] == numpy_state).all()
    torch.set_rng_state(torch_state)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    if name != "nothing":
        assert not torch.equal(first[0], augment(images, labels, seeded(1))[0])


@pytest.mark.parametrize("name", [name for name in SPECS if name not in MIXING])
def test_an_image_does_not_depend_on_its_neighbours(name: str) -> None:
    images, labels = batch()
    augment = augmentation(name)
    other = images.clone()
    other[3] = 255 - other[3] // 2
    same = (augment(images, labels, seeded())[0] == augment(other, labels, seeded())[0]).flatten(1).all(dim=1)
    assert same.sum() == 15 + int(same[3])


@pytest.mark.parametrize("name", ["crop and flip", "resized crop", "erasing", "colour jitter", "published", "fitted"])
def test_each_image_gets_its_own_parameters(name: str) -> None:
    images, labels = batch(1)
    out, _ = augmentation(name)(images.expand(64, -1, -1, -1), labels.expand(64), seeded())
    assert len(out.flatten(1).unique(dim=0)) > 12


def test_order_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def note(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: (done.append(name), real(*a, **k))[1])

    for owner, name in (
        (policy, "rand_augment"), (geometry, "crop_and_flip"), (policy.colour, "brightness"), (geometry, "cover"),
        (policy.mixing, "mixup"), (policy.mixing, "cutmix"),
    ):  # fmt: skip
        note(owner, name)
    spec = AugmentSpec.parse({**SPECS["all"], "rand_augment": {"m": 1}})
    normalise = Preprocessing(image_size=32).normalise
    augment = Augmentation(spec, 10, normalise=lambda images: (done.append("normalise"), normalise(images))[1])
    augment(*batch(4), seeded())
    steps = list(dict.fromkeys(done[done.index("crop_and_flip") :]))
    assert done[0] == "rand_augment"
    assert steps[:4] == ["crop_and_flip", "brightness", "cover", "normalise"]
    assert steps[4] in {"mixup", "cutmix"}


def test_flip_and_crop_by_their_probability() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(2000, 1, 8, 32)
    labels = torch.zeros(2000, dtype=torch.int64)
    raw = Augmentation(AugmentSpec(flip=0.25), 10, normalise=lambda x: x.float())
    flipped = raw(ramp, labels, seeded())[0][:, 0, 0, 0] == 31
    assert 0.22 < flipped.float().mean() < 0.28
    moved = Augmentation(AugmentSpec(crop=2), 10, normalise=lambda x: x.float())(ramp + 1, labels, seeded())[0]
    shift = moved[:, 0, 4, 8] - 9
    assert sorted(shift.unique().tolist()) == [-2, -1, 0, 1, 2]
    assert torch.bincount((shift + 2).long()).min() > 330  # 400 expected


def test_erasing_by_its_probability_and_area() -> None:
    images = torch.zeros(3000, 3, 32, 32, dtype=torch.uint8)
    erase = Augmentation(AugmentSpec(random_erasing=0.5), 10, normalise=lambda x: x.float())
    out = erase(images, torch.zeros(3000, dtype=torch.int64), seeded())[0]
    covered = (out != 0).any(dim=1).float().mean(dim=(1, 2))
    assert 0.46 < (covered > 0).float().mean() < 0.54
    assert covered[covered > 0].min() > 0.01
    assert covered.max() < 0.36


@pytest.mark.parametrize(("switch", "low", "high"), [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.3, 0.7)])
def test_mixup_or_cutmix_by_the_batch(switch: float, low: float, high: float) -> None:
    """With images of two colours a mixed-up batch has colours in between and a cut-and-mixed one has none."""
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 32, 32)
    spec = AugmentSpec(mixup=1.0, cutmix=1.0, switch_probability=switch)
    augment = Augmentation(spec, 2, normalise=lambda x: x.float() / 255)
    g, cut = seeded(), []
    while len(cut) < 40:
        out, targets = augment(images, torch.tensor([0, 1]), g)
        torch.testing.assert_close(out.mean(dim=(1, 2, 3)), targets[:, 1])
        if 0.02 < float(targets[0, 1]) < 0.98:
            cut.append(bool(((out == 0) | (out == 1)).all()))
    assert low <= sum(cut) / len(cut) <= high


def test_mix_probability_leaves_batches_whole_but_soft() -> None:
    images, labels = batch()
    augment = augmentation("mixup", mix_probability=0.0)
    out, targets = augment(images, labels, seeded())
    assert torch.equal(out, augmentation("nothing")(images, labels, seeded())[0])
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, 10).float())


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8).byte(), torch.zeros(2, 4, 8, 8).byte()]
)
def test_other_images_are_refused(images: Tensor) -> None:
    call = inspect.unwrap(Augmentation.__call__)  # without the annotations' own check, which only tests have
    with pytest.raises(DataError, match="expected uint8 pixels B×C×H×W with one or three channels"):
        call(augmentation("nothing"), images, torch.zeros(2, dtype=torch.int64), seeded())


def test_describes_itself() -> None:
    assert augmentation("crop and flip").describe() == "random crop (zero padding 4), horizontal flip (0.5), normalise"
