"""Which parts of the blocks, or which blocks, a model holds and never calls (M14). In goes a patient, out comes an `Uncalled`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from torch import nn

from vitscope.doctor.blocks.census import is_matrix
from vitscope.doctor.finding import Skipped
from vitscope.doctor.naming import without_numbers
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.lens.flow import is_of_two
from vitscope.lens.operations import FUSED, PRODUCTS
from vitscope.lens.tape import Tape

Modules = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Uncalled:
    """What is held and never called, by the paths of modules.

    Branches and whole stacks are an error. Blocks beside others that run are a warning only, and so is a branch of the last block alone: who reads
    the tokens out before the end, or takes only the first blocks of a larger model, may mean it.
    """

    branches: list[str]
    """Attentions and MLPs of blocks that work otherwise."""
    stacks: list[str]
    """What holds most of the model, where nothing that is called could be an attention."""
    blocks: list[str]
    """Blocks beside others of their kind that run."""
    held: int
    """How many blocks there are of the kind of the first of those."""
    attends: bool
    """Whether anything runs that could be an attention."""
    is_error: bool

    @property
    def parts(self) -> list[str]:
        """All of them."""
        return [*self.branches, *self.stacks, *self.blocks]


def uncalled(patient: Patient, tops: Sequence[str], never: frozenset[str]) -> Uncalled:
    """Looks among the outermost modules that are not used; `never` are the parameters that no operation was given."""
    modules = dict(patient.model.named_modules())
    paths = [path for path in tops if is_idle(path, modules[path], never)]
    attentions = attentions_of(patient)
    attends = bool(attentions) or _attends(patient.tape)
    most = [path for path in paths if _matrices(modules[path]) > 1 and _is_branch(attentions, path, paths, modules)]
    most = [path for path in paths if path in most or _is_list_of_branches(path, modules, never)]
    lone = [path for path in paths if path not in most and _is_lone_branch(patient, attentions, path, modules)]
    stacks = [] if most or attends else [path for path in paths if _is_most(patient.model, path, modules)]
    blocks: dict[str, int] = {}
    for path in paths:
        held = _twins_that_run(attentions, path, paths, modules)
        if held and path not in (*most, *lone):
            blocks[path] = held
    is_error = bool(most or stacks) or any(not _is_last(path, modules) for path in lone)
    branches = [path for path in paths if path in most or path in lone]
    return Uncalled(branches, stacks, list(blocks), next(iter(blocks.values()), 0), attends, is_error)


def is_idle(path: str, module: nn.Module, idle: Set[str]) -> bool:
    """Whether all of a module's parameters, of which it has some, are among the idle ones."""
    names = [f"{path}.{name}" for name, _ in module.named_parameters()]
    return bool(names) and all(name in idle for name in names)


def attentions_of(patient: Patient) -> tuple[Attention, ...]:
    """Those that were found; none where the inside was not followed."""
    try:
        return patient.attentions
    except Skipped:
        return ()


def _attends(tape: Tape) -> bool:
    """Whether a product of two things that were computed from the image runs, as in any attention, with a softmax or without."""
    return any(call.name.startswith(FUSED) or is_of_two(tape, call) for call in tape.calls)


def _matrices(module: nn.Module) -> int:
    return sum(is_matrix(parameter) for parameter in module.parameters())


def _is_most(model: nn.Module, path: str, modules: Modules) -> bool:
    """Whether a module holds more than half of the model's numbers, and several matrices; what a dictionary holds is there to choose from."""
    held = sum(parameter.numel() for parameter in modules[path].parameters())
    is_choice = isinstance(modules[path.rpartition(".")[0]], nn.ModuleDict)
    return 2 * held > sum(p.numel() for p in model.parameters()) and _matrices(modules[path]) > 2 and not is_choice


