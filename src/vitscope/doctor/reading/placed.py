"""What is added to the tokens for their place, and why a model that is blind to places is so. In goes a patient, out come what was found and the
words for it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from vitscope._core.text import Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, SUMS
from vitscope.lens.tape import Source

LOOKUPS = frozenset({"embedding", "index", "index_select", "gather"})
"""Rows of a table, by their numbers."""
LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.MultiheadAttention, nn.LayerNorm)
"""What holds weights of a table's shape that are none."""


def added(patient: Patient) -> Tensor | None:
    """What is added for the place, where it was found."""
    try:
        call = patient.anatomy.with_position
    except Skipped:
        return None
    sources = [] if call is None else [s for s in call.sources if not patient.tape.is_of_image(s) and s.tensor.ndim]
    return patient.tape.value(sources[0]) if sources else None


def differs(added: Tensor | None) -> bool:
    """Whether it is another for each token, or for some."""
    if added is None or added.ndim < 2:
        return False
    rows = as_tokens(added)
    return not torch.equal(rows, rows[:1].expand_as(rows))


def mechanism(patient: Patient) -> tuple[Text, dict[str, object]]:
    unused = _unused_table(patient)
    if unused is not None:
        return (
            Text(f"; {unused} is held and never added", f"。{unused}は定義されていますが、どこにも足されていません"),
            {"never_added": unused},
        )
    placed = added(patient)
    if placed is not None and not bool(placed.any()):
        return _of_zeros(_frozen(patient))
    if placed is not None and not differs(placed):
        return Text("; what is added is the same for all tokens", "。足される値がすべてのトークンで同じです"), {}
    content = _of_the_content(patient)
    if content is not None:
        return (
            Text(
                f"; what {content} adds is made of each patch itself, so that it moves with the patch",
                f"。{content}が足す値はパッチ自身から計算されているため、パッチと一緒に移動します",
            ),
            {"made_of_the_content": content},
        )
    vector = _vector_for_all(patient)
    if vector is not None:
        return (
            Text(
                f"; the same vector is added to all tokens ({vector})",
                f"。すべてのトークンに同じベクトル（{vector}）が足されています",
            ),
            {"same_for_all_tokens": vector},
        )
    try:
        is_nothing = patient.anatomy.with_position is None
    except Skipped:
        is_nothing = False
    if is_nothing:
        return Text("; nothing is added for the place", "。位置を表す値がどこにも足されていません"), {}
    return Text("", ""), {}


def _of_zeros(frozen: str | None) -> tuple[Text, dict[str, object]]:
    """The words for zeros that are added, with the parameter that keeps them where it does not learn."""
    if frozen is None:
        en, ja = "; what is added for the place is all zeros", "。位置として足される値はすべてゼロです"
        return Text(en, ja), {"position_norm": 0.0}
    return (
        Text(
            f"; what is added for the place ({frozen}) is all zeros, and frozen (requires_grad=False)",
            f"。位置として足される値（{frozen}）はすべてゼロで、固定されています（requires_grad=False）",
        ),
        {"position_norm": 0.0, "frozen": frozen},
    )


def _frozen(patient: Patient) -> str | None:
    """The parameter of zeros that what is added for the place is made of and that does not learn; None where there is none."""
    call = patient.anatomy.with_position
    sources = [] if call is None else [each for each in call.sources if not patient.tape.is_of_image(each)]
    made = {each for source in sources for each in made_of(source)}
    return next(
        (
            name
            for name, parameter in patient.model.named_parameters()
            if id(parameter) in made and not parameter.requires_grad and not bool(parameter.any())
        ),
        None,
    )


def _of_the_content(patient: Patient) -> str | None:
    """What makes numbers of the patches that are added to them, before the first block: a layer, or a table whose rows the patches choose; None where
    there is none. Of two layers, the one that is called after positions, or the later one."""
    tape = patient.tape
    try:
        first = patient.anatomy.blocks[0]
    except Skipped:
        return None
    end = first.enters.number + 1 if first.enters is not None else first.attention.begins.number
    for call in reversed(tape.calls[:end]):
        if len(call.sources) == 2 and call.name in SUMS and all(map(tape.is_of_image, call.sources)):
            made = [name for source in call.sources if (name := _maker(patient, source))]
            if len(set(made)) == 2:
                return next((name for name in made if "pos" in name.lower()), made[-1])
    return None


def _maker(patient: Patient, source: Source) -> str | None:
    """The layer whose product gave some numbers, or the table from which the image chose them, as far as nothing else of the image joined them."""
    call, names = source.call, {id(parameter): name for name, parameter in patient.model.named_parameters()}
    while call is not None:
        of_image = [each for each in call.sources if patient.tape.is_of_image(each)]
        rest = [each for each in call.sources if not patient.tape.is_of_image(each)]
        if call.name in LOOKUPS and rest:
            return next((names[each] for each in made_of(rest[0]) if each in names), None)
        if call.name in PRODUCTS | CONVOLUTIONS:
            return call.path or None
        call = of_image[0].call if len(of_image) == 1 else None
    return None


def _vector_for_all(patient: Patient) -> str | None:
    """A parameter or buffer of which one vector is added to every token, before the first block; None where there is none. A layer's
    own bias is none."""
    try:
        first = patient.anatomy.blocks[0].attention.begins.number
    except Skipped:
        return None
    held = (*patient.model.named_parameters(), *patient.model.named_buffers())
    names = {id(each): name for name, each in held if name.rpartition(".")[2] != "bias"}
    for call in patient.tape.calls[:first]:
        if call.name in SUMS and any(patient.tape.is_of_image(source) for source in call.sources):
            for source in call.sources:
                shape = source.tensor.shape
                is_vector = source.tensor.numel() == max(shape, default=0) > 1 and not patient.tape.is_of_image(source)
                known = [names[each] for each in made_of(source) if each in names] if is_vector else []
                if known:
                    return known[0]
    return None


def made_of(source: Source) -> Iterator[int]:
    """What a number was made of that no call made, by `id`."""
    waiting, seen = [source], set[int]()
    while waiting:
        here = waiting.pop()
        if here.call is None:
            yield id(here.tensor)
        elif here.call.number not in seen:
            seen.add(here.call.number)
            waiting += here.call.sources


def _unused_table(patient: Patient) -> str | None:
    """A parameter with a row for each token that no operation of the forward is given, and that is no layer's weight."""
    given = {source.tensor.data_ptr() for call in patient.tape.calls for source in call.sources if source.call is None}
    count = max(
        (len(as_tokens(call.outputs[0])) for call in patient.tape.calls if call.name == "native_layer_norm"), default=0
    )
    for name, parameter in patient.model.named_parameters():
        holder = patient.model.get_submodule(name.rpartition(".")[0])
        if (
            parameter.data_ptr() not in given
            and parameter.ndim > 1
            and count
            and count - 1 <= parameter.shape[-2] <= count + 1
            and not isinstance(holder, LAYERS)
        ):
            return name
    return None
