"""The mends, one function a kind of fault: a copy of a model, what was found and a few images in, a sentence on what was changed out (None where
there was nothing to change). None touches a weight: they switch a flag, take a module out, or hook on what the forward forgot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding, Skipped
from vitscope.doctor.patient import scores_of
from vitscope.race.ways import Attached, DropoutByMode, Unmasked, is_triangular, under
from vitscope.race.ways_attention import ChannelsLast


def batch_first(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """`batch_first=True` for every torch attention that lacks it, and that the finding names."""
    named = [str(path) for path in finding.evidence.get("attentions_across_the_batch", ())]
    if not named:  # tokens that do not meet for another reason
        return None
    changed = [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention) and not module.batch_first and _is_named(path, named)
    ]
    for module in changed:
        module.batch_first = True
    if not changed:
        return None
    return Text(
        f"batch_first=True in {len(changed)} nn.MultiheadAttention",
        f"nn.MultiheadAttention {len(changed)}個をbatch_first=Trueに変更",
    )


def _is_named(path: str, named: list[str]) -> bool:
    around = f"{path}."
    return any(
        name in (path, "the model") or around.startswith(f"{name}.") or name.startswith(around) for name in named
    )


def without_mask(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """Triangular masks that are held are filled with what they let pass; those that the forward makes are not given to the attention."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and is_triangular(buffer):
                module._buffers[name] = torch.full_like(buffer, buffer.flatten()[0].item())
    under(model, Unmasked)
    return Text("attention without the triangular mask", "アテンションから三角形のマスクを除去")


def attached(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """`detach()` and `.data` give back the tensor itself, history included, while the model runs."""
    under(model, Attached)
    return Text("detach() left out of the forward", "順伝播からdetach()を除去")


def dropout_by_mode(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """`F.dropout` is told whether the model is in training."""
    under(model, DropoutByMode)
    return Text("training=self.training for every dropout", "すべてのドロップアウトにtraining=self.trainingを指定")


def set_free(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """Parameters that the finding names learn."""
    names = [str(name) for name in finding.evidence.get("parameters", ())]
    frozen = [p for name, p in model.named_parameters() if name in names and not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    if not frozen:
        return None
    return Text(f"requires_grad=True for {', '.join(names[:3])}", f"{'、'.join(names[:3])}をrequires_grad=Trueに変更")


def all_set_free(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """All parameters learn."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    return Text(
        f"requires_grad=True for the {len(frozen)} frozen parameters",
        f"固定された{len(frozen)}個のパラメータをrequires_grad=Trueに変更",
    )


def position_added(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """A table that is held and never added is added before the first block; one that is all zeros and frozen learns."""
    name = finding.evidence.get("never_added")
    if not isinstance(name, str):
        frozen = [n for n, p in model.named_parameters() if not p.requires_grad and p.ndim > 1 and not bool(p.any())]
        if not frozen:
            raise Skipped(_NO_TABLE)
        return set_free(model, finding.fault.found(finding.summary, {"parameters": frozen}), images)
    blocks = stack_of(model)
    if blocks is None:
        return None
    uses = uses_of(model, blocks[0], images)
    if uses != 1:  # a hook on it would add the table at each use
        raise Skipped(_SHARED.format(uses=uses))
    blocks[0].register_forward_pre_hook(_AddTable(model, name))
    return Text(f"{name} added before the first block", f"{name}を最初のブロックの前で加算")


_NO_TABLE = Text(
    "the model holds no table of positions that could be added; a mend would have to make one, with start values of its own",
    "足すべき位置埋め込みの表がモデルにありません。修正するには、初期値も含めて新しく作る必要があります",
)
_SHARED = Text(
    "the first block is used {uses} times in a forward, so there is no place before it where the table would be added once",
    "最初のブロックが順伝播で{uses}回使われるため、位置埋め込みを1回だけ加算できる場所がありません",
)


def uses_of(model: nn.Module, block: nn.Module, images: Tensor) -> int:
    """How often a forward runs a module."""
    seen: list[int] = []
    handle = block.register_forward_pre_hook(lambda module, given: seen.append(1))
    try:
        model(images.clone())
    finally:
        handle.remove()
    return len(seen)


class _AddTable:
    """A hook that adds a table, looked up where the model holds it; an object, so that a copy of the model gets one with its own."""

    def __init__(self, model: nn.Module, name: str) -> None:
        path, _, self.name = name.rpartition(".")
        self.owner = model.get_submodule(path)

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        tokens, table = given[0], getattr(self.owner, self.name)
        if tokens.ndim != 3 or tokens.shape[-1] != table.shape[-1] or not 0 <= tokens.shape[1] - table.shape[-2] <= 1:
            return None
        place = table.reshape(1, *table.shape[-2:])
        if tokens.shape[1] > place.shape[1]:  # the class token has no place in it
            place = torch.cat([torch.zeros_like(place[:, :1]), place], dim=1)
        return (tokens + place, *given[1:])


def stack_of(model: nn.Module) -> nn.ModuleList | nn.Sequential | None:
    """The first list of several modules of one kind that hold parameters: the blocks."""
    lists = (each for each in model.modules() if isinstance(each, nn.ModuleList | nn.Sequential) and len(each) > 1)
    return next((each for each in lists if _are_alike(each)), None)


def _are_alike(modules: nn.ModuleList | nn.Sequential) -> bool:
    return len({type(module) for module in modules}) == 1 and any(True for _ in modules[0].parameters())


def channels_last(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """A module that reshapes a convolution's B D H W to B N D, where it should have moved D behind: its result is put in order."""
    run, _ = watched(model, images)
    for seen in run:
        for inner in run:
            if isinstance(inner.module, nn.Conv2d) and _is_reshaped(seen.output, inner.output):
                seen.module.register_forward_hook(_InOrder(inner.output.shape[1]))
                return Text(
                    f"flatten(2).transpose(1, 2) in {seen.path or 'the model'} where it reshapes",
                    f"{seen.path or 'モデル本体'}のreshapeをflatten(2).transpose(1, 2)に変更",
                )
    under(model, ChannelsLast)  # the forward of some module reshapes in the middle of other things
    return Text(
        "flatten(2).transpose(1, 2) where the patches are reshaped",
        "パッチのreshapeをflatten(2).transpose(1, 2)に変更",
    )


def _is_reshaped(tokens: Tensor, maps: Tensor) -> bool:
    if tokens.ndim != 3 or maps.ndim != 4 or tokens.numel() != maps.numel() or tokens.shape[-1] != maps.shape[1]:
        return False
    right = maps.flatten(2).transpose(1, 2)
    return torch.equal(tokens, maps.reshape(tokens.shape)) and not torch.equal(tokens, right)


class _InOrder:
    """A hook that undoes the reshape of B D H W to B N D and moves D behind."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, module: nn.Module, given: object, tokens: Tensor) -> Tensor:
        return tokens.reshape(len(tokens), self.width, -1).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a module gave."""

    path: str
    module: nn.Module
    output: Tensor


def watched(model: nn.Module, images: Tensor) -> tuple[list[Seen], Tensor]:
    """What each module gave in one forward, in the order in which they ended, and the scores in what the model gave."""
    run: list[Seen] = []
    handles = [
        module.register_forward_hook(
            lambda module, given, output, path=path: (
                run.append(Seen(path, module, output)) if isinstance(output, Tensor) else None
            )
        )
        for path, module in model.named_modules()
    ]
    try:
        answer = model(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    return run, scores_of(answer, len(images))
