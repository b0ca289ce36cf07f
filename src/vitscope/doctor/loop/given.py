"""What callers give `watch`, made sure of: in goes what was given, out comes a sentence where it is not what a loop has. What would only be noted as
"not watched" at the end of a day's training is refused at its beginning."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vitscope._core.text import Lang, Text
from vitscope.doctor.arguments import ArgumentError, shown


def parts_given(
    model: Any, optimizer: Any, *, loaders: dict[str, Any], loss_fn: Any, scheduler: Any, lang: Lang | None
) -> None:
    """Refuses what cannot be a part of a loop.

    Raises:
        UsageError: the first that cannot, with its name.
    """
    words: list[tuple[str, Any, Text, Text]] = []
    if not isinstance(model, nn.Module):
        what = Text("the nn.Module that the loop calls", "ループで呼び出すnn.Module（モデル）")
        words.append(
            ("model", model, what, Text("give the object itself", "モデルのオブジェクトそのものを渡してください"))
        )
    if not isinstance(optimizer, torch.optim.Optimizer) and not hasattr(optimizer, "optimizer"):
        what = Text("the torch.optim optimizer that the loop steps", "ループでstepを呼ぶtorch.optimのオプティマイザ")
        words.append(
            ("optimizer", optimizer, what, Text("give the object itself", "オブジェクトそのものを渡してください"))
        )
    words += [(name, loader, _LOADER, _or_leave(name)) for name, loader in loaders.items() if not _is_loader(loader)]
    if loss_fn is not None and (not callable(loss_fn) or isinstance(loss_fn, type)):
        what = Text(
            "the loss that the loop calls, a module such as nn.CrossEntropyLoss() or a function",
            "ループで呼び出す損失（nn.CrossEntropyLoss()のようなモジュール、または関数）",
        )
        words.append(("loss_fn", loss_fn, what, _or_leave("loss_fn")))
    if scheduler is not None and not _is_scheduler(scheduler):
        what = Text(
            "the scheduler whose step() the loop calls, such as one of torch.optim.lr_scheduler",
            "ループでstep()を呼ぶスケジューラ（torch.optim.lr_schedulerなど）",
        )
        words.append(("scheduler", scheduler, what, _or_leave("scheduler")))
    for name, value, what, then in words:
        raise ArgumentError(
            Text(
                f"watch was given {shown(value)} as {name}, expected {what.en}; {then.en}",
                f"watchの{name}に{shown(value)}が渡されましたが、{what.ja}を渡す必要があります。{then.ja}",
            ),
            lang or "en",
        )


_LOADER = Text(
    "the loader that the loop goes through, such as a DataLoader",
    "ループで使うローダー（DataLoaderなど、バッチを順に返すもの）",
)


def _or_leave(name: str) -> Text:
    return Text(f"give it, or leave {name} out", f"正しいものを渡すか、{name}を省略してください")


def _is_loader(value: Any) -> bool:
    """Whether anything can be gone through that is not a model, a word or a kind of thing in a loader's place."""
    if value is None:
        return True
    is_other = isinstance(value, str | bytes | nn.Module | torch.optim.Optimizer | type)
    return not is_other and (hasattr(value, "__iter__") or hasattr(value, "__getitem__") or hasattr(value, "__next__"))


def _is_scheduler(value: Any) -> bool:
    """Whether it has a step of its own, and is neither an optimizer nor a kind of scheduler."""
    is_other = isinstance(value, torch.optim.Optimizer | type)
    return not is_other and callable(getattr(value, "step", None))
