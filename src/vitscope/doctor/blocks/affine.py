"""MLPs without anything between their layers that bends: however many there are, they come to one. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.blocks.twins import products_between
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import SAME, Patient
from vitscope.lens.blocks import Block
from vitscope.lens.flow import ancestors, unviewed, without_products
from vitscope.lens.operations import CONVOLUTIONS, SUMS, factors
from vitscope.lens.tape import Call, Source

FAR = 100.0
"""Standard deviation of the tokens that are tried: what bends only far from zero, as a clamp does, has to show it."""

AFFINE = Fault(
    "mlp-without-activation",
    "M14",
    "residual",
    "warning",
    Text(
        "Two linear layers with nothing between them are one linear layer: the wide hidden layer costs time and parameters and adds nothing that "
        "a single one could not do, and a block can bend its tokens by its attention and its norms only.",
        "間に何も挟まない2つの線形層は、1つの線形層と同じです。幅の広い隠れ層は計算とパラメータを使うだけで、線形層1つにできることしかできません。"
        "ブロックの中で非線形なのはアテンションと正規化だけになります。",
    ),
    Text("call the activation between the two layers", "2つの線形層の間で活性化関数を呼び出してください"),
    "x = self.fc2(self.act(self.fc1(x)))   # not self.fc2(self.fc1(x))",
)


def affine(patient: Patient) -> Iterator[Finding]:
    """The blocks whose MLP, with numbers of every size in the place of its tokens, gives for a sum the sum of what it gives for each part.

    Raises:
        Skipped: the lens did not find the blocks.
    """
    blocks = patient.anatomy.blocks
    widths = {number: width for number, block in enumerate(blocks) if (width := _affine_width(patient, block))}
    if not widths:
        return
    names = [blocks[number].path or f"block {number}" for number in widths]
    where = Text("", "") if len(widths) == len(blocks) else Text(f" ({listed(names)})", f"（{listed(names)}）")
    hidden = ", ".join(str(width) for width in sorted(set(widths.values())))
    yield AFFINE.found(
        Text(
            f"The MLP of {len(widths)} of {len(blocks)} blocks{where.en} is one linear map: nothing acts on its hidden layer (width {hidden}), whose "
            "numbers for a sum of two inputs are the sum of those for each.",
            f"{len(blocks)}ブロック中{len(widths)}ブロック{where.ja}のMLPが、全体として1つの線形変換になっています。"
            f"隠れ層（幅{hidden}）に活性化関数が効いておらず、2つの入力の和に対する値が、それぞれに対する値の和と一致します。",
        ),
        {"blocks_with_affine_mlp": list(widths), "blocks": len(blocks), "hidden_width": sorted(set(widths.values()))},
    )


def _affine_width(patient: Patient, block: Block) -> int:
    """How many hidden units a block's MLP has if all of it is affine; 0 if it is not, if it is narrower than its tokens, as a factored matrix is,
    or if its first layer starts at zero. Gates and shortcuts beside the layers belong to it."""
    products = products_between(patient, block.after_attention, block.after_mlp)
    end = _branch_end(patient, block)
    if not products:
        end = _end_beside(patient, block)
        own = set[int]() if end is None else ancestors(end) | {end.number}
        products = [each for each in products_between(patient, block.enters, block.leaves) if each.number in own]
    inputs = [_tokens(patient, product) for product in products]
    calls = [None if each is None or each.call is None else unviewed(patient.tape, each.call) for each in inputs]
    if len(products) < 2 or end is None or calls[0] is None:
        return 0
    given, deep = calls[0], [n for n, call in enumerate(calls) if call is not calls[0]]
    if not deep:
        return 0
    width = min(_channels(patient, products[n]) for n in deep)
    if width < _channels(patient, products[0]):
        return 0
    with suppress(LensError):
        ends = [call for call in (*(calls[n] for n in deep), end) if call is not None]
        is_affine = len(ends) == len(deep) + 1 and all(_is_affine(patient, given, each) for each in ends)
        return width if is_affine else 0
    return 0


def _branch_end(patient: Patient, block: Block) -> Call | None:
    """What an MLP gives to the sum that brings it back to the tokens."""
    if block.after_attention is None or block.after_mlp is None:
        return None
    stream = without_products(patient.tape, block.after_attention)
    ends = [source.call for source in block.after_mlp.sources if source.call and source.call.number not in stream]
    return ends[0] if len(ends) == 1 else None


def _end_beside(patient: Patient, block: Block) -> Call | None:
    """The same of an MLP that stands beside the attention, and is given the tokens that the attention is given."""
    if block.enters is None or block.leaves is None:
        return None
    tape, sum_ = patient.tape, block.leaves
    before, attention = ancestors(block.enters) | {block.enters.number}, block.attention.ends.number
    waiting, ends = [s.call for s in sum_.sources if s.call is not None and tape.is_of_image(s)], list[Call]()
    while waiting:
        call = waiting.pop()
        if call.number in before:
            continue
        if attention not in ancestors(call) | {call.number}:
            ends.append(call)
        elif call.name in SUMS:
            waiting += [s.call for s in call.sources if s.call is not None and tape.is_of_image(s)]
    return ends[0] if len(ends) == 1 else None


def _is_affine(patient: Patient, given: Call, hidden: Call) -> bool:
    """Whether f(a + b) + f(0) = f(a) + f(b), and f is no constant. Experts that tokens are routed to bend them."""
    was, generator = given.outputs[0], torch.Generator().manual_seed(0)

    def drawn() -> Tensor:
        return FAR * torch.randn(was.shape, generator=generator, dtype=torch.float64).to(was.dtype)

    one, other = drawn(), drawn()
    at_one, at_other, at_both, at_zero = (
        patient.tape.play({given: x}, hidden) for x in (one, other, one + other, torch.zeros_like(was))
    )
    if len({at.shape for at in (at_one, at_other, at_both, at_zero)}) > 1:
        return False
    size = float((at_one - at_zero).abs().max())
    bend = float((at_both + at_zero - at_one - at_other).abs().max())
    return size > 0 and bend <= SAME[patient.dtype] * size


def _tokens(patient: Patient, product: Call) -> Source | None:
    """The factor that was computed from the image, if only one was."""
    of_image = [factor for factor in _both(product) if patient.tape.is_of_image(factor)]
    return of_image[0] if len(of_image) == 1 else None


def _both(product: Call) -> tuple[Source, ...]:
    return product.sources[:1] if product.name in CONVOLUTIONS else factors(product)


def _channels(patient: Patient, product: Call) -> int:
    """How many numbers of a token a product sums over."""
    tokens = _tokens(patient, product)
    if tokens is None:
        return 0
    if product.name in CONVOLUTIONS:
        return int(tokens.tensor.shape[1])
    return int(tokens.tensor.shape[-1 if tokens is factors(product)[0] else -2])
