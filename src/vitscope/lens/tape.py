"""What a model did in one forward: every operation on tensors, in order, with what went in, what came out and in which module.

In goes a running `nn.Module`, whoever wrote it; out comes a `Tape`, of which any stretch can be played again with other numbers. It sits
where torch dispatches its operations, below any Python of the model's, so it sees a fused attention, a functional call and a
hand-written product alike, and needs no hook on a softmax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.again import done_again, takes_shape_only


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """A tensor that went into a call: the call that it came from and its place among that one's results; None for what comes from outside."""

    tensor: Tensor
    call: Call | None
    index: int
    writes: int
    """How often its memory had been written into by then."""


@dataclass(frozen=True, eq=False, repr=False)
class Call:
    """One operation: `number` counts from 0, `path` is the module that ran it (the innermost, empty for the model itself)."""

    number: int
    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sources: tuple[Source, ...]
    outputs: tuple[Tensor, ...]
    written: int
    """How often the memory of the first of them had been written into by then."""
    path: str

    @property
    def name(self) -> str:
        """`bmm`, `_softmax`, `view`, …"""
        return str(self.op.overloadpacket.__name__)

    def __repr__(self) -> str:  # each call holds those before it: printed whole, it would fill the screen for hours
        return f"<call {self.number}: {self.name} in {self.path or 'the model'}>"

    @property
    def writes(self) -> bool:
        """Whether it writes into one of its inputs."""
        return bool(self.op._schema.is_mutable)


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """All calls of one forward of `image` (1 C H W), and which of them used what which other made."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would load its compiler, two seconds of it, to keep it away from a mode; a model that is compiled is not recorded anyway."""
        return False

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.image = image
        self.calls: list[Call] = []
        # by a tensor's id, which no two share as long as the tape holds all of them: what it came from last, and first
        self._made: dict[int, tuple[Call, int]] = {}
        self._born: dict[int, tuple[int, int]] = {}
        self._users: defaultdict[int, list[Call]] = defaultdict(list)
        self._view_of: dict[int, Tensor] = {}
        self._kept: dict[int, Tensor] = {}  # first results that were written over later, as they were
        self._into_views: set[int] = set()
        self._writes: defaultdict[int, int] = defaultdict(int)  # by the place of a tensor's memory
        self._of_image: set[int] = set()
        self.modules: list[str] = []
        self.goes_back = False
        """Whether some of the calls compute a gradient: the forward of an energy that a model descends."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func._can_decompose():
            with self:  # torch leaves whole functions in one piece there
                return func.decompose(*args, **kwargs)
        sources = tuple(self._source(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
        if func._schema.is_mutable:
            self._keep(sources[0].tensor)
            self._writes[_place(sources[0].tensor)] += 1
        result = func(*args, **kwargs)
        outputs = tuple(t for t in tree_leaves(result) if isinstance(t, Tensor))
        call = Call(
            len(self.calls),
            func,
            tuple(args),
            dict(kwargs),
            sources,
            outputs,
            self._writes[_place(outputs[0])] if outputs else 0,
            self.modules[-1] if self.modules else "",
        )
        self.calls.append(call)
        self.goes_back |= _is_on_the_way_back()
        if not takes_shape_only(call) and any(self.is_of_image(source) for source in sources):
            self._of_image.add(call.number)
        for source in sources:
            if source.call is not None:
                self._users[source.call.number].append(call)
        for index, out in enumerate(outputs):
            self._made[id(out)] = call, index
            self._born.setdefault(id(out), (call.number, index))
        if func._schema.is_mutable:
            self._follow_a_write(sources[0].tensor, call)
        elif sources and outputs and _shares(outputs[0], sources[0].tensor):
            for out in outputs:
                self._view_of.setdefault(id(out), sources[0].tensor)
        return result

    def _source(self, tensor: Tensor) -> Source:
        call, index = self._made.get(id(tensor), (None, 0))
        return Source(tensor, call, index, self._writes[_place(tensor)])

    def _keep(self, written: Tensor) -> None:
        """Keeps what a tensor, and what it is a view of, holds before it is written over."""
        whole: Tensor | None = written
        while whole is not None:
            call, index = self._made.get(id(whole), (None, 0))
            if call is not None and index == 0:
                self._kept.setdefault(call.number, whole.clone())
            whole = self._view_of.get(id(whole))

    def _follow_a_write(self, written: Tensor, call: Call) -> None:
        """What is written into a view is written into what it is a view of."""
        whole = self._view_of.get(id(written))
        while whole is not None:
            self._made[id(whole)] = call, 0
            self._into_views.add(call.number)
            whole = self._view_of.get(id(whole))

    def is_of_image(self, source: Source) -> bool:
        """Whether the image reaches a source."""
        return source.tensor is self.image if source.call is None else source.call.number in self._of_image

    def maker(self, tensor: Tensor) -> Call | None:
        """The call that a tensor came from; None for one from outside."""
        return self._made.get(id(tensor), (None, 0))[0]

    def users(self, call: Call) -> Sequence[Call]:
        """The calls that took a result of this one, in order."""
        return self._users[call.number]

    def value(self, of: Call | Source) -> Tensor:
        """What a call gave first, or a source held, at that moment.

        Raises:
            LensError: the model wrote over it in a way that cannot be followed.
        """
        if isinstance(of, Source):
            if self._writes[_place(of.tensor)] == of.writes:
                return of.tensor
            call, index = of.call, of.index
        else:
            if self._writes[_place(of.outputs[0])] == of.written:
                return of.outputs[0]
            call, index = of, 0
        if call is not None and index == 0 and call.number in self._kept:
            return self._kept[call.number]
        where = of.path if isinstance(of, Call) else of.call.path if of.call else ""
        raise LensError(
            Text(
                f"{where or 'the model'} writes over numbers that are looked at, through a view; "
                "let it compute out of place (no copy_, mul_ and the like)",
                f"{where or 'モデル本体'}が、調べる対象の値をビュー経由で上書きしています。"
                "インプレース演算（copy_、mul_など）をやめ、新しいテンソルに計算してください",
            )
        )

    def play(self, replaced: Mapping[Call | None, Tensor], wanted: Call, index: int = 0) -> Tensor:
        """What a call would have given first (or as another of its results), had others given what they are replaced by; `None` stands for
        the image.

        The numbers must have the shapes of those that they replace. Nothing on the tape changes.

        Raises:
            LensError: a model that writes into parts of a tensor between the two, or in which shapes hang on the numbers.
        """
        new: dict[tuple[int, int], Tensor] = {}
        for call, value in replaced.items():  # laid out in memory as what it replaces: views ask for it
            as_was = torch.empty_like(self.image if call is None else call.outputs[0])
            new[-1 if call is None else call.number, 0] = (
                as_was.copy_(value) if as_was.dtype == value.dtype else value.clone()
            )
        for call in self.calls[max(0, min(number for number, _ in new)) : wanted.number + 1]:
            if call in replaced or takes_shape_only(call) or not any(self._key(s) in new for s in call.sources):
                continue
            if call.number in self._into_views and self._key(call.sources[0]) not in new:
                raise LensError(
                    Text(
                        f"{call.path or 'the model'} writes into parts of a tensor ({call.name}), which cannot be played again with other numbers",
                        f"{call.path or 'モデル本体'}がテンソルの一部に書き込んでいるため（{call.name}）、値を置き換えて計算し直すことができません",
                    )
                )
            given = iter(
                [self._taken(source, new, call.writes and place == 0) for place, source in enumerate(call.sources)]
            )
            args, kwargs = tree_map(
                lambda x, given=given: next(given) if isinstance(x, Tensor) else x, (call.args, call.kwargs)
            )
            result = done_again(call, args, kwargs)
            for place, out in enumerate(t for t in tree_leaves(result) if isinstance(t, Tensor)):
                new[call.number, place] = out
        found = new.get((wanted.number, index))
        if found is None:
            return self.value(wanted if index == 0 else Source(wanted.outputs[index], wanted, index, wanted.written))
        return found

    def _key(self, source: Source) -> tuple[int, int]:
        """Under what a source's new number stands: its call, or for what was written into through a view, where it first came from."""
        call = source.call
        if call is None:
            return (-1, 0) if source.tensor is self.image else (-2, 0)
        if call.writes and source.tensor is not call.outputs[0]:
            return self._born[id(source.tensor)]
        return call.number, source.index

    def _taken(self, source: Source, new: Mapping[tuple[int, int], Tensor], is_written: bool) -> Tensor:
        found = new.get(self._key(source))
        if found is not None:
            return found
        return self.value(source).clone() if is_written else self.value(source)


