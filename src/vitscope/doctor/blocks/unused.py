"""Parameters that are held and do not work: never called (M14), or cut from the graph. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from torch import nn

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, is_matrix
from vitscope.doctor.blocks.naming import listed, without_numbers
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.patient import Patient

NEVER_CALLED = Fault(
    "module-never-called",
    "M14",
    "parameters",
    "error",
    Text(
        "A part that print(model) lists and forward does not call is not there: blocks without their MLP do not transform tokens, blocks without "
        "their attention do not let them meet.",
        "print(model)に表示されていても、forwardで呼ばれない部品は存在しないのと同じです。MLPのないブロックはトークンを変換できず、アテンションのない"
        "ブロックではトークンどうしが情報をやり取りできません。",
    ),
    Text(
        "call it in forward, or delete it",
        "forwardで呼び出すか、不要なら削除してください",
    ),
    "x = x + self.attn(self.norm1(x))\nx = x + self.mlp(self.norm2(x))",
    explains=("unused-parameters", "shared-blocks", "overfit", "token-mixing"),
)
UNUSED = Fault(
    "unused-parameters",
    "M14",
    "parameters",
    "warning",
    Text(
        "What is never used stays at its start values, and DistributedDataParallel stops at it. Often a layer was meant to be called.",
        "使われないパラメータは初期値のまま残り、DistributedDataParallelではエラーになります。呼び出し忘れた層であることもよくあります。",
    ),
    Text(
        "call it in forward, or delete it",
        "forwardで呼び出すか、不要なら削除してください",
    ),
)
CUT = Fault(
    "cut-from-the-graph",
    "M14",
    "parameters",
    "error",
    Text(
        "The forward uses these numbers and no gradient comes back to them: they stay as they were drawn, however long the training takes.",
        "順伝播で使われているのに勾配が届かないため、どれだけ学習しても初期値のまま変わりません。",
    ),
    Text(
        "take detach(), .data, .item() and torch.no_grad() off the way from them to the scores; what is frozen on purpose gets requires_grad_(False)",
        "スコアまでの経路からdetach()、.data、.item()、torch.no_grad()を取り除いてください。意図して固定する場合はrequires_grad_(False)を使います",
    ),
    "x = x + self.pos_embed   # not self.pos_embed.data, not .detach()",
    explains=("overfit", "learning-rate", "gradient"),
)


def cut(patient: Patient, census: Census) -> Iterator[Finding]:
    """What the scores are made of and no gradient arrives at."""
    if not census.cut:
        return
    sizes = {name: parameter.numel() for name, parameter in patient.model.named_parameters()}
    lost, asked = sum(sizes[name] for name in census.cut), sum(sizes[name] for name in census.asking)
    share = lost / max(asked, 1)
    yield CUT.found(
        Text(
            f"{len(census.cut)} parameters ({100 * share:.1f} % of the numbers that should learn) are used and get no gradient: "
            f"{listed(census.cut)}.",
            f"{len(census.cut)}個のパラメータ（学習すべき数値の{100 * share:.1f} %）は、使われているのに勾配が届きません: {listed(census.cut)}。",
        ),
        {"parameters": list(census.cut), "numbers": lost, "share": share},
        severity="error" if share > 0.5 else "warning",
    )


def unused(patient: Patient, census: Census) -> Iterator[Finding]:
    """What nothing is made of: whole branches of the blocks, and the rest."""
    idle = set(census.unused)
    tops = _topmost(patient.model, idle)
    branches = _branches(patient, tops, census.never_called)
    sizes = {name: parameter.numel() for name, parameter in patient.model.named_parameters()}
    if branches:
        lost = [name for name in census.unused if any(name.startswith(f"{path}.") for path in branches)]
        numbers = sum(sizes[name] for name in lost)
        yield NEVER_CALLED.found(
            Text(
                f"Whole parts of the blocks are never called: {listed(branches)}. They hold {numbers:,} numbers.",
                f"ブロックの部品が丸ごと呼び出されていません: {listed(branches)}（数値{numbers:,}個）。",
            ),
            {"modules": branches, "numbers": numbers},
        )
        idle -= set(lost)
    if not idle:
        return
    rest = [path for path in tops if path not in branches]
    rest += [name for name in census.unused if name in idle and not any(name.startswith(f"{path}.") for path in rest)]
    matters = any(is_matrix(patient.model.get_parameter(name)) for name in idle)
    numbers = sum(sizes[name] for name in idle)
    yield UNUSED.found(
        Text(
            f"Nothing that the model gives back is made of {listed(rest)} ({numbers:,} numbers).",
            f"{listed(rest)}（数値{numbers:,}個）は、モデルの出力のどこにも使われていません。",
        ),
        {"parts": rest, "parameters": [name for name in census.unused if name in idle], "numbers": numbers},
        severity="warning" if matters else "note",
    )


def _topmost(model: nn.Module, idle: Set[str]) -> list[str]:
    """The outermost modules of which no parameter is used."""
    found: list[str] = []
    for path, module in model.named_modules():
        if path and not any(path.startswith(f"{other}.") for other in found) and _is_idle(path, module, idle):
            found.append(path)
    return found


def _is_idle(path: str, module: nn.Module, idle: Set[str]) -> bool:
    names = [f"{path}.{name}" for name, _ in module.named_parameters()]
    return bool(names) and all(name in idle for name in names)


def _branches(patient: Patient, tops: Sequence[str], never: frozenset[str]) -> list[str]:
    """Those of them that are an attention or an MLP of the blocks and are never called."""
    modules = dict(patient.model.named_modules())
    uncalled = [path for path in tops if _is_idle(path, modules[path], never)]
    found = [path for path in uncalled if _matrices(modules[path]) > 1 and _is_branch(patient, path, uncalled, modules)]
    return [path for path in uncalled if path in found or _is_list_of_branches(path, modules, never)]


def _matrices(module: nn.Module) -> int:
    return sum(is_matrix(parameter) for parameter in module.parameters())


def _is_branch(patient: Patient, path: str, uncalled: Sequence[str], modules: dict[str, nn.Module]) -> bool:
    """Whether it stands in a block that works otherwise, and most other blocks do not call theirs either. What a dictionary holds is one of
    several to choose from."""
    parent, _, name = path.rpartition(".")
    siblings = [child for key, child in modules[parent].named_children() if key != name] if parent else []
    if isinstance(modules[parent], nn.ModuleDict) or not any(list(child.parameters()) for child in siblings):
        return False
    if any(_alike(child, modules[path]) for child in siblings):  # one of several layers, not a part of one
        return False
    same = [
        other for other in modules if _place_in_block(other) == _place_in_block(path) and _matrices(modules[other]) > 1
    ]
    if len(same) > 1 or without_numbers(parent) != parent:
        return 2 * len(set(same) & set(uncalled)) > len(same)
    try:
        return sum(f"{each.path}.".startswith(f"{parent}.") for each in patient.attentions) == 1
    except Skipped:
        return False


def _place_in_block(path: str) -> tuple[str, str]:
    """The same for the same part of each block."""
    parent, _, name = path.rpartition(".")
    return without_numbers(parent), name


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are two of a kind: the same parameters, but for their numbers."""
    return [(n, p.shape) for n, p in one.named_parameters()] == [(n, p.shape) for n, p in other.named_parameters()]


def _is_list_of_branches(path: str, modules: dict[str, nn.Module], idle: Set[str]) -> bool:
    """Whether it is a list of MLPs or attentions beside another list of the same length, which is used."""
    children = list(modules[path].children())
    if (
        len(children) < 2
        or any(_matrices(child) < 2 for child in children)
        or not all(_alike(children[0], c) for c in children)
    ):
        return False
    parent, _, own = path.rpartition(".")
    return any(
        key != own
        and len(list(child.children())) == len(children)
        and not _is_idle(f"{parent}.{key}" if parent else key, child, idle)
        and _matrices(child) > 0
        for key, child in modules[parent].named_children()
    )
