"""The one forward that a user makes in a block, caught: in goes a model, out go the image that it was given, the tape and its answer.

It sits in hooks of the model itself, so that the user calls the model as always, by position or by keyword, with a mask or without.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.randomness import cuda_devices_begun
from vitscope.lens.tape import Tape, record


@contextmanager
def one_forward(model: nn.Module, then: Callable[[Tensor, Tape, object], None]) -> Iterator[None]:
    """Sets a model to evaluation for the block and records its forward; `then` is handed the image (1 C H W), the tape and the answer.

    Whatever happens in the block, the model's mode, its hooks, the random state and torch's gradient mode are afterwards as they were, and
    what the model or the block raises passes through.

    Raises:
        LensError: a model that cannot be recorded, a batch, or not exactly one forward.
    """
    refuse_model(model)
    modes = {module: module.training for module in model.modules()}
    catch = _Catch(then)
    with ExitStack() as stack:
        for module, training in modes.items():
            stack.callback(setattr, module, "training", training)
            module.training = False  # not model.eval(), which may be the user's own and merge or freeze weights
        stack.callback(catch.give_up)
        if "torch._dynamo" in sys.modules:  # something may be compiled: its operations would not be torch's own
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        before = model.register_forward_pre_hook(catch.begin, prepend=True, with_kwargs=True)
        stack.callback(before.remove)
        stack.callback(model.register_forward_hook(catch.end, always_call=True).remove)
        yield
    if not catch.is_done:
        raise LensError(
            Text(
                "the model gave nothing back in the block; a trace is of one forward that ends with scores",
                "withブロックの中で、モデルが何も返しませんでした。トレースできるのは、スコアを返す1回の順伝播です",
            )
            if catch.has_begun
            else Text(
                "the model did not run in the block; call it once there, as model(image) and not by its forward",
                "withブロックの中で、モデルが実行されませんでした。forwardを直接呼ばず、model(image)の形で1回呼び出してください",
            )
        )


class _Catch:
    """The state of one block."""

    def __init__(self, then: Callable[[Tensor, Tape, object], None]) -> None:
        self.has_begun = self.is_done = False
        self._then = then
        self._depth = 0  # a model may call itself
        self._recording = ExitStack()
        self._running: tuple[Tensor, Tape] | None = None
        self._differentiates = torch.is_grad_enabled()

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Starts the tape and hands the model an image of its own, which it may write into."""
        self._depth += 1
        if self._depth > 1:
            return None
        if self.has_begun:
            raise LensError(
                Text(
                    "the model runs a second time in the block, and a trace is of one forward; open a block for each image",
                    "withブロックの中で、モデルがもう一度実行されました。トレースできる順伝播は1回だけです。画像ごとにwithブロックを分けてください",
                )
            )
        image = _image_among(model, args, kwargs)
        self.has_begun = True
        given = image.detach().clone()
        self._recording.enter_context(torch.random.fork_rng(devices=cuda_devices_begun()))
        self._running = given.clone(), self._recording.enter_context(record(model, given))
        return tree_map(lambda x: given if x is image else x, (args, kwargs))

    def end(self, _: nn.Module, args: object, answer: object) -> None:
        """Stops the tape; torch calls it with None when the model raised."""
        self._depth -= 1
        if self._depth or self._running is None:
            return
        (shown, tape), self._running = self._running, None
        self._recording.close()
        if answer is not None:
            with (
                torch.no_grad(),
                torch.autocast(shown.device.type, enabled=False),
            ):  # the block may differentiate and cast
                self._then(shown, tape, answer)
            self.is_done = True

    def give_up(self) -> None:
        """Stops a tape that is still running: torch calls no hook behind a Ctrl-C."""
        if self._running is not None:
            self._recording.close()
            torch.set_grad_enabled(self._differentiates)


