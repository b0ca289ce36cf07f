"""A model from a name or a spec, and a model for another image size. Specs in, plain `nn.Module`s out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vitscope._core.errors import ModelError
from vitscope.model.parts import PatchDropout
from vitscope.model.position import LearnedPosition, Rotary, SinCosPosition, resize_table
from vitscope.model.presets import parse_model, spec_by_name
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, ModelSpec
from vitscope.model.vit import ViT


def create_model(name_or_spec: str | ModelSpec | Mapping[str, Any], **overrides: Any) -> nn.Module:
    """Builds a model: images B C H W in, scores B Y out. Start values come from torch's global generator.

    Args:
        name_or_spec: a built-in name (`vit-b16-224`, `good-vit`, `bad-vit:post-norm`), a spec, or a recipe's `model:` mapping.
        overrides: settings to change, e.g. `classes=10, image_size=32`.

    Raises:
        ModelError: no model of this name, or neither a name nor settings.
        ConfigError: a setting that does not exist or does not fit.
    """
    if isinstance(name_or_spec, str):
        spec = spec_by_name(name_or_spec, overrides)
    elif isinstance(name_or_spec, Mapping):
        spec = parse_model({**name_or_spec, **overrides})
    elif isinstance(name_or_spec, ModelSpec):
        spec = name_or_spec.changed(**overrides) if overrides else name_or_spec
    else:
        raise ModelError(
            f"create_model was given {name_or_spec!r}, expected a name such as 'vit-ti4-32', a spec or a mapping of settings"
        )
    return build(spec)


def build(spec: ModelSpec) -> nn.Module:
    """The module of a validated spec."""
    if isinstance(spec, ViTSpec):
        return ViT(spec)
    if isinstance(spec, GoodViTSpec):
        from vitscope.model.specimens.good import build_good_vit

        return build_good_vit(spec)
    assert isinstance(spec, BadViTSpec)
    from vitscope.model.specimens.bad import build_bad_vit

    return build_bad_vit(spec)


def resized(model: nn.Module, image_size: int | Sequence[int]) -> ViT:
    """The same ViT for images of another size: a copy of all that it is, with its learned position embedding interpolated.

    Args:
        model: a plain ViT; it is left as it is.
        image_size: (height, width) in pixels, or one number for both.

    Raises:
        ModelError: the model is not a plain ViT.
        ConfigError: the patch does not divide the new size.
    """
    if not isinstance(model, ViT):
        name = getattr(getattr(model, "spec", None), "name", type(model).__name__)
        raise ModelError(
            f"resized takes a plain ViT, not {name}; build the model for its images instead (create_model(…, image_size=…))"
        )
    spec = model.spec.changed(image_size=image_size)
    other = copy.deepcopy(model)
    other.spec = spec
    if isinstance(other.position, LearnedPosition):
        table = other.position.table
        interpolated = resize_table(table.detach(), model.spec.grid, spec.grid)
        other.position.table = nn.Parameter(interpolated, requires_grad=table.requires_grad)
    for part in other.modules():
        if isinstance(part, SinCosPosition | Rotary | PatchDropout):
            part.lay_out(spec)
    return other
