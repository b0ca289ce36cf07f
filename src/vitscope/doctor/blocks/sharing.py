"""Blocks that are fewer, or less different, than they seem: one module under several names or called again and again (M16), and blocks that all
begin as copies of one (M17). In goes a patient, out come findings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import is_matrix
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.placed import LOOKUPS
from vitscope.lens.flow import ancestors
from vitscope.lens.operations import CONVOLUTIONS, FUSED, PRODUCTS
from vitscope.lens.tape import Call, Tape

SHARED = Fault(
    "shared-blocks",
    "M16",
    "parameters",
    "warning",
    Text(
        "One set of weights stands for several layers: the model has as many different blocks, and parameters, as one that is far less deep. Some "
        "models share by design (ALBERT); `[block] * depth` does it by accident.",
        "1組の重みが複数の層として使われています。異なるブロックやパラメータの数は、はるかに浅いモデルと変わりません。意図的に共有するモデル（ALBERTなど）も"
        "ありますが、`[block] * depth`は意図しない共有です。",
    ),
    Text(
        "build a new block for each layer, unless the sharing is meant",
        "意図した共有でなければ、層ごとに新しいブロックを作ってください",
    ),
    "self.blocks = nn.ModuleList([Block(dim) for _ in range(depth)])   # not [Block(dim)] * depth",
    explains=("identical-start",),
)
COPIES = Fault(
    "identical-start",
    "M17",
    "parameters",
    "note",
    Text(
        "nn.TransformerEncoder and copy.deepcopy start every block with the same numbers. Position in the depth tells the blocks apart, so they "
        "learn all the same; blocks that are drawn one by one start more varied.",
        "nn.TransformerEncoderやcopy.deepcopyを使うと、すべてのブロックが同じ値から始まります。深さの位置が違うので学習は進みますが、ブロックごとに"
        "初期値を引くほうが多様な状態から始められます。",
    ),
    Text(
        "draw the weights of each block anew",
        "ブロックごとに重みを初期化し直してください",
    ),
    "for p in encoder.parameters():\n    if p.dim() > 1:\n        nn.init.xavier_uniform_(p)",
)


def shared(patient: Patient) -> Iterator[Finding]:
    """One module that works as several layers."""
    twice = _at_work(patient, [*_under_several_names(patient.model), *_tied(patient.model)])
    again, rereading = _called_again(patient)
    if not twice and not again:
        return
    names = [f"{paths[0]} = {paths[1]}" + (" = …" if len(paths) > 2 else "") for paths in twice]
    calls = [f"{path} ({count}×)" for path, count in again.items()]
    most = max([*(len(paths) for paths in twice), *again.values()])
    by_design = not twice and set(again) == rereading
    if again:
        summary = Text(
            f"One module works as several layers: {listed(calls)} is called again on what came out of it."
            + (" Each time it is given the same input anew, as in Perceiver and slot attention." if by_design else ""),
            f"1つのモジュールが複数の層として働いています。{listed(calls)}は、自分の出力に対して繰り返し呼び出されています。"
            + ("Perceiverやスロットアテンションのように、毎回同じ入力を読み直しています。" if by_design else ""),
        )
    else:
        summary = Text(
            f"The same weights stand under several names: {listed(names)}.",
            f"同じ重みが複数の名前で登録されています: {listed(names)}。",
        )
    yield SHARED.found(
        summary,
        {"same": [list(paths) for paths in twice], "called_again": dict(again), "times": most},
        severity="note" if by_design else "warning",
    )


def _under_several_names(model: nn.Module) -> list[tuple[str, ...]]:
    """The outermost modules of two and more matrices that are registered at several places of one container, or at one place of several blocks."""
    places: defaultdict[int, list[str]] = defaultdict(list)
    by_id: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if path and _matrices(module) > 1:
            places[id(module)].append(path)
            by_id[id(module)] = module
    found = [
        (by_id[key], paths) for key, paths in places.items() if len(paths) > 1 and len({_masked(p) for p in paths}) == 1
    ]
    inside = {id(below) for module, _ in found for below in module.modules() if below is not module}
    return [tuple(paths) for module, paths in found if id(module) not in inside]


def _tied(model: nn.Module) -> list[tuple[str, ...]]:
    """Single matrices that stand at one place of several blocks, in modules that are not shared as a whole."""
    places: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if is_matrix(parameter):
            places[id(parameter)].append(name)
    whole = {path for paths in _under_several_names(model) for path in paths}
    return [
        tuple(names)
        for names in places.values()
        if len(names) > 1
        and len({_masked(name) for name in names}) == 1
        and not any(name.startswith(f"{path}.") for name in names for path in whole)
    ]


def _at_work(patient: Patient, shared: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of which a matrix is multiplied with tokens, or never used; not those that hold tables alone, as of relative positions, and are passed
    to all blocks on purpose (T5, BEiT)."""
    if not shared:
        return []
    passed = _only_passed_on(patient.tape)
    matrices = [(name, p) for name, p in patient.model.named_parameters(remove_duplicate=False) if is_matrix(p)]
    return [
        paths
        for paths in shared
        if any(id(p) not in passed for name, p in matrices if f"{name}.".startswith(f"{paths[0]}."))
    ]


