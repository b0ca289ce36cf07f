"""The fix where something stands behind the head: what to leave out, and where, by the names that the model has. In go a fault and an operation of
torch's, out comes the fault with its advice and its code."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault
from vitscope.doctor.forward.tail import Tail
from vitscope.doctor.naming import as_code
from vitscope.lens.tape import Call

_NAMES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    "native_layer_norm": "LayerNorm",
    "native_group_norm": "GroupNorm",
    "_fused_rms_norm": "RMSNorm",
    "native_batch_norm": "BatchNorm",
    "_native_batch_norm_legit_no_training": "BatchNorm",
    "linalg_vector_norm": "normalisation",
    "norm": "normalisation",
}
"""What differs from torch's own word for the operation."""
_HEAD = "return self.head(x)"
_MISFITS = {
    "sigmoid-applied-twice": frozenset({"sigmoid", "_softmax"}),
    "log-softmax-before-bce": frozenset({"_log_softmax"}),
}
"""What is to be left out where a loss was told that takes none of it."""


def without_misfit(fault: Fault, model: nn.Module, tail: Tail | None) -> Fault:
    """The same for what does not fit the loss that was told, where something is to be left out, or a softmax to become its logarithm."""
    if fault.id == "no-log-softmax-before-nll":
        logarithm = "nn.LogSoftmax(dim=-1)"
        mended = without(fault, "_softmax", model, tail, instead=logarithm)
        return mended if logarithm in mended.code else fault
    names = _MISFITS.get(fault.id, frozenset())
    found = next((name for name in reversed(tail.names) if name in names), "") if tail is not None else ""
    return without(fault, found, model, tail) if found else fault


def without(
    fault: Fault, operation: str, model: nn.Module, tail: Tail | None, *, instead: str = "nn.Identity()"
) -> Fault:
    """The fault with the fix that leaves an operation out: the module that it is (and what comes instead), or a word in the forward that calls it.
    What has no name is left out in silence; lines of the fault's own behind the first stay."""
    name = operation.rstrip("_")
    comment = f"   # no {_NAMES.get(name, name)}" if name else ""
    _, *rest = fault.code.splitlines()
    call = None if tail is None else next((c for c in reversed(tail.behind) if c.name.rstrip("_") == name), None)
    if tail is None or call is None:
        return replace(fault, code="\n".join([_HEAD + comment, *rest]))
    path = _caller(model, tail, call)
    if path is None:
        kind = f"nn.{type(model.get_submodule(call.path)).__name__}"
        written = as_code(call.path, "self" if _is_of_the_users(model) else "model")
        line = f"{written} = {instead}   # in place of {kind}"
        return replace(fault, advice=_taken_out(model, call.path, kind, fault.advice), code="\n".join([line, *rest]))
    where = Text(f"in the forward of {path}, ", f"{path}のforwardでは、") if path else Text("", "")
    advice = Text(where.en + fault.advice.en, where.ja + fault.advice.ja)
    return replace(fault, advice=advice, code="\n".join([_returned(tail, path) + comment, *rest]))


def _caller(model: nn.Module, tail: Tail, call: Call) -> str | None:
    """The module whose forward calls an operation; None where it is all that a module of torch's does, and that is called nowhere else."""
    if not call.path or _is_of_the_users(model.get_submodule(call.path)):
        return call.path
    is_elsewhere = any(each.path == call.path and each not in tail.behind for each in tail.tape.calls)
    return call.path.rpartition(".")[0] if is_elsewhere else None


def _is_of_the_users(module: nn.Module) -> bool:
    return not type(module).__module__.startswith("torch.nn.")


def _taken_out(model: nn.Module, path: str, kind: str, advice: Text) -> Text:
    holder = model.get_submodule(path.rpartition(".")[0])
    if type(holder) is nn.Sequential:
        of = Text(" of its nn.Sequential", "nn.Sequentialから")
    else:
        of = Text(" of the model", "モデルから")
    return Text(
        f"take {path}, an {kind}, out{of.en}: {advice.en}",
        f"{path}（{kind}）を{of.ja}取り除いてください。{advice.ja}",
    )


def _returned(tail: Tail, caller: str) -> str:
    """What the forward that calls an operation returns without it: what the part of it gives that holds the last product."""
    inside = f"{caller}." if caller else ""
    paths = [product.path for product in tail.products if product.path.startswith(inside) and product.path != caller]
    name = paths[-1].removeprefix(inside).split(".")[0] if paths else ""
    return f"return self.{name}(x)" if name.isidentifier() else _HEAD
