"""What becomes of each parameter in a forward: in goes a patient, out comes a `Census`, told from the tape and from the autograd graph.

The tape sees what is used; the graph sees what learns. A parameter in the one and not in the other is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vitscope._core.text import Text
from vitscope.doctor.copying import copied, hidden
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import SEED, Patient, scores_of
from vitscope.doctor.reading.blindness import is_blind
from vitscope.lens.flow import ancestors
from vitscope.lens.randomness import seed_cpu
from vitscope.lens.tape import Call, Tape


@dataclass(frozen=True, eq=False)
class Census:
    """The parameters of a model that ask for a gradient, by what becomes of them. Names are those of `named_parameters`."""

    asking: tuple[str, ...]
    learning: frozenset[str]
    """A gradient arrives at them, if only one of zeros."""
    cut: tuple[str, ...]
    """The scores are made of them, and no gradient arrives."""
    unused: tuple[str, ...]
    """Nothing that the model gives back is made of them, in evaluation or in training."""
    never_called: frozenset[str]
    """Those of them that no operation was given: the others are computed with, and the result is thrown away."""
    frozen_zeros: tuple[str, ...]
    """Matrices that are used, ask for no gradient, and hold nothing but zeros."""
    unregistered: Mapping[str, int]
    """What is used, asks for a gradient and is no parameter of the model: its place, and its numbers."""


def census_of(patient: Patient) -> Census:
    """The census, taken once.

    Raises:
        Skipped: no parameter asks for a gradient.
    """
    known = patient._known.get("census")
    if not isinstance(known, Census):
        known = patient._known["census"] = _taken(patient)
    return known


_NOTHING_ASKS = Text(
    "no parameter of the model asks for a gradient: all are frozen, so none of them can be missing one",
    "勾配を必要とするパラメータがありません（すべて固定されています）。勾配の有無は調べられません",
)


def is_matrix(tensor: Tensor) -> bool:
    """More than one row: no bias, no norm's factor, no single token."""
    return tensor.ndim > 1 and tensor.numel() > max(tensor.shape)


def _taken(patient: Patient) -> Census:
    parameters = dict(patient.model.named_parameters())
    asking = tuple(name for name, parameter in parameters.items() if parameter.requires_grad)
    if not asking:
        raise Skipped(_NOTHING_ASKS, is_left_out=True)
    tape = patient.tape
    answer = patient._known["answer"]
    to_scores = _on_the_way(tape, [scores_of(answer, patient.batch or 1, patient.classes)])
    to_any = _on_the_way(tape, list(tensors_in(answer)))
    in_scores, in_any = (_places(_from_outside(tape, calls)) for calls in (to_scores, to_any))
    touched = _places(_from_outside(tape, range(len(tape.calls))))
    idle = [name for name in asking if patient.gradients[name] is None]
    if goes_through_python(patient):
        beyond = [name for name in idle if _place(parameters[name]) in touched - in_scores]
        if _move_the_scores(patient, beyond):
            in_scores |= {_place(parameters[name]) for name in beyond}
            in_any |= in_scores
    cut = tuple(name for name in idle if _place(parameters[name]) in in_scores)
    unused = [name for name in idle if _place(parameters[name]) not in in_any]
    if cut or any(parameters[name].ndim > 1 for name in unused):
        learns_in_training = _leaves_in_training(patient)
        unused = [name for name in unused if name not in learns_in_training]
        cut = tuple(
            name for name in cut if name not in learns_in_training
        )  # chosen hard in evaluation, softly in training
    frozen_zeros = tuple(
        name
        for name, parameter in parameters.items()
        if not parameter.requires_grad
        and is_matrix(parameter)
        and _place(parameter) in in_scores
        and not bool(parameter.any())
    )
    return Census(
        asking,
        frozenset(asking) - frozenset(idle),
        cut,
        tuple(unused),
        frozenset(name for name in unused if _place(parameters[name]) not in touched),
        frozen_zeros,
        _unregistered(patient.model, tape, to_scores),
    )


