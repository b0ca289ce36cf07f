"""Mends of blocks, one function a kind of fault: a copy of a model, what was found and a few images in, a sentence on what was changed out (None
where there was nothing to change). What the forward forgot is hooked on; hooks are objects, so that a copy of the model gets its own.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding
from vitscope.doctor.naming import listed
from vitscope.lens.attention import find_attentions
from vitscope.lens.tape import record
from vitscope.race.mends import stack_of, uses_of

ACTIVATIONS = (nn.GELU, nn.ReLU, nn.SiLU, nn.Mish, nn.ELU, nn.LeakyReLU, nn.Hardswish)


@dataclass(frozen=True, eq=False)
class Ran:
    """A module that ran once, the first tensor it was given and the first that it gave."""

    path: str
    module: nn.Module
    given: Tensor
    output: Tensor

    @property
    def matrices(self) -> int:
        return sum(p.ndim > 1 for p in self.module.parameters())

    @property
    def is_norm(self) -> bool:
        return "norm" in type(self.module).__name__.lower() and not self.matrices


def norm_called(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """The one norm that is held and never called, called behind the last block."""
    names, blocks = finding.evidence.get("never_called", ()), stack_of(model)
    if len(names) != 1 or blocks is None or uses_of(model, blocks[-1], images) != 1:
        return None
    blocks[-1].register_forward_hook(_Then(model.get_submodule(str(names[0]))))
    return Text(f"{names[0]} called behind the last block", f"最後のブロックの後で{names[0]}を呼び出すよう変更")


class _Then:
    """A hook that gives what another module makes of a module's output."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, module: nn.Module, given: object, output: Tensor) -> Tensor:
        return self.module(output)


