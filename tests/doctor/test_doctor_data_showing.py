"""The code that shows images with their labels runs on whatever was given."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from vitscope.doctor.data import examine_data
from vitscope.doctor.data.reading import look_at
from vitscope.doctor.data.seen import TRAINING

IMAGES = torch.rand(24, 3, 8, 9, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 4
PAIRS = TensorDataset(IMAGES, LABELS)
SINGLE = [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)]
PICTURES = [(Image.fromarray((255 * image).byte().permute(1, 2, 0).numpy()), int(i)) for image, i in SINGLE]
ITEMS = [{"image": image, "label": label} for image, label in PICTURES]
SETS: dict[str, Any] = {
    "loader": DataLoader(PAIRS, 8),
    "loader of triples": DataLoader(TensorDataset(IMAGES, LABELS, torch.arange(24)), 8),
    "loader of dictionaries": DataLoader([{"pixel_values": x, "labels": y} for x, y in SINGLE], 8),  # type: ignore[arg-type]
    "data set": PAIRS,
    "data set of arrays": [(x.numpy(), int(y)) for x, y in SINGLE],
    "channels last": [(x.permute(1, 2, 0).numpy(), int(y)) for x, y in SINGLE],
    "pictures": PICTURES,
    "dictionaries": ITEMS,
    "arrays": (IMAGES.numpy(), LABELS.numpy()),
    "grey without channels": (IMAGES[:, 0], LABELS),
    "one batch": {"image": IMAGES, "label": LABELS},
    "batches": [(IMAGES[:12], LABELS[:12]), (IMAGES[12:], LABELS[12:])],
}


@pytest.mark.parametrize("name", SETS)
def test_ten_images_are_shown_with_their_labels(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shapes: list[tuple[int, ...]] = []
    plot = SimpleNamespace(imshow=lambda image: shapes.append(np.asarray(image).shape), show=lambda: None)
    code = look_at(SETS[name], TRAINING, 5.0).showing
    exec(code, {"train": SETS[name], "itertools": itertools, "plt": plot})
    assert len(capsys.readouterr().out.splitlines()) == len(shapes) >= 8
    assert set(shapes) == {(8, 9)} if "without" in name else {(8, 9, 3)}


@pytest.mark.e2e
def test_the_finding_has_the_code_for_what_was_given() -> None:
    images, labels = torch.rand(400, 1, 6, 6), torch.randint(4, (400,))
    loader = DataLoader(TensorDataset(images, labels), 50, shuffle=True)
    (found,) = examine_data(loader, classes=4, checks=["data-labels"]).findings
    assert found.id == "labels-not-read-by-probes"
    assert found.fault.code.startswith("batch = next(iter(train))")