def _is_branch(attentions: Sequence[Attention], path: str, paths: Sequence[str], modules: Modules) -> bool:
    """Whether it stands in a block that works otherwise, and most other blocks do not call theirs either."""
    if not _is_part_of_more(path, modules):
        return False
    parent = path.rpartition(".")[0]
    same = _in_same_place(path, modules)
    if len(same) > 1 or without_numbers(parent) != parent:
        return 2 * len(set(same) & set(paths)) > len(same)
    return sum(f"{each.path}.".startswith(f"{parent}.") for each in attentions) == 1


def _is_lone_branch(patient: Patient, attentions: Sequence[Attention], path: str, modules: Modules) -> bool:
    """Whether it is the attention or the MLP of a block that runs without any, where a block that holds the same calls its own. A block in which
    another attention, or another product beside the attention's, stands in for it was meant so."""
    parent = path.rpartition(".")[0]
    if _matrices(modules[path]) < 2 or not _is_part_of_more(path, modules):
        return False
    running = {other.rpartition(".")[0]: other for other in _in_same_place(path, modules) if other != path}
    twins = [other for at, other in running.items() if at != parent and _alike(modules[at], modules[parent])]
    own = [each for each in attentions if is_within(each.path, parent)]
    if any(is_within(each.path, twin) for each in attentions for twin in twins):
        return not own
    ran = [call.path for call in patient.tape.calls if call.name in PRODUCTS and is_within(call.path, parent)]
    called = [twin for twin in twins if any(is_within(call.path, twin) for call in patient.tape.calls)]
    return bool(called and own) and all(any(is_within(path, each.path) for each in own) for path in ran)


def is_within(path: str, module: str) -> bool:
    """Whether a path is a module's, or of one inside of it."""
    return bool(module) and f"{path}.".startswith(f"{module}.")


def _is_last(path: str, modules: Modules) -> bool:
    """Whether no block behind holds the same."""
    same = _in_same_place(path, modules)
    return same[-1] == path


def _is_part_of_more(path: str, modules: Modules) -> bool:
    """Whether other parts stand beside it, none of its own kind. What a dictionary holds is one of several to choose from."""
    parent, _, name = path.rpartition(".")
    siblings = [child for key, child in modules[parent].named_children() if key != name] if parent else []
    if isinstance(modules[parent], nn.ModuleDict) or not any(list(child.parameters()) for child in siblings):
        return False
    return not any(_alike(child, modules[path]) for child in siblings)  # one of several layers, not a part of one


def _in_same_place(path: str, modules: Modules) -> list[str]:
    """The same part of each block that holds it, in order."""
    place = _place_in_block(path)
    return [other for other in modules if _place_in_block(other) == place and _matrices(modules[other]) > 1]


def _twins_that_run(attentions: Sequence[Attention], path: str, paths: Sequence[str], modules: Modules) -> int:
    """How many of a block's kind stand beside it, itself among them; 0 where it is no block, or none of them runs an attention."""
    parent = path.rpartition(".")[0]
    if _matrices(modules[path]) < 2 or isinstance(modules[parent], nn.ModuleDict):
        return 0
    beside = [f"{parent}.{key}" if parent else key for key, child in modules[parent].named_children()]
    kind = [other for other in beside if other == path or _alike(modules[other], modules[path])]
    runs = any(is_within(each.path, other) for each in attentions for other in kind if other not in paths)
    return len(kind) if runs else 0


def _place_in_block(path: str) -> tuple[str, str]:
    """The same for the same part of each block."""
    parent, _, name = path.rpartition(".")
    return without_numbers(parent), name


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are two of a kind: the same parameters, but for their numbers."""
    return [(n, p.shape) for n, p in one.named_parameters()] == [(n, p.shape) for n, p in other.named_parameters()]


def _is_list_of_branches(path: str, modules: Modules, idle: Set[str]) -> bool:
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
        and not is_idle(f"{parent}.{key}" if parent else key, child, idle)
        and _matrices(child) > 0
        for key, child in modules[parent].named_children()
    )
