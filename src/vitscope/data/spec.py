"""Which images a run learns from and is measured on. In goes YAML, out comes a validated `DataSpec`; no heavy library is loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vitscope._core.spec import Spec


class DataSpec(Spec):
    """The settings below `data:` in a recipe. Image size and channels are the model's, not the data's."""

    source: str = Field(
        min_length=1,
        description="digits, cifar10, cifar100, hub:owner/name, a folder of class folders, a folder of parquet files, "
        "or cifar10:PATH with PATH the official binary archive",
    )
    val_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="part of the training split that is held out for the val_ columns (stratified, seeded); without it they are "
        "measured on the source's own validation or test split, or, where it has neither, on 0.2 of the training split",
    )
    val_split: str | None = Field(
        default=None,
        description="name of the split that the val_ columns are measured on; without it `validation` where the source has one, "
        "else `test`; goes not together with val_fraction",
    )
    split_seed: int = Field(
        default=0, ge=0, description="seed of the held-out part and of `limit`; not of the training order"
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="use only the first so many training images of a seeded shuffle (for trying things out)",
    )
    skip_corrupt: bool = Field(
        default=False,
        description="leave out images that cannot be used instead of stopping; they are counted and listed",
    )
    resize: Literal["crop", "squash"] = Field(
        default="crop",
        description="how an image of another size is fitted: crop keeps proportions and cuts the middle out, squash bends them",
    )
    archive: str | None = Field(
        default=None,
        description="local file with the official binary archive of cifar10 or cifar100 (or the folder it was unpacked to)",
    )
    config: str | None = Field(default=None, description="configuration of a hub data set that has several")
    revision: str | None = Field(default=None, description="branch, tag or commit of a hub data set")
    image_column: str | None = Field(
        default=None, description="parquet and hub: the column of the images; without it, found"
    )
    label_column: str | None = Field(
        default=None, description="parquet and hub: the column of the labels; without it, found"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> DataSpec:
        if self.val_fraction is not None and self.val_split is not None:
            raise ValueError("val_fraction and val_split are both given; hold a part out or name a split, not both")
        if self.archive is not None and self.source not in ("cifar10", "cifar100"):
            raise ValueError(f"archive goes with source cifar10 or cifar100, not with '{self.source}'; leave it out")
        return self
