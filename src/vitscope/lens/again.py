"""One recorded operation, done once more with other numbers. In goes a call and what it is to be given, out comes what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.raised import first_line
from vitscope._core.text import Text

if TYPE_CHECKING:
    from vitscope.lens.tape import Call


def takes_shape_only(call: Call) -> bool:
    """Whether a call only asks how large its input is: what it gives, and draws into that, does not hang on the numbers."""
    return call.name.endswith("_like") or call.name.startswith("new_")


def done_again(call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the operation gives; a dropout drops what it dropped when it was recorded.

    Raises:
        LensError: the operation does not take these: what was recorded before it came out in another shape, as where numbers choose tokens.
    """
    if call.name == "native_dropout":
        return _without_drawing(call, args)
    try:
        return call.op(*args, **kwargs)
    except (RuntimeError, IndexError) as error:
        where, said = call.path or "the model", first_line(error)
        raise LensError(
            Text(
                f"{where} cannot be computed again with other numbers: {call.name} says {said}; shapes in it may hang on the numbers",
                f"{call.path or 'モデル本体'}は、値を置き換えて計算し直すことができません（{call.name}：{said}）。"
                "テンソルの形が値によって変わる可能性があります",
            )
        ) from error


def _without_drawing(call: Call, args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """A dropout with the mask that it drew when it was recorded."""
    mask, p = call.outputs[1], float(args[1])
    return (args[0] * mask / (1 - p) if args[2] is not False and p < 1 else args[0]), mask