def _image_among(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The first tensor with a batch, channels, height and width, in the order in which the model's forward names what it takes.

    Raises:
        LensError: there is none, it is no single image, or it holds no numbers.
    """
    ordered: Any = args, dict(kwargs)
    with suppress(TypeError, ValueError):  # what does not fit the forward, it will say itself
        ordered = dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)
    given = [x for x in tree_leaves(ordered) if isinstance(x, Tensor)]
    image = next((x for x in given if x.ndim == 4), None)
    if image is None or len(image) != 1:
        shapes = [str(tuple(x.shape)) for x in (given if image is None else [image])]
        raise LensError(
            Text(
                f"a trace is of one image, 1 C H W; the model was given {' and '.join(shapes) or 'none'}; choose one image of the batch",
                "トレースできるのは1枚の画像（1 C H W）です。モデルに渡されたテンソルの形状: "
                f"{'と'.join(shapes) or 'なし'}。バッチから画像を1枚選んでください",
            )
        )
    if image.is_meta:
        raise LensError(
            Text(
                "the image is on the meta device and holds no numbers; load it on a real one",
                "画像がmetaデバイス上にあり、値を持っていません。実際のデバイスに読み込んでください",
            )
        )
    return image


def refuse_model(model: object) -> None:
    """Refuses what cannot be recorded.

    Raises:
        LensError: no `nn.Module`, TorchScript, or one without numbers.
    """
    if not isinstance(model, nn.Module):
        raise LensError(
            Text(
                f"trace takes an nn.Module, got a {type(model).__name__}",
                f"traceにはnn.Moduleを渡してください。渡されたのは{type(model).__name__}です",
            )
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise LensError(
            Text(
                "the model, or a part of it, is TorchScript, whose operations cannot be recorded; give the module that it was made of",
                "モデルの全体または一部がTorchScriptで、演算を記録できません。変換前のモジュールを渡してください",
            )
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise LensError(
            Text(
                "the model is on the meta device and holds no numbers; load it on a real one",
                "モデルがmetaデバイス上にあり、値を持っていません。実際のデバイスに読み込んでください",
            )
        )


def why_it_failed(model: nn.Module, image: Tensor, error: Exception) -> Text:
    """One sentence for what a model raised when it was given an image alone."""
    try:
        inspect.signature(model.forward).bind(image)
    except TypeError as missing:
        return Text(
            f"the model takes more than an image ({missing}); call it yourself, with all that it needs, in a block: "
            "with vitscope.tracing(model) as traced: model(image, ...)",
            f"モデルには画像以外の引数も必要です（{missing}）。withブロックの中で、必要な引数をすべて渡して自分で呼び出してください: "
            "with vitscope.tracing(model) as traced: model(image, ...)",
        )
    except ValueError:  # a forward without a signature
        pass
    weights = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    dtypes, devices = {each.dtype for each in weights}, {each.device for each in weights}
    if weights and image.dtype not in dtypes:
        have = sorted(str(dtype) for dtype in dtypes)
        return Text(
            f"the image is {image.dtype} and the model's weights are {' and '.join(have)}; make them the same (image.to, model.to) first",
            f"画像は{image.dtype}、モデルの重みは{'と'.join(have)}です。先にimage.toかmodel.toで揃えてください",
        )
    if weights and image.device not in devices:
        have = sorted(str(device) for device in devices)
        return Text(
            f"the image is on {image.device} and the model on {' and '.join(have)}; move one to the other first",
            f"画像は{image.device}に、モデルは{'と'.join(have)}にあります。先に一方を他方のデバイスへ移してください",
        )
    shape, kind = tuple(image.shape), type(error).__name__
    said = (str(error).strip().splitlines() or [""])[0]
    return Text(
        f"the model itself fails on this image, {shape}, with {kind}: {said or 'without a word'}",
        f"形状{shape}のこの画像では、モデル自体の順伝播が失敗します（{kind}: {said or 'メッセージなし'}）",
    )
