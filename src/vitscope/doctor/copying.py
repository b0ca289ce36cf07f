"""A copy of somebody's model that experiments may be made on: in goes an `nn.Module`, out comes one in evaluation mode, on the CPU, of the
wanted precision, that shares nothing with it.

A model may hold what is not registered: layers in a Python list, parameters as plain attributes. They are copied, moved and cast too, or every
experiment on such a model would end at the first product; that they are not registered is for a check to say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import checkpoint

from vitscope._core.errors import ModelError
from vitscope._core.raised import first_line

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_REGISTERED = ("_parameters", "_buffers", "_modules", *_HOOKS)
_HOLDERS = (nn.Module, Tensor, list, tuple, dict)
"""What can be, or hold, a module or tensor."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """Something that a module holds and has not registered: its place (`blocks[2].qkv`), and what it is."""

    place: str
    owner: nn.Module
    value: nn.Module | Tensor


def copy_of(model: object) -> tuple[nn.Module, int]:
    """The model itself behind wrappers, copied, on the CPU and in evaluation mode; and how many hooks of the user's were left out of it.

    Functions that were hooked on are left out, since what they close over is the user's own and would be written into. Objects that were hooked
    on (weight norm, spectral norm, pruning) are parts of the model and are copied with it.

    Raises:
        ModelError: it is no module, or cannot be copied, moved or run on a CPU.
    """
    model = unwrapped(model)
    memo: dict[int, Any] = {}
    for _, tensor in _all_tensors(model):
        if not tensor.is_leaf:  # torch refuses to copy what has a history
            memo[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    try:
        twin: nn.Module = copy.deepcopy(model, memo)
    except Exception as error:
        raise ModelError(
            f"the model cannot be copied ({type(error).__name__}: {first_line(error)}), and the doctor works on a copy; "
            "let it hold nothing that cannot be (open files, locks, generators)"
        ) from error
    if _shares_numbers(model, twin):
        raise ModelError(
            "a copy of the model shares its parameters with it (its own __deepcopy__?), and experiments on the copy would change them; "
            "let copy.deepcopy(model) give a model of its own"
        )
    left_out = sum(_drop_functions(module) for module in all_modules(twin))
    for parameter in twin.parameters():
        parameter.grad = None
    try:
        return moved(twin, torch.device("cpu"), None), left_out
    except Exception as error:
        raise ModelError(
            f"the model cannot be moved to the CPU ({type(error).__name__}: {first_line(error)}), where the doctor works; mend that first"
        ) from error


def _shares_numbers(model: nn.Module, twin: nn.Module) -> bool:
    """Whether a copy is the model itself, or stands on its numbers."""
    places = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers()) if p.numel()}
    return twin is model or any(
        p.untyped_storage().data_ptr() in places for p in (*twin.parameters(), *twin.buffers()) if p.numel()
    )


def unwrapped(model: object) -> nn.Module:
    """The module in `DataParallel`, `DistributedDataParallel` or a compiled one.

    Raises:
        ModelError: it is no module, or one without numbers.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"the doctor examines an nn.Module, got a {type(model).__name__}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "the model, or a part of it, is TorchScript, whose operations cannot be followed; give the module that it was made of"
        )
    for name in ("_orig_mod", "module"):
        inner = model._modules.get(name)
        if isinstance(inner, nn.Module) and (
            name == "_orig_mod" or isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
        ):
            return unwrapped(inner)
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ModelError("the model has lazy layers that hold no numbers yet; run it once on an image first")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ModelError("the model is on the meta device and holds no numbers; load it on a real one")
    return model


