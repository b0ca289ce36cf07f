"""Models by name: `vit-b16-224` and its kin, `vit-tiny` … `vit-huge`, `good-vit`, `bad-vit:FAULT`. Names in, specs out; no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vitscope._core.errors import ConfigError, ModelError
from vitscope._core.suggest import did_you_mean, did_you_mean_text
from vitscope._core.text import Text
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec, GoodViTSpec, ModelSpec

FAULTS: tuple[str, ...] = get_args(BadViTFault)
PATCHES = (4, 8, 14, 16, 32)
IMAGE_SIZES = (32, 384)


@dataclass(frozen=True)
class Width:
    """One row of the ViT family's table."""

    word: str
    dim: int
    depth: int
    heads: int


# ViT, table 1 (base, large, huge); tiny and small: Touvron et al. 2021, arXiv 2012.12877, table 1. M is always 4 D.
WIDTHS = {
    "ti": Width("tiny", 192, 12, 3),
    "s": Width("small", 384, 12, 6),
    "b": Width("base", 768, 12, 12),
    "l": Width("large", 1024, 24, 16),
    "h": Width("huge", 1280, 32, 16),
}
# The sizes of which the papers speak when they say the word alone.
SHORT = {
    "vit-tiny": "vit-ti16-224",
    "vit-small": "vit-s16-224",
    "vit-base": "vit-b16-224",
    "vit-large": "vit-l16-224",
    "vit-huge": "vit-h14-224",
}
LISTED = ("vit-ti4-32", "vit-s4-32", "vit-b4-32", *SHORT.values(), "vit-b32-224", "vit-b16-384", "vit-l16-384")
_NAME = re.compile(r"vit-(ti|s|b|l|h)(\d+)-(\d+)")


def known_names() -> tuple[str, ...]:
    """Names to list and to suggest; the pattern `vit-{ti,s,b,l,h}PATCH-SIZE` allows more."""
    return ("good-vit", "bad-vit", *(f"bad-vit:{fault}" for fault in FAULTS), *SHORT, *LISTED)


def spec_by_name(name: str, overrides: Mapping[str, Any] | None = None, where: str = "model") -> ModelSpec:
    """The spec of a built-in model.

    Args:
        name: `vit-b16-224`, `vit-tiny`, `good-vit`, `bad-vit`, `bad-vit:post-norm`, …
        overrides: settings to change, by their keys in the spec.
        where: prefix of keys in messages.

    Raises:
        ModelError: no such model (with the nearest name), or a patch that does not divide the image.
        ConfigError: an override that does not exist or does not fit.
    """
    given = dict(overrides or {})
    if name == "good-vit":
        return GoodViTSpec.parse(given, where)
    if name == "bad-vit" or name.startswith("bad-vit:"):
        fault = name.partition(":")[2]
        if fault and fault not in FAULTS:
            raise ModelError(f"no fault '{fault}' of bad-vit{did_you_mean(fault, FAULTS)}; it has: {', '.join(FAULTS)}")
        if fault and given.get("fault", fault) != fault:
            raise ConfigError(f"{where}.fault is {given['fault']!r}, but the name says '{name}'; drop one of the two")
        return BadViTSpec.parse({**given, **({"fault": fault} if fault else {})}, where)
    match = _NAME.fullmatch(SHORT.get(name, name))
    if match is None:
        hint = did_you_mean_text(name, known_names())
        raise ModelError(
            Text(
                f"no built-in model '{name}'{hint.en}; "
                "see 'vitscope models' (the pattern is vit-{ti,s,b,l,h}PATCH-SIZE, e.g. vit-b16-224)",
                f"'{name}'という組み込みのモデルはありません{hint.ja}。一覧は'vitscope models'で確認できます"
                "（名前の形式はvit-{ti,s,b,l,h}PATCH-SIZE、例：vit-b16-224）",
            )
        )
    return ViTSpec.parse({**_named_sizes(name, match), **given}, where)


def parse_model(values: Mapping[str, Any], where: str = "model") -> ModelSpec:
    """The spec of a recipe's `model:` part: `{name: good-vit, …}` or a plain ViT's own settings."""
    rest = dict(values)
    name = rest.pop("name", None)
    if name is None:
        return ViTSpec.parse(rest, where)
    if not isinstance(name, str):
        raise ConfigError(f"{where}.name is {name!r}, expected the name of a built-in model")
    return spec_by_name(name, rest, where)


def _named_sizes(name: str, match: re.Match[str]) -> dict[str, Any]:
    width, patch, size = WIDTHS[match[1]], int(match[2]), int(match[3])
    if patch not in PATCHES:
        raise ModelError(f"{name}: there is no preset of patch {patch}; choose from {', '.join(map(str, PATCHES))}")
    if not IMAGE_SIZES[0] <= size <= IMAGE_SIZES[1]:
        raise ModelError(
            f"{name}: image size {size} is outside the presets' {IMAGE_SIZES[0]} to {IMAGE_SIZES[1]} pixels"
        )
    if size % patch:
        low = size - size % patch
        near = min(
            (s for s in (low, low + patch) if IMAGE_SIZES[0] <= s <= IMAGE_SIZES[1]), key=lambda s: abs(s - size)
        )
        raise ModelError(
            f"{name}: an image of {size}×{size} does not divide into patches of {patch}×{patch}; "
            f"the nearest that does is vit-{match[1]}{patch}-{near}"
        )
    return {"image_size": size, "patch_size": patch, "dim": width.dim, "depth": width.depth, "heads": width.heads}
