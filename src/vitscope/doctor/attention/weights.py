"""The weights by which an attention sums values, wherever they come from, and what they can become: in goes a tape, out come `Weights`.

The lens proves attentions whose softmax is torch's. Here a softmax by hand counts too, and whatever stands in its place: what is made of a
product of two computed tensors, without another product on the way, and is multiplied with a third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import e

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.doctor.attention.scaling import is_learned
from vitscope.doctor.mixing.masks import left_by_arguments
from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, descendants, products_before, projections
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, SUMS, factors
from vitscope.lens.tape import Call, Source, Tape

HUGE, LARGE = (1e4, 1e6), (50.0, 150.0)
"""How large scores are made, to see what weights become at most: far over what any scale brings back to one; and so that e may be raised to them."""
FEW = 4
"""Among fewer keys than these a share cannot be much larger than an even one."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one attention on a tape."""

    begins: Call
    """The product of queries and keys, or the fused operation."""
    source: Source | None
    """What values are multiplied with; None for the fused operation, which keeps it to itself."""
    is_turned: bool
    """Whether keys are down and queries across."""
    path: str

    def of(self, value: Tensor) -> Float[Tensor, "K Tq T"]:
        """Weights as heads × queries × keys."""
        value = value.mT if self.is_turned else value
        return value.reshape(-1, *value.shape[-2:])

    def among(self, tape: Tape) -> list[Call]:
        """The calls from the product to the weights, in order."""
        if self.source is None or self.source.call is None:
            return []
        both = descendants(tape, self.begins) & ancestors(self.source.call)
        return [tape.calls[number] for number in sorted(both)]

    @torch.no_grad()
    def where_scores_are(self, tape: Tape, scale: float) -> Float[Tensor, "K Tq T"]:
        """What the weights would be, had the product been noise so large (or zero); of an operation that keeps them to itself, there is no saying."""
        source = self.source
        if source is None or source.call is None:
            raise LensError("the weights of this attention are not on the tape")
        noise: dict[Call | None, Tensor] = {self.begins: _noise(self.begins.outputs[0], 0) * scale}
        return self.of(tape.play(noise, source.call, source.index))

    @torch.no_grad()
    def with_other_projections(self, tape: Tape) -> tuple[Tensor, Tensor]:
        """What the weights are, and what they would be, had the products that make queries and keys been noise. Of an operation that keeps them to
        itself: what it makes of the same noise as values. Where no image reaches queries and keys (learned ones), they are the noise."""
        made = projections(tape, self.begins)
        numbers = made or {self.begins.number}
        noise: dict[Call | None, Tensor] = {
            tape.calls[number]: _noise(tape.calls[number].outputs[0], number) for number in numbers
        }
        if self.source is not None:
            assert self.source.call is not None
            return tape.value(self.source), tape.play(noise, self.source.call, self.source.index)
        sources = self.begins.sources[:3]
        was = [tape.value(source) for source in sources]
        now = [
            (each if s.call is None else tape.play(noise, s.call, s.index)) if made else _noise(each, place)
            for place, (each, s) in enumerate(zip(was, sources, strict=True))
        ]
        values, rest = _noise(was[2], 0), self.begins.args[3:]
        results = [self.begins.op(*qk, values, *rest, **self.begins.kwargs) for qk in (was[:2], now[:2])]
        one, other = (result if isinstance(result, Tensor) else result[0] for result in results)
        return one, other

    @torch.no_grad()
    def where_projections_are(self, tape: Tape, scale: float) -> Float[Tensor, "K Tq T"] | None:
        """What the weights would be, had what makes queries and keys given tokens so large, all along one direction, every other one turned round: no
        two can be more alike, or less. Of an operation that keeps its weights to itself, those of its scores. None where it is not known which axis
        the tokens are."""
        given: dict[Call | None, Tensor] = {}
        for number in projections(tape, self.begins):
            call = tape.calls[number]
            made = call.outputs[0]
            if call.name in CONVOLUTIONS or not made.is_floating_point():
                return None
            sign = 1.0 - 2.0 * (torch.arange(made.shape[-2]) % 2)
            given[call] = (scale * sign[:, None]).to(made).expand(made.shape)
        if not given:
            return None
        if self.source is not None:
            assert self.source.call is not None
            return self.of(tape.play(given, self.source.call, self.source.index))
        q, k = (s.tensor if s.call is None else tape.play(given, s.call, s.index) for s in self.begins.sources[:2])
        factor = self.begins.kwargs.get("scale")
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if factor is None else float(factor))
        return scores.softmax(dim=-1).flatten(0, -3)


