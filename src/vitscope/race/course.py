"""What both are trained on in a race, and how: settings in, a training's spec and the measured images out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.augment import AugmentSpec
from vitscope.data import DataSplits, ImageTable
from vitscope.train.duration import Duration
from vitscope.train.spec import TrainSpec

STEPS, BATCH_SIZE, LR, SEEDS = 150, 32, 1e-3, 3
"""Of the race that nobody asks otherwise for: two specimens on two cores in about five minutes."""
MEASURED = 2_000
"""Validation images that are measured on, at most."""


@dataclass(frozen=True)
class Course:
    """What all arms are trained on, and how."""

    splits: DataSplits
    preprocessing: Preprocessing
    duration: Duration = field(default_factory=lambda: Duration(float(STEPS), "st"))
    batch_size: int = BATCH_SIZE
    lr: float = LR
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    measured: int = MEASURED

    @property
    def data(self) -> str:
        """The source's name."""
        return self.splits.train.name.removesuffix(f" {self.splits.train.split}")

    @property
    def classes(self) -> int:
        return len(self.splits.train.label_names)

    @property
    def a_batch(self) -> int:
        """Images in a step: no more than there are."""
        return min(self.batch_size, len(self.splits.train))

    @property
    def steps(self) -> int:
        return self.duration.steps(per_epoch=len(self.splits.train) // self.a_batch)

    @property
    def length(self) -> Text:
        """Its steps, for a sentence."""
        return Text(f"{self.steps} step{'' if self.steps == 1 else 's'}", f"{self.steps}ステップ")

    @property
    def more_steps(self) -> int:
        """Steps to try where these are too few."""
        return max(4 * self.steps, STEPS)

    @property
    def shown(self) -> ImageTable:
        """The images that are measured on: all for validation, or as many, evenly apart."""
        val = self.splits.val
        if len(val) <= self.measured:
            return val
        return val.subset(np.linspace(0, len(val) - 1, self.measured).astype(np.int64))

    def spec(self, seed: int) -> TrainSpec:
        """AdamW with a warm-up of a tenth and a cosine, in fp32."""
        return TrainSpec(
            duration=Duration(float(self.steps), "st"),
            batch_size=self.a_batch,
            lr=self.lr,
            warmup=Duration(10.0, "%"),
            gradient_clip=1.0,
            seed=seed,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "train_images": len(self.splits.train),
            "measured_images": min(self.measured, len(self.splits.val)),
            "steps": self.steps,
            "batch_size": self.a_batch,
            "lr": self.lr,
            "augmentation": self.augment.describe(),
            "seeds": list(self.seeds),
        }