def skips_added(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """What went into the norm of a branch (into the branch, where it has none in front) is added to what the branch gives."""
    stack = stack_of(model)
    if stack is None or len(stack) != finding.evidence["blocks"]:
        return None
    run, attending = _run(model, images), _attending(model, images)
    prefix = next(path for path, module in model.named_modules() if module is stack)
    starts: list[Tensor] = []
    for kind in ("attentions_without_skip", "mlps_without_skip"):
        for number in finding.evidence.get(kind, ()):
            inside = [each for each in run if each.path.rpartition(".")[0] == f"{prefix}.{number}"]
            branch = _attention(inside, attending) if kind.startswith("attentions") else _mlp(inside, attending)
            if branch is None:
                return None
            start = _normed(inside, branch[0]) if _is_pre_norm(inside, attending) else branch[0]
            if any(each is start.given for each in starts):  # both branches stand side by side, and share one skip
                continue
            starts.append(start.given)
            skip = _Skip()
            start.module.register_forward_pre_hook(skip)
            _end(inside, branch[1]).module.register_forward_hook(skip)
    return Text(f"{len(starts)} residual connections added", f"残差接続を{len(starts)}本追加") if starts else None


class _Skip:
    """Two hooks in one, so that they share what goes round: in front of a branch its input is kept, behind it added."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], *output: Tensor | tuple[Tensor, ...]) -> object:
        if not output:
            self.kept = given[0]
            return None
        kept, self.kept, branch = self.kept, None, output[0]
        if kept is None:
            return None
        return branch + kept if isinstance(branch, Tensor) else (branch[0] + kept, *branch[1:])


Branch = tuple[Ran, Ran]
"""The first and the last module of a branch."""


def _attention(inside: Sequence[Ran], attending: Sequence[str]) -> Branch | None:
    """The part of a block that runs its attention."""
    found = [each for each in inside if any(f"{path}.".startswith(f"{each.path}.") for path in attending)]
    return (found[0], found[0]) if len(found) == 1 else None


def _mlp(inside: Sequence[Ran], attending: Sequence[str]) -> Branch | None:
    """The part of a block with two matrices and more that runs none; or the first and the last behind the attention with one each."""
    attention = _attention(inside, attending)
    if attention is None:
        return None
    rest = [each for each in inside if each is not attention[0] and each.matrices]
    whole = [each for each in rest if each.matrices > 1]
    if len(whole) == 1:
        return whole[0], whole[0]
    return (rest[0], rest[-1]) if len(rest) > 1 and not whole else None


def _normed(inside: Sequence[Ran], first: Ran) -> Ran:
    """The norm in front of a branch's first module; that itself, where there is none."""
    return next((each for each in inside if each.output is first.given), first)


def _is_pre_norm(inside: Sequence[Ran], attending: Sequence[str]) -> bool:
    """Whether a block norms what its attention is given: where it does not, the norm in front of its MLP is that behind the attention."""
    attention = _attention(inside, attending)
    return attention is not None and _normed(inside, attention[0]) is not attention[0]


def _end(inside: Sequence[Ran], last: Ran) -> Ran:
    """The last module that a branch's numbers go through alone: a scale or dropout behind it belongs to it, a norm does not."""
    for each in inside:
        if each.given is last.output and each is not last and not (each.is_norm or each.matrices):
            return _end(inside, each)
    return last


def _run(model: nn.Module, images: Tensor) -> list[Ran]:
    """What ran once in a forward, in the order in which it ended."""
    found: list[Ran] = []

    def seen(path: str, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if given and isinstance(given[0], Tensor) and isinstance(first, Tensor):
            found.append(Ran(path, module, given[0], first))

    named = [(path, module) for path, module in model.named_modules() if path]
    handles = [module.register_forward_hook(partial(seen, path)) for path, module in named]
    try:
        model(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(each.path for each in found)
    return [each for each in found if times[each.path] == 1]


def _attending(model: nn.Module, images: Tensor) -> list[str]:
    """The modules that run an attention."""
    given = images[:1].clone()
    with record(model, given) as tape:
        model(given)
    return [attention.path for attention in find_attentions(tape)]


def activation_called(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """An activation between the two layers of each MLP: the one that it holds and does not call, else GELU."""
    run, hidden = _run(model, images), finding.evidence["hidden_width"]
    pairs = [
        (one, other)
        for number, one in enumerate(run)
        for other in run[number + 1 :]
        if isinstance(one.module, nn.Linear)
        and isinstance(other.module, nn.Linear)
        and one.module.out_features in hidden
        and _same_place(one.output, other.given)
    ]
    if len(pairs) != len(finding.evidence["blocks_with_affine_mlp"]):
        return None
    for one, other in pairs:
        holder = model.get_submodule(one.path.rpartition(".")[0])
        held = [m for m in holder.modules() if isinstance(m, ACTIVATIONS) and not any(each.module is m for each in run)]
        act = held[0] if held else nn.GELU()
        other.module.register_forward_pre_hook(_First(act))
        name = type(act).__name__
    return Text(
        f"nn.{name} called between the two layers of {len(pairs)} MLPs",
        f"{len(pairs)}個のMLPの2層の間でnn.{name}を呼び出すよう変更",
    )


def _same_place(one: Tensor, other: Tensor) -> bool:
    """Whether two are the same numbers at one place: what is passed on, or shown by a dropout that is off."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


class _First:
    """A hook that gives a module what another makes of its input."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.module(given[0]), *given[1:])


def parts_called(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """An MLP that each block holds and does not call is called at its end, on what the one norm that is not called either makes of the tokens, and
    added; an attention at its beginning."""
    paths, run = [str(path) for path in finding.evidence["modules"]], _run(model, images)
    for path in paths:
        block_path, _, _ = path.rpartition(".")
        block = model.get_submodule(block_path)
        inside = [each for each in run if each.path.rpartition(".")[0] == block_path]
        ran = {id(each.module) for each in inside}
        norms = [m for m in block.children() if id(m) not in ran and "norm" in type(m).__name__.lower()]
        working = [each for each in inside if each.matrices]
        is_pre_norm = bool(working) and any(each.is_norm and each.output is working[0].given for each in inside)
        if len(norms) != 1 or not is_pre_norm or uses_of(model, block, images) != 1:
            return None
        part = model.get_submodule(path)
        if _mixes_tokens(part, norms[0]):
            block.register_forward_pre_hook(_Added(norms[0], part))
        else:
            block.register_forward_hook(_Added(norms[0], part))
    named = listed(paths)
    return Text(
        f"{named} called, and added to the tokens", f"{named.replace(', ', '、')}を呼び出し、トークンに足すよう変更"
    )


class _Added:
    """A hook, in front of a block or behind it, that adds to its tokens what a part makes of them normed."""

    def __init__(self, norm: nn.Module, part: nn.Module) -> None:
        self.norm, self.part = norm, part

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], *output: Tensor) -> object:
        tokens = output[0] if output else given[0]
        tokens = tokens + _called(self.part, self.norm(tokens))
        return tokens if output else (tokens, *given[1:])


def _called(part: nn.Module, tokens: Tensor) -> Tensor:
    if isinstance(part, nn.MultiheadAttention):
        found: Tensor = part(tokens, tokens, tokens, need_weights=False)[0]
        return found
    answer: Tensor = part(tokens)
    return answer


def _mixes_tokens(part: nn.Module, norm: nn.Module) -> bool:
    """Whether what a part gives for one token hangs on another."""
    width = next(norm.parameters()).shape[-1]
    tokens = torch.randn(1, 4, width, generator=torch.Generator().manual_seed(0)).to(next(part.parameters()))
    other = tokens.clone()
    other[:, 0] += 1
    return not torch.equal(_called(part, tokens)[:, 1:], _called(part, other)[:, 1:])


def unshared(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """A block of its own in each place of one that stands in several. Its start values are the shared ones, each tensor's in another order: as they
    were drawn, whatever drew them."""
    groups = [paths for paths in finding.evidence.get("same", ()) if all(_is_module(model, path) for path in paths)]
    if not groups or not set(finding.evidence.get("called_again", ())) <= {path for paths in groups for path in paths}:
        return None
    generator, count = torch.Generator().manual_seed(0), 0
    for first, *others in groups:
        shared = model.get_submodule(first)
        for path in others:
            own = copy.deepcopy(shared)
            for tensor in own.parameters():
                order = torch.randperm(tensor.numel(), generator=generator)
                tensor.data = tensor.detach().flatten()[order].view_as(tensor)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, own)
            count += 1
    return Text(
        f"{count} blocks of their own, which start with the shared one's numbers in another order",
        f"共有されていた{count}個のブロックを独立させた（初期値は共有元の値の並べ替え）",
    )


def _is_module(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True
