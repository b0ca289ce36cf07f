"""What a model does behind its last product, where a classifier's scores should be finished. In goes a tape and the scores on it, out comes a
`Tail` that can be given other numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.anatomy import NOT_COMPUTED
from vitscope.lens.flow import ancestors
from vitscope.lens.operations import CONVOLUTIONS, NORMS, PRODUCTS
from vitscope.lens.tape import Call, Tape

SCALES = 30.0, 150.0
"""How large the last product is made: over what a sigmoid or tanh tells apart, under what overflows an exponential."""

_BESIDE = 0.02
"""How far over a floor the best scores may be that were seen, so that it counts as one that is reached: some functions come to their bound slowly."""


@dataclass(frozen=True, eq=False)
class Tail:
    """The last products, and the operations from there to the scores, in order."""

    tape: Tape
    products: tuple[Call, ...]
    behind: tuple[Call, ...]
    logits: Call

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(call.name for call in self.behind)

    @property
    def is_learned(self) -> bool:
        """Whether something there is scaled by what is learned, which can undo any bound."""
        return any(_is_learned_norm(call) for call in self.behind) or any(
            call.name in ("mul", "mul_", "div", "div_", "pow")
            and any(not self.tape.is_of_image(source) and not _is_number(source.tensor) for source in call.sources)
            for call in self.behind
        )

    @torch.no_grad()
    def given(self, scale: float, sign: int, seed: int) -> Tensor:
        """The scores where the last products are noise of one sign (0: of both), `scale` large.

        Raises:
            LensError: the tape cannot be played again.
        """
        generator = torch.Generator().manual_seed(seed)
        replaced: dict[Call | None, Tensor] = {}
        for product in self.products:
            out = product.outputs[0]
            noise = torch.randn(out.shape, generator=generator, dtype=torch.float64) * scale
            replaced[product] = (noise.abs() * sign if sign else noise).to(out.dtype)
        return self.tape.play(replaced, self.logits)

    @torch.no_grad()
    def favouring(self, scale: float, other: float) -> Tensor:
        """The scores where the last products are `scale` for their first channel and `other` times that for the rest.

        Raises:
            LensError: the tape cannot be played again.
        """
        replaced: dict[Call | None, Tensor] = {}
        for product in self.products:
            out = torch.full_like(product.outputs[0], other * scale)
            out.select(1 if product.name in CONVOLUTIONS else -1, 0).fill_(scale)
            replaced[product] = out
        return self.tape.play(replaced, self.logits)

    @property
    def is_sigmoid(self) -> bool:
        """Whether a sigmoid is all that happens to the last products, by whatever operations.

        Raises:
            LensError: the tape cannot be played again.
        """
        given = (torch.tensor([one, -1.0], dtype=torch.float64).sigmoid() for one in (1.0, 2.0))
        played = (self.favouring(one, -1.0 / one)[..., :2].double() for one in (1.0, 2.0))
        return all(
            torch.allclose(x, y[: x.shape[-1]].expand_as(x), atol=1e-2) for x, y in zip(played, given, strict=True)
        )


def tail_of(tape: Tape, scores: Tensor) -> Tail:
    """What stands between the last products and the scores.

    Raises:
        LensError: the scores do not come from a product.
    """
    logits = tape.maker(scores)
    if logits is None:
        raise LensError(NOT_COMPUTED)
    products: dict[int, Call] = {}
    behind: dict[int, Call] = {}
    waiting = [logits]
    while waiting:
        call = waiting.pop()
        if call.name in PRODUCTS | CONVOLUTIONS and any(tape.is_of_image(source) for source in call.sources):
            products[call.number] = call
        elif call.number not in behind:
            behind[call.number] = call
            waiting += [s.call for s in call.sources if s.call is not None and tape.is_of_image(s)]
    if not products:
        raise LensError(
            Text(
                "the scores come from no product, so no head was found",
                "スコアが積から計算されていないため、分類ヘッドが見つかりません",
            )
        )
    return Tail(
        tape,
        tuple(products[number] for number in sorted(products)),
        tuple(behind[number] for number in sorted(behind)),
        logits,
    )


@dataclass(frozen=True)
class Reach:
    """How far scores can go: lowest and highest for large products, and for five times larger ones."""

    low: float
    high: float
    lower: float
    higher: float
    sums_to_one: bool
    lowest_loss: float
    """The lowest cross-entropy of any of these scores, for the class that they favour most."""
    length: float | None
    """Of each image's scores as a vector, where all are equally long."""

    def floor(self, classes: int) -> float | None:
        """The cross-entropy under which no scores can come that are so far apart, or so long; None where what is known is how far apart scores
        of different images are, and no image's own are."""
        if self.length is not None:  # best: one class up, all others equally far down
            return floor_of_width(classes, self.length * sqrt(classes / (classes - 1)))
        floor = floor_of_width(classes, self.higher - self.lower)
        return floor if self.lowest_loss < floor + _BESIDE else None

    @property
    def is_between_0_and_1(self) -> bool:
        return self.lower > -1e-6 and self.higher < 1 + 1e-6

    @property
    def is_bounded(self) -> bool:
        return self.higher - self.lower < 1.05 * (self.high - self.low) + 1e-9

    @property
    def is_rectified(self) -> bool:
        """Whether all goes up and nothing goes down."""
        return self.higher > 1 and self.higher > 1.5 * self.high and -self.lower < self.higher / 20

    @property
    def is_rectified_above(self) -> bool:
        """Whether all goes down and nothing goes up."""
        return -self.lower > 1 and self.lower < 1.5 * self.low and self.higher < -self.lower / 20


