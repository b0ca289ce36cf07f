"""Other ways of running an attention: its scores scaled, its softmax along the keys, its heads cut out of the width; and maps of patches brought
into order. In goes a module, while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum)
SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
VIEWS = (Tensor.view, Tensor.reshape, torch.reshape)
Kwargs = Mapping[str, Any] | None


class Scaled(TorchFunctionMode):
    """Scores are multiplied by a factor: the first of each two products of tensors that are no matrices, and those before a softmax."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.is_of_values = False

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Kwargs = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            scale = given.get("scale")
            own = args[0].shape[-1] ** -0.5 if scale is None else scale
            return func(*args, **{**given, "scale": own * self.factor})
        out = func(*args, **given)
        if func in SOFTMAX:
            self.is_of_values = True
        elif func in PRODUCTS and _are_stacks(args):
            is_of_values, self.is_of_values = self.is_of_values, not self.is_of_values
            return out if is_of_values else out * self.factor
        return out


def _are_stacks(args: tuple[Any, ...]) -> bool:
    tensors = [
        x for each in args for x in (each if isinstance(each, list | tuple) else (each,)) if isinstance(x, Tensor)
    ]
    return len(tensors) == 2 and all(tensor.ndim > 2 for tensor in tensors)


class OverKeys(TorchFunctionMode):
    """Every softmax of scores runs along the keys; those of one query, which may lie in the last axis, along the one before."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Kwargs = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in SOFTMAX and isinstance(args[0], Tensor) and args[0].ndim > 2:
            axis = -2 if args[0].shape[-1] == 1 else -1
            return func(args[0], **{**given, "dim": axis})
        return func(*args, **given)


class WholeTokens(TorchFunctionMode):
    """Heads are cut out of the width of each token, and put back there, where a view cuts across tokens: batch, tokens, width to batch, heads,
    tokens, width of a head, and back."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Kwargs = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        x = args[0] if args else None
        if func not in VIEWS or not isinstance(x, Tensor):
            return out
        if x.ndim == 3 and out.ndim == 4 and _are_cut(out.shape, x.shape):
            return x.reshape(len(x), x.shape[1], out.shape[1], out.shape[3]).transpose(1, 2)
        if x.ndim == 4 and out.ndim == 3 and _are_cut(x.shape, out.shape):
            return x.transpose(1, 2).reshape(out.shape)
        return out


def _are_cut(heads: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether the first is batch, heads, tokens, width of a head of the second; with as many heads as tokens there is no telling."""
    batch, count, length, width = heads
    return (batch, length, count * width) == tuple(tokens) and count != length


class ChannelsLast(TorchFunctionMode):
    """The first view of a convolution's batch, width, rows, columns (or patches in one) as batch, patches, width moves the width behind."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = False

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Kwargs = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        x = args[0] if args else None
        if func not in VIEWS or self.is_done or not isinstance(x, Tensor) or x.ndim not in (3, 4) or out.ndim != 3:
            return out
        batch, width, count = len(x), x.shape[1], x.shape[2:].numel()
        if tuple(out.shape) != (batch, count, width) or count == width:
            return out
        self.is_done = True
        return x.flatten(2).transpose(1, 2)
