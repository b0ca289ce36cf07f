"""A model and images for trainings of a fraction of a second. Also run as a program, by the tests that kill a training.

    python train_samples.py FOLDER CASE KILL_AT

trains CASE in FOLDER and kills itself with signal 9 behind step KILL_AT.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitscope.data import BatchLoader, ImageTable
from vitscope.model.create import build
from vitscope.model.spec import ViTSpec
from vitscope.runs import RunFolder
from vitscope.train.events import Event, StepEnded
from vitscope.train.fit import FitResult, fit
from vitscope.train.spec import TrainSpec

IMAGES, CLASSES = 40, 4
SHADES = {"recipe": "small", "data": "shades"}

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.2},
    "stochastic depth": {"stochastic_depth": 0.5},
    "ema": {"ema": 0.9},
    "muon": {"optimizer": "muon"},
    "accumulation": {"accumulate": 2},
    "bf16": {"precision": "bf16", "ema": 0.9, "accumulate": 2},
    "bf16 by autocast": {"precision": "bf16", "fast": False},
    "sgd by the epoch": {"optimizer": "sgd", "schedule": "step", "schedule_unit": "epoch", "step_every": "1ep"},
    "everything": {
        "dropout": 0.1,
        "ema": 0.9,
        "optimizer": "muon",
        "accumulate": 2,
        "warmup": "20%",
        "gradient_clip": 0.5,
        "label_smoothing": 0.1,
    },
}
MODEL_KEYS = ("dropout", "stochastic_depth", "depth", "dim", "position", "pooling")


def table(images: int = IMAGES, classes: int = CLASSES, seed: int = 0) -> ImageTable:
    """Greyscale noise of 8×8 pixels whose brightness tells the class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, images)
    pixels = draw.integers(0, 90, (images, 8, 8, 1)) + 40 * labels[:, None, None, None]
    return ImageTable(pixels.astype(np.uint8), labels, tuple(map(str, range(classes))), "shades")


def small_vit(seed: int = 0, **switches: Any) -> nn.Module:
    """A ViT of 4 patches, width 16."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "image_size": 8,
        "patch_size": 4,
        "channels": 1,
        "classes": CLASSES,
        "dim": 16,
        "depth": 2,
        "heads": 2,
    }
    return build(ViTSpec.parse({**sizes, **switches}))


def spec_of(**settings: Any) -> TrainSpec:
    """Three epochs of 5 steps of 8 images."""
    return TrainSpec.parse({"duration": "3ep", "batch_size": 8, "lr": 0.01, "device": "cpu", **settings})


def loader(spec: TrainSpec, images: ImageTable | None = None) -> BatchLoader:
    size = spec.batch_size // spec.accumulate
    return BatchLoader(images or table(), batch_size=size, shuffle=True, seed=spec.seed, drop_last=True)


def val_loader() -> BatchLoader:
    return BatchLoader(table(13, seed=1), batch_size=5, shuffle=False)


def pixels(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def noisy(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """An augmentation that draws numbers."""
    return pixels(images) + 0.1 * torch.randn(images.shape, generator=generator), labels


def train(
    folder: Path | None = None, *, listeners: Any = (), resume: bool = False, **settings: Any
) -> tuple[nn.Module, FitResult]:
    """One small training: the trained model, and what `fit` gave."""
    model = small_vit(**{key: settings.pop(key) for key in MODEL_KEYS if key in settings})
    spec = spec_of(**settings)
    result = fit(
        model,
        loader(spec),
        spec,
        val_batches=val_loader(),
        augment=noisy,
        prepare=pixels,
        folder=RunFolder.create(folder, resume=resume) if folder is not None else None,
        resume=resume,
        identity=SHADES,
        listeners=listeners,
    )
    return model, result


def numbers(result: FitResult) -> list[tuple[float, ...]]:
    """The rows without what depends on the clock."""
    return [(r.epoch, r.step, r.train_loss, r.train_acc, r.val_loss, r.val_acc, r.lr) for r in result.rows]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def _killed_at(step: int) -> Any:
    def listen(event: Event) -> None:
        if isinstance(event, StepEnded) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


if __name__ == "__main__":
    torch.set_num_threads(1)
    RunFolder.create(sys.argv[1]).recipe.write_text("model: {}\n")
    train(
        Path(sys.argv[1]),
        listeners=[_killed_at(int(sys.argv[3]))],
        resume=True,
        checkpoint_every="3st",
        **CASES[sys.argv[2]],
    )
