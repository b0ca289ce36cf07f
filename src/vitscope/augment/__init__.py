"""Batched augmentation: uint8 images and labels in, float32 images and targets out, all chance from one generator.

`AugmentSpec` needs no torch; `Augmentation` is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitscope.augment.spec import AugmentSpec, RandAugmentSpec

if TYPE_CHECKING:
    from vitscope.augment.policy import Augmentation

__all__ = ["AugmentSpec", "Augmentation", "RandAugmentSpec"]


def __getattr__(name: str) -> Any:
    if name == "Augmentation":
        from vitscope.augment.policy import Augmentation

        return Augmentation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