def _noise(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def weights_of(attention: Attention) -> Iterator[Weights]:
    """Those of a proved attention, one for each head that is computed by itself."""
    for part in attention.parts or (attention,):
        source = None if part.is_fused else factors(part.ends)[1 if part.is_turned else 0]
        yield Weights(part.begins, source, part.is_turned, part.path)


def weights_by_hand(tape: Tape) -> Iterator[Weights]:
    """Those of a tape on which the lens does not follow every attention: square ones, of tokens with tokens."""
    for ends in tape.calls:
        if ends.name not in PRODUCTS or not all(tape.is_of_image(source) for source in factors(ends)):
            continue
        for is_turned, source in enumerate(factors(ends)):
            shape, begins = source.tensor.shape, _product_before(tape, source)
            is_square = len(shape) >= 2 and shape[-1] == shape[-2] >= FEW
            if begins is not None and is_square and _can_be_read(tape, source):
                yield Weights(begins, source, bool(is_turned), ends.path)


def _can_be_read(tape: Tape, source: Source) -> bool:
    try:
        tape.value(source)
    except LensError:  # it was written over
        return False
    return True


def _product_before(tape: Tape, source: Source) -> Call | None:
    """The one product of two computed tensors that a source is made of, of the same shape; None where it is made of others too."""
    found = products_before(tape, source)
    if len(found) != 1 or found[0].name not in PRODUCTS or found[0].outputs[0].shape[-2:] != source.tensor.shape[-2:]:
        return None
    return found[0] if all(tape.is_of_image(each) for each in factors(found[0])) else None


def have_no_influence(tape: Tape, weights: Weights) -> bool:
    """Whether the weights stay exactly what they are, whatever queries and keys are made of, and are those of more than one key."""
    try:
        was, now = weights.with_other_projections(tape)
    except (LensError, RuntimeError):  # it cannot be played again
        return False
    if was.numel() == 0 or not bool(was.isfinite().all()) or not torch.equal(was, now):
        return False
    if weights.source is None:
        return bool((left_by_arguments(weights.begins).sum(dim=-1) > 1).any())
    return bool(((weights.of(was) > 1e-12).sum(dim=-1) > 1).any())


def can_be_learned(tape: Tape, weights: Weights) -> bool:
    """Whether something learned stands between the product and the weights, or between what makes queries and keys and the product: anything but
    what is added."""
    ends = weights.begins if weights.source is None else weights.source.call
    starts = projections(tape, weights.begins) or {weights.begins.number}
    between = set.union(*(descendants(tape, tape.calls[number]) for number in starts)) & ancestors(
        ends or weights.begins
    )
    return any(
        is_learned(source)
        for call in (tape.calls[number] for number in between - starts)
        if call.name not in SUMS
        for source in call.sources
        if not tape.is_of_image(source)
    )


def largest_ratio(tape: Tape, weights: Weights) -> float | None:
    """By what factor two shares of a row differ at most, beside what they are for scores of zero, whatever scores are, or whatever queries and keys
    are made of; None where there is no such bound."""
    if can_be_learned(tape, weights):
        return None
    by_scores = None if weights.source is None else _bound(tape, weights, weights.where_scores_are, (1.2, e))
    return by_scores or _bound(tape, weights, weights.where_projections_are, (1.01, e**2))


def is_squeezed(tape: Tape, weights: Weights) -> bool:
    """Whether the scores themselves are squeezed before the softmax, so that the shares have a bound whatever they are; else queries and keys are."""
    return weights.source is not None and _bound(tape, weights, weights.where_scores_are, (1.2, e)) is not None


def _bound(
    tape: Tape, weights: Weights, where: Callable[[Tape, float], Tensor | None], between: tuple[float, float]
) -> float | None:
    """The same, as two sizes of something in front of the weights show it: e for what is squeezed between 0 and 1, its square for cosines."""
    return _bound_at(tape, weights, where, between, HUGE) or _bound_at(tape, weights, where, between, LARGE)


def _bound_at(
    tape: Tape,
    weights: Weights,
    where: Callable[[Tape, float], Tensor | None],
    between: tuple[float, float],
    sizes: tuple[float, float],
) -> float | None:
    ratios: list[float] = []
    for scale in sizes:
        try:
            other = where(tape, scale)
            if other is None:
                return None
            even = torch.ones_like(other) if weights.source is None else weights.where_scores_are(tape, 0.0)
        except (LensError, RuntimeError):  # it cannot be played again
            return None
        if not bool(((even > 0).sum(dim=-1) >= FEW).all()):
            return None
        ratio = _ratio(other, even)
        if ratio is None or not between[0] < ratio < between[1] * (1 + 1e-6):
            return None
        ratios.append(ratio)
    return ratios[1] if abs(ratios[1] - ratios[0]) < 1e-3 else None


def _ratio(weights: Tensor, even: Tensor) -> float | None:
    if not bool(weights.isfinite().all()) or float((weights.sum(dim=-1) - 1).abs().max()) > 1e-3:
        return None
    beside = torch.where(even > 0, weights / even, torch.nan)
    least, most = beside.nan_to_num(torch.inf).amin(dim=-1), beside.nan_to_num(0.0).amax(dim=-1)
    return float((most / least).max()) if bool((least > 0).all()) else None


def are_logarithms(weights: Float[Tensor, "K Tq T"]) -> bool:
    """Whether weights are the logarithms of shares that sum to one."""
    return bool((weights <= 0).all()) and float((weights.double().exp().sum(dim=-1) - 1).abs().max()) < 1e-3


def divided_by_others(tape: Tape, weights: Weights) -> bool:
    """Whether each key's weights were divided by the sum of its own row as a query: by the sums of other rows, that is, laid along the wrong axis."""
    assert weights.source is not None
    shares = weights.of(tape.value(weights.source)).double()
    if not bool((shares >= 0).all()) or float((shares.sum(dim=-1) - 1).abs().max()) < 1e-3:
        return False
    for call in weights.among(tape):
        if len(call.outputs) == 1 and call.outputs[0].numel() == shares.numel():
            try:
                raised = weights.of(tape.value(call)).double()
            except (LensError, RuntimeError):
                continue
            if raised.shape != shares.shape or not bool((raised > 0).all()):
                continue
            sums = raised.sum(dim=-1)
            if torch.allclose(shares, raised / sums.unsqueeze(-2), rtol=1e-5, atol=0):
                return True
    return False
