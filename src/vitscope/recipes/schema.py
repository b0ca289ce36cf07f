"""A recipe: the specs of model, data, augmentation and training composed, and what it reached. YAML in, spec out. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from vitscope._core.spec import Spec
from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.data.spec import DataSpec
from vitscope.train.duration import TrainingDuration
from vitscope.train.spec import TrainSpec

RECORDS = "benchmarks/results/"
MODEL_EXPECTED = "expected settings; write model: {name: vit-ti4-32}"


class Words(Spec):
    """A sentence in both languages."""

    en: str = ""
    ja: str = ""

    @property
    def text(self) -> Text:
        return Text(self.en, self.ja)


class Normalise(Spec):
    """Mean and standard deviation of each channel on the 0 to 1 scale; left out of a recipe, they are measured on the training images."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class Expect(Spec):
    """What a recipe reached, and where that was measured."""

    val_acc: float
    """Per cent, of the last epoch; the mean where there are several seeds."""
    after: TrainingDuration
    spread: float | None = None
    """Standard deviation over the seeds, in points."""
    seeds: Annotated[int, Field(ge=1)] = 1
    minutes: float | None = None
    hardware: str = ""
    data: str = ""
    date: Annotated[str, BeforeValidator(str)] = ""  # YAML reads 2026-01-31 as a date
    record: str = ""
    """File or publication in which the measurement stands."""

    @property
    def measured_here(self) -> bool:
        """Whether its record lies in this repository; anything else is somebody's published number."""
        return self.record.startswith(RECORDS)


def _settings_of_model(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise PydanticCustomError("settings", MODEL_EXPECTED)
    return value


class Recipe(Spec):
    """Everything a training is made of."""

    name: str = "unnamed"
    summary: Words = Words()
    model: Annotated[dict[str, Any], BeforeValidator(_settings_of_model)]
    """`{name: good-vit}`, `{name: vit-ti4-32, dim: 64}` or a plain ViT's settings; `classes` and `channels` follow the data if left out."""
    data: DataSpec
    normalise: Normalise | None = None
    augment: AugmentSpec = AugmentSpec()
    train: TrainSpec = TrainSpec()
    reference: str | None = None
    """The learning curve that a run is held against, where the data are the reference's."""
    expect: tuple[Expect, ...] = ()