def moved(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """The same module, in evaluation mode, on a device and in a precision (None: its own), with all that it has not registered."""
    for module in [model, *(each.value for each in hidden(model) if isinstance(each.value, nn.Module))]:
        module._apply(partial(_in, device=device, dtype=dtype))  # type: ignore[no-untyped-call]  # to() makes complex numbers real
    for module in all_modules(model):
        module.training = False  # not model.eval(), which may be the user's own and merge or freeze weights
        for name, value in list(vars(module).items()):
            if isinstance(value, _HOLDERS) and name not in _REGISTERED:
                vars(module)[name] = _cast(value, device, dtype)
    return model


def _in(value: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """A tensor on a device and in a precision, complex numbers in a complex one of it; whole numbers stay what they are."""
    if dtype is None or not (value.is_floating_point() or value.is_complex()):
        return value.to(device)
    return value.to(device, dtype.to_complex() if value.is_complex() else dtype)


def _cast(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Tensors in an attribute, moved and cast; a list stays the same list, for the model may hold it twice."""
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        cast = _in(value, device, dtype)
        return value if cast is value else cast.detach().requires_grad_(value.requires_grad)
    if isinstance(value, nn.Parameter):
        value.data = _in(value.data, device, dtype)
    elif isinstance(value, list):
        value[:] = [_cast(each, device, dtype) for each in value]
    elif type(value) is dict:
        value.update({key: _cast(each, device, dtype) for key, each in value.items()})
    elif type(value) is tuple:
        return tuple(_cast(each, device, dtype) for each in value)
    return value


def copied(model: nn.Module) -> nn.Module:
    """A copy of the copy, for what changes weights."""
    for each in hidden(model):
        if isinstance(each.value, Tensor) and not each.value.is_leaf:
            each.value.detach_()
    return copy.deepcopy(model)


def hidden(model: nn.Module) -> tuple[Hidden, ...]:
    """All modules and tensors that a module, or one inside of it, holds without having registered them."""
    registered = {id(module) for module in model.modules()}
    registered |= {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found: dict[int, Hidden] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if not isinstance(value, _HOLDERS) or name in _REGISTERED:
                continue
            for place, each in _inside(value, f"{path}.{name}" if path else name):
                if id(each) in registered or id(each) in found:
                    continue
                found[id(each)] = Hidden(place, module, each)
                if isinstance(each, nn.Module):
                    registered |= {id(inner) for inner in each.modules()}
    for outer in list(found.values()):  # layers in a list may hold lists of their own
        if isinstance(outer.value, nn.Module):
            for below in hidden(outer.value):
                found.setdefault(id(below.value), Hidden(f"{outer.place}.{below.place}", below.owner, below.value))
    return tuple(found.values())


def all_modules(model: nn.Module) -> Iterator[nn.Module]:
    """All modules of a model, those that it has not registered among them."""
    yield from model.modules()
    for each in hidden(model):
        if isinstance(each.value, nn.Module):
            yield from each.value.modules()


def _all_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for module in all_modules(model):
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers"):
                yield from ((name, tensor) for tensor in value.values() if tensor is not None)
            elif isinstance(value, _HOLDERS) and name not in _REGISTERED:
                yield from ((name, each) for _, each in _inside(value, name) if isinstance(each, Tensor))


def _inside(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, nn.Module | Tensor]]:
    if isinstance(value, nn.Module | Tensor):
        yield place, value
    elif depth < 4 and isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _inside(each, f"{place}[{number}]", depth + 1)
    elif depth < 4 and type(value) is dict:
        for key, each in value.items():
            yield from _inside(each, f"{place}[{key!r}]", depth + 1)


def _drop_functions(module: nn.Module) -> int:
    """Takes functions out of a module's hooks."""
    dropped = 0
    for kind in _HOOKS:
        hooks = getattr(module, kind, None) or {}
        for key in [
            k for k, hook in hooks.items() if isinstance(hook, FunctionType | MethodType | BuiltinFunctionType)
        ]:
            del hooks[key]
            dropped += 1
    return dropped


class _PlainCall:
    """In the place of torch's reentrant checkpoint, of which no gradient can be asked for single tensors."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        """What it would give; what it cuts from the graph (everything, where no argument of its learns) is cut here too."""
        learns = any(isinstance(each, Tensor) and each.requires_grad for each in args)
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            return function(*args)


@contextmanager
def without_reentrant_checkpoints() -> Iterator[None]:
    """Checkpoints with use_reentrant=True are plain calls in the block."""
    was = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = _PlainCall  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = was  # type: ignore[misc]