def reach_of(tail: Tail) -> Reach:
    ends: list[tuple[float, float]] = []
    everything: list[Tensor] = []
    for scale in SCALES:
        played = [tail.given(scale, sign, seed) for sign in (1, -1, 0) for seed in range(4)]
        played += [tail.favouring(one, other) for one in (scale, -scale) for other in (-1.0, 0.0)]
        ends.append((min(float(x.min()) for x in played), max(float(x.max()) for x in played)))
        everything += played
    return Reach(
        *ends[0],
        *ends[1],
        all(are_probabilities(x) for x in everything),
        min(_lowest_loss(x) for x in everything),
        _length(everything),
    )


def _length(played: list[Tensor]) -> float | None:
    lengths = torch.cat([x.double().norm(dim=-1).flatten() for x in played])
    longest = float(lengths.max())
    return longest if longest - float(lengths.min()) < 1e-3 * longest else None


def _lowest_loss(scores: Tensor) -> float:
    """The cross-entropy of scores, had each image the class of its highest one; the least of them."""
    return float((torch.logsumexp(scores.double(), dim=-1) - scores.double().amax(dim=-1)).min())


def are_probabilities(scores: Tensor) -> bool:
    tolerance = 1e-9 if scores.dtype == torch.float64 else 1e-4
    return (
        scores.shape[-1] > 1 and bool((scores >= 0).all()) and float((scores.sum(dim=-1) - 1).abs().max()) < tolerance
    )


def floor_of_width(classes: int, width: float) -> float:
    """The lowest cross-entropy of scores that are at most so far apart: ln(1 + (C − 1) e^-width)."""
    return log(1 + (classes - 1) * exp(-width))


def draws(tail: Tail, names: frozenset[str]) -> list[Call]:
    """The operations that draw the numbers which something behind the last products takes."""
    first = min(product.number for product in tail.products)
    found: dict[int, Call] = {}
    for call in tail.behind:
        if call.name in names:
            found[call.number] = call
        for source in call.sources:
            if source.call is not None and not tail.tape.is_of_image(source):
                found |= {
                    n: tail.tape.calls[n]
                    for n in ancestors(source.call)
                    if n > first and tail.tape.calls[n].name in names
                }
    return list(found.values())


def _is_learned_norm(call: Call) -> bool:
    """Whether a norm has weights; one without bounds what goes through it, for good."""
    return call.name in NORMS and any(isinstance(x, torch.Tensor) for x in call.args[1:4])


def _is_number(tensor: Tensor) -> bool:
    """Whether it is a number from the source code: one that no parameter holds."""
    return tensor.ndim == 0 and not tensor.requires_grad and not isinstance(tensor, torch.nn.Parameter)