def _only_passed_on(tape: Tape) -> set[int]:
    """The tensors from outside, by `id`, that are used and from which no number becomes a factor of a product with tokens but by a look-up in a
    table."""
    used, factor = set[int](), set[int]()
    made_of: dict[int, set[int]] = {}
    for call in tape.calls:
        for source in call.sources:
            if source.call is None:
                used.add(id(source.tensor))
        given = [{id(s.tensor)} if s.call is None else made_of.get(s.call.number, set()) for s in call.sources]
        if not any(tape.is_of_image(source) for source in call.sources):
            made_of[call.number] = set[int]().union(*given) if call.name not in LOOKUPS else set()
        elif call.name in PRODUCTS:
            factor = factor.union(*given[-2:])
        elif call.name in CONVOLUTIONS or call.name.startswith(FUSED):
            factor = factor.union(*given[:3])
    return used - factor


def _matrices(module: nn.Module) -> int:
    return sum(is_matrix(parameter) for parameter in module.parameters())


def _masked(path: str) -> str:
    return re.sub(r"\d+", "*", path)


def _called_again(patient: Patient) -> tuple[dict[str, int], set[str]]:
    """The outermost modules of two and more matrices that are called on what came out of an earlier call of their own, and how often; and those of
    them between whose calls one input is read again and again."""
    uses = Counter(
        id(source.tensor)
        for call in patient.tape.calls
        for source in call.sources
        if source.call is None and is_matrix(source.tensor)
    )
    suspects = {
        path: module
        for path, module in patient.model.named_modules()
        if path and _matrices(module) > 1 and all(uses[id(p)] > 1 for p in module.parameters() if is_matrix(p))
    }
    if not suspects:
        return {}, set()
    seen: defaultdict[str, list[tuple[list[Tensor], list[Tensor]]]] = defaultdict(list)
    hooks = []
    for path, module in suspects.items():

        def note(_: nn.Module, args: object, kwargs: object, out: object, path: str = path) -> None:
            seen[path].append((_tensors((args, kwargs)), _tensors(out)))

        hooks.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        tape = patient.tape_of(patient.images[: patient.batch or 1])
    finally:
        for hook in hooks:
            hook.remove()
    again: dict[str, int] = {}
    for path, calls in seen.items():
        behind = 1
        for (_, out), (given, _) in pairwise(calls):
            makers = [tape.maker(tensor) for tensor in out]
            behind += _reaches({maker.number for maker in makers if maker}, [tape.maker(tensor) for tensor in given])
        if behind > 1:
            again[path] = behind
    again = {path: count for path, count in again.items() if not any(path.startswith(f"{other}.") for other in again)}
    return again, {path for path in again if _rereads(tape, seen[path])}


def _rereads(tape: Tape, calls: Sequence[tuple[list[Tensor], list[Tensor]]]) -> bool:
    """Whether up to each call of a module, one operation of one place reads the same numbers of the image, which were there before the first."""
    first = max((maker.number for tensor in calls[0][0] if (maker := tape.maker(tensor))), default=-1)
    start, read = -1, list[set[tuple[int, int, str, str]]]()
    for _, out in calls:
        ends = [maker for tensor in out if (maker := tape.maker(tensor))]
        leading = set[int]().union(*(ancestors(end) for end in ends))
        read.append(
            {
                (source.call.number, source.index, tape.calls[number].path, tape.calls[number].name)
                for number in leading
                if number > start
                for source in tape.calls[number].sources
                if source.call is not None and source.call.number <= first and tape.is_of_image(source)
            }
        )
        start = max((end.number for end in ends), default=start)
    return bool(set.intersection(*read))


def _reaches(made: set[int], given: list[Call | None]) -> bool:
    return any(call is not None and made & ancestors(call) for call in given)


def _tensors(what: object) -> list[Tensor]:
    return [each for each in tree_leaves(what) if isinstance(each, Tensor)]


def copies(patient: Patient) -> Iterator[Finding]:
    """Blocks whose matrices all hold the same numbers before any training."""
    if patient.is_trained:
        return
    groups: defaultdict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, parameter in patient.model.named_parameters():
        if is_matrix(parameter) and re.search(r"\d", name):
            groups[f"{_first_masked(name)} {tuple(parameter.shape)}"].append((name, parameter))
    drawn = {key: members for key, members in groups.items() if len(members) > 1 and _varies(members[0][1])}
    alike = [members for members in drawn.values() if all(torch.equal(members[0][1], p) for _, p in members[1:])]
    if not alike or 2 * len(alike) <= len(drawn):
        return
    count = max(len(members) for members in alike)
    yield COPIES.found(
        Text(
            f"All blocks ({count}) start with the same numbers: {len(alike)} of {len(drawn)} matrices are equal in each "
            f"({listed([members[0][0] for members in alike])}).",
            f"{count}個のブロックがすべて同じ値から始まっています。{len(drawn)}個中{len(alike)}個の行列が全ブロックで等しくなっています"
            f"（{listed([members[0][0] for members in alike])}）。",
        ),
        {"blocks": count, "equal_matrices": len(alike), "matrices": len(drawn)},
    )


def _first_masked(name: str) -> str:
    """The name without its first number: that of the block, as a rule."""
    return re.sub(r"\d+", "*", name, count=1)


def _varies(parameter: Tensor) -> bool:
    return bool((parameter != parameter.flatten()[0]).any())