def _is_on_the_way_back() -> bool:
    """Whether torch computes a gradient; no, where its version does not tell."""
    node = getattr(torch._C, "_current_autograd_node", None)
    return node is not None and node() is not None


def _place(x: Tensor) -> int:
    """Where a tensor's memory is; a nested tensor has none of its own, and is its own place."""
    try:
        return x.untyped_storage().data_ptr()
    except RuntimeError:
        return id(x)


def _shares(a: Tensor, b: Tensor) -> bool:
    return a is not b and _place(a) == _place(b)


def _enter(modules: list[str], path: str, *_: Any) -> None:
    modules.append(path)


@contextmanager
def record(model: nn.Module, image: Tensor) -> Iterator[Tape]:
    """Records what is done inside of the block, where nothing is differentiated. Nothing stays on the model, also when it raises.

    The model may be running already, as it is where one of its own hooks opens the block.

    torch's fused encoder layers are switched off for so long: they would run a whole block, attention included, as one operation.
    """
    tape = Tape(image)
    is_fast = torch.backends.mha.get_fastpath_enabled()

    def leave(*_: Any) -> None:
        tape.modules.pop()

    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, is_fast)
        torch.backends.mha.set_fastpath_enabled(False)
        for path, module in list(model.named_modules())[1:]:
            enter = partial(_enter, tape.modules, path)
            stack.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(tape)
        yield tape