def goes_through_python(patient: Patient) -> bool:
    """Whether the scores follow the picture and no operation of torch's leads from it to them: on the way they were numbers of Python's."""
    tape = patient.tape
    maker = tape.maker(scores_of(patient._known["answer"], patient.batch or 1, patient.classes))
    return maker is not None and not any(tape.is_of_image(source) for source in maker.sources) and not is_blind(patient)


def _move_the_scores(patient: Patient, names: Sequence[str]) -> bool:
    """Whether the scores change with parameters."""
    model = copied(patient.model)
    images = patient.images[: patient.batch or 1]
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name in names:
            parameter = model.get_parameter(name)
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype))
    return bool(names) and not patient.same(patient.quiet_scores(images), patient.quiet_scores(images, model))


def tensors_in(answer: object, depth: int = 0) -> Iterator[Tensor]:
    """All tensors in what a model gave back, whatever holds them."""
    for leaf in tree_leaves(answer):
        if isinstance(leaf, Tensor):
            yield leaf
        elif depth < 3 and isinstance(leaf, Mapping):
            yield from tensors_in(list(leaf.values()), depth + 1)
        elif depth < 3 and hasattr(leaf, "__dict__") and not isinstance(leaf, nn.Module | type):
            yield from tensors_in(list(vars(leaf).values()), depth + 1)


def _on_the_way(tape: Tape, ends: Sequence[Tensor]) -> set[int]:
    """The calls that lead to some results; all, where a result was made outside of torch."""
    makers = [tape.maker(end) for end in ends]
    if not makers or makers[0] is None:
        return {call.number for call in tape.calls}
    return set[int]().union(*(ancestors(maker) for maker in makers if maker is not None))


def _from_outside(tape: Tape, calls: Iterable[int]) -> Iterator[tuple[Tensor, Call]]:
    """The tensors that no call made and that some calls were given for their numbers, each with its call."""
    for number in sorted(calls):
        call = tape.calls[number]
        if not (call.name.endswith("_like") or call.name.startswith("new_")):
            yield from ((source.tensor, call) for source in call.sources if source.call is None)


def _places(tensors: Iterable[tuple[Tensor, Call]]) -> set[int]:
    return {_place(tensor) for tensor, _ in tensors}


def _place(tensor: Tensor) -> int:
    """Where its memory is: that of a view is that of the whole."""
    return tensor.untyped_storage().data_ptr()


def _unregistered(model: nn.Module, tape: Tape, calls: set[int]) -> dict[str, int]:
    """What is used and asks for a gradient, and is none of the parameters: by its place in the model, or by the module that uses it."""
    registered = {_place(parameter) for parameter in model.parameters()}
    places: dict[int, str] = {id(buffer): name for name, buffer in model.named_buffers()}
    for each in hidden(model):
        if isinstance(each.value, nn.Module):
            places |= {id(p): f"{each.place}.{name}" for name, p in each.value.named_parameters()}
        else:
            places[id(each.value)] = each.place
    found: dict[str, int] = {}
    counted = set[int]()
    for tensor, call in _from_outside(tape, calls):
        if tensor.requires_grad and _place(tensor) not in registered and id(tensor) not in counted:
            counted.add(id(tensor))
            place = places.get(id(tensor), f"{call.path or 'the model'} (made in the forward)")
            found[place] = found.get(place, 0) + tensor.numel()
    return found


def _leaves_in_training(patient: Patient) -> set[str]:
    """The parameters from which a forward in training mode makes anything that it gives back."""
    model = copied(patient.model)
    for module in model.modules():
        module.training = True
    images = patient.images[: patient.batch or patient.few]
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        seed_cpu(SEED)
        try:
            answer = model(images.clone())
        except Exception:  # a model that asks for labels in training, say
            return set()
    leaves = {id(leaf) for leaf in leaves_of(tensors_in(answer))}
    return {name for name, parameter in model.named_parameters() if id(parameter) in leaves}


def leaves_of(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The leaves of the autograd graph behind some tensors."""
    waiting = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)
