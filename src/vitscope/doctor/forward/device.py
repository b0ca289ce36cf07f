"""Tensors that stay on the CPU wherever the model is. In goes a patient, out comes at most one finding of the check `forward`.

The model runs without numbers on torch's meta device; an operation that meets a tensor of the CPU there would fail on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vitscope._core.text import Text
from vitscope.doctor.copying import Hidden, copied, hidden, moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.shapes import META, empty_images, one_by_one
from vitscope.doctor.patient import Patient

HARD_WIRED_DEVICE = Fault(
    "hard-wired-device",
    "M29",
    "forward",
    "warning",
    Text(
        "On a GPU this fails: two tensors on two devices cannot be added, joined or multiplied.",
        "異なるデバイス上のテンソルどうしは加算・連結・乗算ができないため、GPUではエラーになります。",
    ),
    Text(
        "make tensors on the device of what they meet, and hold constants as buffers, which .to() moves",
        "テンソルは相手と同じデバイス上に作り、定数は.to()で移動されるバッファとして保持してください",
    ),
    "torch.arange(n, device=x.device)\nself.register_buffer('mask', mask)   # not self.mask = mask",
)
_HELD = Text(
    "hold as an nn.Parameter what is learned (a position embedding), and by register_buffer what stays as it is: .to() moves both",
    "学習する値（位置埋め込みなど）はnn.Parameterに、変えない値はregister_bufferで登録してください。どちらも.to()で移動します",
)
_ACROSS = frozenset({"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "set_", "lift_fresh"})
"""Operations that take tensors of two devices."""


class _Meetings(TorchDispatchMode):
    """The first operation at which a tensor of the CPU meets one of the meta device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.first: str | None = None
        self.path = ""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket.__name__)
        given = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        devices = {t.device.type for t in given if t.ndim}  # a single number may be on the CPU
        is_mixed = name in _ACROSS or name.startswith("_nested")  # whose lengths are torch's own, on the CPU
        if self.first is None and not is_mixed and devices >= {"cpu", "meta"}:
            self.first = name
            raise _Met
        fetched = self._fetched(name, args, kwargs or {})
        return func(*args, **(kwargs or {})) if fetched is None else fetched

    @staticmethod
    def _fetched(name: str, args: Any, kwargs: Any) -> Tensor | None:
        """What is copied to the CPU: zeros there, since there are no numbers to copy."""
        if not args or not isinstance(args[0], Tensor):
            return None
        if name == "_to_copy" and args[0].is_meta and str(kwargs.get("device", "meta")) == "cpu":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "copy_" and not args[0].is_meta and args[1].is_meta:
            return args[0]
        return None


class _Met(Exception):  # noqa: N818  it ends a forward that has shown what it had to
    pass


def bound_to_a_device(patient: Patient) -> Iterator[Finding]:
    """Whether it runs on another device than the CPU: with everything that it holds moved there, and with what `.to()` moves."""
    twin = moved(copied(patient.model), META, None)
    met = _first_meeting(patient, twin)
    if met is not None:
        operation, path = met
        yield HARD_WIRED_DEVICE.found(
            Text(
                f"A tensor that is on the CPU, wherever the model is, meets the others in {path} ({operation}).",
                f"モデルがどこにあっても必ずCPU上に置かれるテンソルが、{path}（{operation}）でほかのテンソルと演算されています。",
            ),
            {"operation": operation, "module": path, "made": "in the forward"},
        )
        return
    held = hidden(patient.model)
    if not held or any(not isinstance(h.value, Tensor) or h.value.requires_grad for h in held):
        return  # learned ones that are not registered are another check's
    if _makes_them_anew(patient):
        return
    twin = copied(patient.model).to(META)
    met = _first_meeting(patient, twin)
    if met is not None:
        operation, path = met
        places = [each.place for each in held]
        yield replace(HARD_WIRED_DEVICE, advice=_HELD, code=in_code(held[0])).found(
            Text(
                f"{', '.join(places[:3])} {'is a plain tensor' if len(places) == 1 else 'are plain tensors'} that .to(device) does not move, "
                f"and meets others in {path} ({operation}).",
                f"{', '.join(places[:3])}は.to(device)で移動されない通常のテンソルで、{path}（{operation}）でほかのテンソルと演算されています。",
            ),
            {"operation": operation, "module": path, "made": "in the constructor", "plain_tensors": places},
        )


def in_code(plain: Hidden, *, is_drawn: bool = False) -> str:
    """Both ways to hold a plain tensor; whole numbers cannot learn, and one of a list has no name of its own."""
    name, value = plain.place.rpartition(".")[2], plain.value
    if not name.isidentifier():
        return f"self.{name.partition('[')[0]} = nn.ParameterList(tensors)"
    buffer = f'self.register_buffer("{name}", {name})'
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return buffer
    made = f"torch.randn({', '.join(map(str, value.shape)) or '()'}) * 0.02" if is_drawn else name
    return f"self.{name} = nn.Parameter({made})   # learned\n{buffer}   # instead, only where it is to stay as it is"


def _makes_them_anew(patient: Patient) -> bool:
    """Whether the plain tensors are a cache that a forward fills: it does without them."""
    model = copied(patient.model)
    for each in hidden(model):
        name = each.place.rpartition(".")[2].split("[")[0]
        kept = vars(each.owner).get(name)
        vars(each.owner)[name] = type(kept)() if isinstance(kept, list | dict) else None
    try:
        patient.quiet_scores(patient.images[: patient.batch or 1], model)
    except Exception:  # whatever it says without them
        return False
    return True


@torch.no_grad()
def _first_meeting(patient: Patient, model: nn.Module) -> tuple[str, str] | None:
    """The operation and the module where two devices meet first."""
    running: list[str] = []
    innermost: list[str] = []
    handles = [
        handle
        for path, module in model.named_modules()
        for handle in (
            module.register_forward_pre_hook(lambda *_, path=path: running.append(path or "the model")),
            module.register_forward_hook(lambda *_: running.pop() and None),
        )
    ]
    mode = _Meetings()
    try:
        with one_by_one(), mode:
            model(empty_images(patient, patient.batch or 2))
    except _Met:
        innermost = running[-1:]
    except (Exception, SystemExit):  # it asks for numbers, or has no such operation: nothing is said of devices
        return None
    finally:
        for handle in handles:
            handle.remove()
    return (mode.first, innermost[0] if innermost else "the model") if mode.first else None
