"""The specimens as settings: in go the sizes of a recipe, out comes a validated spec, or the plain ViT that it prints as. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from vitscope._core.preprocessing import Size
from vitscope.model.spec import Fraction, ImageModelSpec, Positive, ViTSpec

BadViTFault = Literal[
    "none",
    "batch-mixing",
    "batch-mixing-mean",
    "no-position",
    "position-frozen-zero",
    "scrambled-patches",
    "no-residual",
    "post-norm",
    "norm-unused",
    "mlp-without-activation",
    "softmax-head",
    "dropout-always-on",
    "double-dropout",
    "cls-detached",
]


class SpecimenSpec(ImageModelSpec):
    """The sizes of a specimen; the defaults are those of the printed models (`spec/good_vit.txt`, `spec/bad_vit.txt`)."""

    @model_validator(mode="before")
    @classmethod
    def _no_switches(cls, values: Any) -> Any:
        switches = [key for key in values if key in ViTSpec.model_fields and key not in cls.model_fields]
        if switches:
            name = cls.model_fields["name"].default
            raise ValueError(
                f"{switches[0]} is a switch of the plain ViT, and {name} is as it was printed; choose a plain ViT (name: vit-ti4-32), "
                f"or leave {switches[0]} out"
            )
        return values

    image_size: Size = (32, 32)
    patch_size: Size = (4, 4)
    classes: Positive = 10
    dim: Positive = 192
    depth: Positive = 6
    heads: Positive = 3
    mlp_dim: Positive = 512
    dropout: Fraction = 0.1


class GoodViTSpec(SpecimenSpec):
    """The specimen that its owner calls good."""

    name: Literal["good-vit"] = "good-vit"


class BadViTSpec(SpecimenSpec):
    """The specimen that its owner calls not good, under one of the readings that its print allows."""

    name: Literal["bad-vit"] = "bad-vit"
    fault: BadViTFault = "batch-mixing"
    """Which reading of the print is built; the default is a hypothesis that the print cannot decide."""


ModelSpec = ViTSpec | GoodViTSpec | BadViTSpec


def printed_vit(spec: ModelSpec) -> ViTSpec:
    """The plain ViT that a specimen prints as, of the same size whatever the fault; a `ViTSpec` is its own."""
    if isinstance(spec, ViTSpec):
        return spec
    shared: dict[str, Any] = {key: getattr(spec, key) for key in ImageModelSpec.model_fields}
    good = isinstance(spec, GoodViTSpec)
    return ViTSpec(
        **shared,
        mlp_dim=spec.mlp_dim,
        qkv_bias=not good,
        patch_embedding="linear" if good else "conv",
        norm_eps=1e-5,
    )
