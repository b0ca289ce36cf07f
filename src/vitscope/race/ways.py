"""Other ways of running one and the same forward: functions of torch that a forward calls are called otherwise while it runs. In goes a module, whose
source nobody has to read or write for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Hooked:
    """Before a module's forward the way is entered, behind it it is left. One object for both hooks: a copy of the module gets its own."""

    def __init__(self, way: Callable[[], TorchFunctionMode]) -> None:
        self.way = way
        self.entered: list[TorchFunctionMode] = []

    def __call__(self, module: nn.Module, given: object, *output: object) -> None:
        if output:
            if self.entered:
                self.entered.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]
            return
        mode = self.way()
        mode.is_training = module.training  # type: ignore[attr-defined]
        mode.__enter__()  # type: ignore[no-untyped-call]
        self.entered.append(mode)


def under(module: nn.Module, way: Callable[[], TorchFunctionMode]) -> None:
    """Runs a module in another way from now on, copies of it too."""
    hook = Hooked(way)
    module.register_forward_pre_hook(hook)
    module.register_forward_hook(hook, always_call=True)


class Attached(TorchFunctionMode):
    """Nothing is cut from the graph."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.detach, torch.detach, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        return func(*args, **(kwargs or {}))


class DropoutByMode(TorchFunctionMode):
    """Dropout while the model is in training, and only then."""

    is_training = False

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.dropout:
            named = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | given
            return func(**{**named, "training": self.is_training and bool(named.get("training", True))})
        if func is F.scaled_dot_product_attention and not self.is_training:
            named = dict(zip(("query", "key", "value", "attn_mask", "dropout_p"), args, strict=False)) | given
            return func(**{**named, "dropout_p": 0.0})
        return func(*args, **given)


class Unmasked(TorchFunctionMode):
    """Attention without a triangular mask."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention and len(args) > 3:
            args, given = (
                args[:3],
                {**dict(zip(("attn_mask", "dropout_p", "is_causal"), args[3:], strict=False)), **given},
            )
        if func in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
            if given.get("is_causal"):
                given |= {"is_causal": False, "attn_mask": None}
            if is_triangular(given.get("attn_mask")):
                given["attn_mask"] = None
        if func in (Tensor.masked_fill, Tensor.masked_fill_, torch.masked_fill) and is_triangular(
            args[1] if len(args) > 1 else given.get("mask")
        ):
            return args[0]
        return func(*args, **given)


def is_triangular(mask: object) -> bool:
    """Whether a mask of tokens × tokens has one value on and below its diagonal and another above."""
    if not isinstance(mask, Tensor) or mask.ndim < 2 or mask.shape[-1] != mask.shape[-2] or mask.shape[-1] < 3:
        return False
    if mask.numel() != mask.shape[-1] ** 2:
        return False
    square = mask.detach().reshape(mask.shape[-2:])
    below = torch.ones_like(square, dtype=torch.bool).tril()
    passed, hidden = square[below], square[~below]
    return bool((passed == passed[0]).all() and (hidden == hidden[0]).all() and passed[0] != hidden[0])
